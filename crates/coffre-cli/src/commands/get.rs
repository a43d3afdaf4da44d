//! `coffre get`: files and folders out of a vault.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use coffre::Error;
use coffre::fs::Attributes;
use coffre::fs::Follow;
use coffre::fs::Volume;
use coffre::vault::Access;

use crate::commands::Instead;
use crate::commands::put::show;
use crate::commands::refuse_mounted;
use crate::names::Name;
use crate::output::Output;
use crate::session;
use crate::settings::Context;
use crate::transfer::Download;
use crate::transfer::Report;
use crate::tree;

/// Fetch files and folders out of a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre get work /photos/2026
  coffre get work /notes.txt /todo.txt ~/inbox/
  coffre get work /disk.img /tmp/other-name.img

Modes, times, extended attributes, symlinks, hard links and holes are kept; owners as root.
A file appears under its name when it is complete. `-` as DEST is standard output.")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Paths in it; of several, the last one is the local destination [default: the current folder]
    #[arg(required = true, value_names = ["PATH", "DEST"])]
    paths: Vec<OsString>,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    refuse_mounted(&target, Instead::There("copy the files from")).await?;
    let (dest, sources) = match args.paths.split_last() {
        Some((dest, sources)) if !sources.is_empty() => (PathBuf::from(dest), sources.to_vec()),
        _ => (PathBuf::from("."), args.paths),
    };
    let output = context.output;
    let report = session::with_filesystem(
        context,
        &target,
        Access::ReadOnly,
        |filesystem| async move { fetch(&filesystem, &sources, &dest, output).await },
    )
    .await?;
    if let Some(report) = report {
        show(output, &report, "fetched");
    }
    Ok(())
}

async fn fetch(
    filesystem: &Volume,
    sources: &[OsString],
    dest: &Path,
    output: Output,
) -> anyhow::Result<Option<Report>> {
    let mut found = Vec::new();
    for source in sources {
        let path = Name::from(source.as_os_str());
        let follow = if path.is_folder() {
            Follow::Yes
        } else {
            Follow::No
        };
        let attributes = tree::resolve(filesystem, &path, follow).await?;
        found.push((path, attributes));
    }
    if dest == Path::new("-") {
        let hidden = indicatif::ProgressBar::hidden();
        let download = Download::new(filesystem, &hidden);
        let mut out = std::io::stdout().lock();
        for (path, _) in found {
            let attributes = tree::resolve(filesystem, &path, Follow::Yes).await?;
            download.stream(&path, attributes, &mut out).await?;
        }
        return Ok(None);
    }
    let into = dest.is_dir();
    let folder_wanted = found.len() > 1 || dest.as_os_str().as_bytes().ends_with(b"/");
    if folder_wanted && !into {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Error::io("find the folder", dest, error).into());
    }
    let total: u64 = found.iter().map(|(_, attributes)| size(attributes)).sum();
    let bar = output.bytes_bar(total, "fetching");
    let download = Download::new(filesystem, &bar);
    for (path, attributes) in found {
        let local = match path.split() {
            Some((_, name)) if into => dest.join(OsStr::from_bytes(name)),
            _ => dest.to_owned(),
        };
        download.get(path, attributes, local).await?;
    }
    bar.finish_and_clear();
    Ok(Some(download.report()))
}

/// Of a single file the bar knows the end; of a folder it does not.
fn size(attributes: &Attributes) -> u64 {
    match attributes.kind {
        coffre_format::record::FileKind::Regular => attributes.allocated.min(attributes.size),
        _ => 0,
    }
}
