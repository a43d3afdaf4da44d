//! `coffre put`: files and folders into a vault.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context as _;
use coffre::Error;
use coffre::Refusal;
use coffre::fs::Follow;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;

use crate::commands::Instead;
use crate::commands::refuse_mounted;
use crate::commands::user;
use crate::names::Name;
use crate::output::Output;
use crate::session;
use crate::settings::Context;
use crate::transfer::Report;
use crate::transfer::Upload;
use crate::transfer::local_size;
use crate::tree;
use crate::units;

/// Store files and folders in a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre put work ~/photos/2026 /photos/
  coffre put work a.txt b.txt /
  pg_dump shop | coffre put work - /dumps/shop.sql

Modes, times, owners, extended attributes, symlinks, hard links and holes are kept.
A file appears under its name when it is complete, in place of one that was there.")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Local files and folders (`-`: standard input); the last one is the path in the vault.
    /// A folder that exists there is put into
    #[arg(required = true, num_args = 2.., value_names = ["LOCAL", "PATH"])]
    paths: Vec<OsString>,
    /// Make the folders above PATH where they are missing
    #[arg(short, long)]
    parents: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    refuse_mounted(&target, Instead::There("copy the files to")).await?;
    let Some((dest, sources)) = args.paths.split_last() else {
        return Err(Error::Usage("what, and where to?".to_owned()).into());
    };
    let dest = Name::from(dest.as_os_str());
    for source in sources.iter().filter(|source| *source != "-") {
        let looked = std::fs::symlink_metadata(source);
        looked.map_err(|error| Error::io("read", Path::new(source), error))?;
    }
    let output = context.output;
    let parents = args.parents;
    let report = session::with_filesystem(
        context,
        &target,
        Access::ReadWrite,
        |filesystem| async move { store(&filesystem, sources, dest, parents, output).await },
    )
    .await?;
    show(output, &report, "stored");
    Ok(())
}

/// Says what was transferred.
pub fn show(output: Output, report: &Report, done: &str) {
    output.object(report);
    for note in &report.notes {
        output.note(format_args!("note: {note}"));
    }
    if !output.is_json() {
        output.note(format_args!(
            "{done} {} files and {} folders, {}",
            report.files,
            report.folders,
            units::size(report.bytes)
        ));
    }
}

async fn store(
    filesystem: &Volume,
    sources: &[OsString],
    dest: Name,
    parents: bool,
    output: Output,
) -> anyhow::Result<Report> {
    let (uid, gid) = user();
    let into = folder(filesystem, &dest, sources.len() > 1, parents).await?;
    let total = sources
        .iter()
        .map(|source| local_size(Path::new(source)))
        .sum();
    let bar = output.bytes_bar(total, "storing");
    let mut upload = Upload::new(filesystem, &bar);
    for source in sources {
        let stream = source == "-";
        let (folder, name, path) = match into {
            Some(folder) => {
                let name = name_of(source)?;
                let path = dest.join(&name);
                (folder, name, path)
            }
            None => {
                let (folder, name) = tree::place(filesystem, &dest).await?;
                (folder, name, dest.clone())
            }
        };
        if stream {
            let owner = Owner {
                uid,
                gid,
                mode: 0o644,
                umask: 0,
            };
            let input = std::io::stdin().lock();
            upload
                .put_stream(input, folder, &name, &path, owner)
                .await?;
        } else {
            upload.put(Path::new(source), folder, &name, &path).await?;
        }
    }
    bar.finish_and_clear();
    Ok(upload.report())
}

/// The folder that sources go into, or `None` if `dest` is the name of the one source.
async fn folder(
    filesystem: &Volume,
    dest: &Name,
    several: bool,
    parents: bool,
) -> anyhow::Result<Option<Inode>> {
    let (uid, gid) = user();
    let owner = Owner {
        uid,
        gid,
        mode: 0o755,
        umask: 0,
    };
    match tree::resolve(filesystem, dest, Follow::Yes).await {
        Ok(found) if found.kind == FileKind::Directory => Ok(Some(found.inode)),
        Ok(_) if several || dest.is_folder() => Err(tree::of(dest, Refusal::NotDirectory.into())),
        Ok(_) => Ok(None),
        Err(error) if !tree::is_absent(&error) => Err(error),
        Err(_) if parents && (several || dest.is_folder()) => {
            tree::make_all(filesystem, dest, owner).await.map(Some)
        }
        Err(error) if several || dest.is_folder() => {
            Err(error.context("the folder to put into is not there (-p makes it)"))
        }
        Err(_) => {
            if let (true, Some((above, _))) = (parents, dest.split()) {
                tree::make_all(filesystem, &above, owner).await?;
            }
            Ok(None)
        }
    }
}

/// The last component of a local path, `.` and `..` resolved.
fn name_of(source: &OsString) -> anyhow::Result<Vec<u8>> {
    if source == "-" {
        let what = "standard input has no name: give a path of the vault that is no folder";
        return Err(Error::Usage(what.to_owned()).into());
    }
    let path = Path::new(source);
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let real = path
                .canonicalize()
                .map_err(|error| Error::io("read", path, error))?;
            real.file_name()
                .context("the root folder has no name; give the path in the vault")?
                .to_owned()
        }
    };
    Ok(name.as_bytes().to_vec())
}
