//! `coffre demo`: a vault in the user's data folder, as its owner and as its provider see it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use coffre::Error;
use coffre::fs::Inode;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre::store::Prefix;
use coffre::store::Store;
use coffre::vault::Access;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::RecoveryCode;
use coffre_format::keyslot::Secret;
use coffre_fuse::AllowOther;

use crate::commands::init;
use crate::commands::mount;
use crate::commands::user;
use crate::control::Call;
use crate::control::client::Daemon;
use crate::names::Name;
use crate::output::Output;
use crate::requests::Item;
use crate::requests::Request;
use crate::session;
use crate::settings;
use crate::settings::Context;
use crate::settings::Target;
use crate::transfer::Upload;
use crate::tree;
use crate::units;

/// Show a small vault as its owner and as its storage provider see it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre demo
  coffre demo --keep ~/coffre-demo

Makes a vault with a generated passphrase in $XDG_DATA_HOME/coffre/demo. Where FUSE works, it is
mounted at DIR; otherwise the same files are stored without a mount.")]
pub struct Args {
    /// Where to mount it [default: files/ beside the vault]
    dir: Option<PathBuf>,
    /// Leave it mounted
    #[arg(long)]
    keep: bool,
}

/// The files that the demo writes.
const FILES: &[(&str, &str)] = &[
    (
        "letters/landlord.txt",
        "Dear Ms Arden,\nthe boiler is broken again.\n",
    ),
    ("diary.md", "# Monday\nNobody reads this but me.\n"),
    ("photos/lake.pgm", "P2 2 2 255\n0 64 128 255\n"),
];

/// The demo's folders.
struct Place {
    vault: PathBuf,
    passphrase: PathBuf,
    files: PathBuf,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let root = settings::folders().map(|folders| {
        etcetera::base_strategy::BaseStrategy::data_dir(&folders)
            .join("coffre")
            .join("demo")
    })?;
    let place = Place {
        vault: root.join("vault"),
        passphrase: root.join("passphrase"),
        files: args.dir.clone().unwrap_or_else(|| root.join("files")),
    };
    let output = context.output;
    let mut context = context.clone();
    context.global.passphrase_file = Some(place.passphrase.clone());
    context.global.passphrase_command = None;
    context.global.key_file = None;
    let address = place.vault.to_string_lossy().into_owned();
    let target = context.target(&address)?;
    prepare(&place, &target, output).await?;
    let mounted = match mount_there(&context, &target, &place, &address).await {
        Ok(()) => true,
        Err(why) => {
            output.line(format_args!(
                "Not mounted, the library is used without: {why:#}\n"
            ));
            false
        }
    };
    if mounted {
        through_the_kernel(&place.files)?;
        let (_, daemon) = crate::commands::sync::mounted_at(&context, &place.files).await?;
        crate::commands::sync::call(daemon, &Call::Sync, output).await?;
    } else {
        through_the_library(&context, &target).await?;
    }
    owners_view(&context, &target, &place, mounted).await?;
    providers_view(&target, output).await?;
    if mounted && !args.keep {
        let (_, daemon) = crate::commands::sync::mounted_at(&context, &place.files).await?;
        crate::commands::sync::call(daemon, &Call::Unmount { now: false }, output).await?;
    }
    farewell(output, &place, &root, mounted && args.keep);
    Ok(())
}

/// Makes the vault and its passphrase, unless an earlier demo did.
async fn prepare(place: &Place, target: &Target, output: Output) -> anyhow::Result<()> {
    fs::create_dir_all(&place.files).map_err(|error| Error::io("create", &place.files, error))?;
    if place.passphrase.exists() {
        output.line(format_args!(
            "Using the demo vault in {}\n",
            place.vault.display()
        ));
        return Ok(());
    }
    let text = RecoveryCode::generate().map_err(Error::Secret)?.to_text();
    let passphrase = Passphrase::new(text.as_bytes()).map_err(Error::Secret)?;
    let store = Store::open(&target.uri)?;
    init::probe(&store).await?;
    let secrets = vec![(Secret::Passphrase(passphrase), "demo".to_owned())];
    // The passphrase last: where it exists, the vault does.
    init::create(target, store, secrets, KdfParams::FLOOR).await?;
    init::write_private(&place.passphrase, text.as_bytes())?;
    output.line(format_args!("Made a vault in {}\n", place.vault.display()));
    Ok(())
}

async fn mount_there(
    context: &Context,
    target: &Target,
    place: &Place,
    address: &str,
) -> anyhow::Result<()> {
    if Daemon::find(&target.state()).await.is_some() {
        return Ok(()); // an earlier demo with --keep
    }
    let dir = mount::usable_folder(&place.files, target, AllowOther::No)?;
    let presented = crate::secret::Presented::gather(&context.global, &target.profile)?;
    let mut arguments = vec!["mount".into(), address.into(), dir.into_os_string()];
    for (flag, folder) in [
        ("--state-dir", &context.global.state_dir),
        ("--cache-dir", &context.global.cache_dir),
    ] {
        if let Some(folder) = folder {
            arguments.extend([flag.into(), folder.clone().into_os_string()]);
        }
    }
    mount::start(target, &arguments, &presented, context).await?;
    Ok(())
}

fn through_the_kernel(dir: &Path) -> anyhow::Result<()> {
    for (name, text) in FILES {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| Error::io("write", &path, error))?;
    }
    Ok(())
}

async fn through_the_library(context: &Context, target: &Target) -> anyhow::Result<()> {
    session::with_filesystem(
        context,
        target,
        Access::ReadWrite,
        |filesystem| async move {
            for (name, text) in FILES {
                write(&filesystem, &Name(format!("/{name}").into_bytes()), text).await?;
            }
            Ok(())
        },
    )
    .await
}

async fn write(filesystem: &Volume, path: &Name, text: &str) -> anyhow::Result<()> {
    let (uid, gid) = user();
    let owner = |mode| Owner {
        uid,
        gid,
        mode,
        umask: 0,
    };
    let folder: Inode = match path.split() {
        Some((folder, _)) => tree::make_all(filesystem, &folder, owner(0o755)).await?,
        None => Inode::ROOT,
    };
    let (_, name) = tree::place(filesystem, path).await?;
    let hidden = indicatif::ProgressBar::hidden();
    let mut upload = Upload::new(filesystem, &hidden);
    upload
        .put_stream(text.as_bytes(), folder, &name, path, owner(0o644))
        .await
}

async fn owners_view(
    context: &Context,
    target: &Target,
    place: &Place,
    mounted: bool,
) -> anyhow::Result<()> {
    let output = context.output;
    let seen = if mounted {
        place.files.display().to_string()
    } else {
        "the vault".to_owned()
    };
    output.line(format_args!("What you see in {seen}:\n"));
    let request = Request::List {
        path: Name(b"/".to_vec()),
        recursive: true,
        itself: false,
    };
    let address = target.written.clone();
    super::ask(context, &address, vec![request], |item| {
        if let Item::Entry(entry) = item {
            output.object(&entry);
            output.line(format_args!(
                "    {} {:>6} B  {}",
                entry.permissions, entry.size, entry.path
            ));
        }
    })
    .await
}

async fn providers_view(target: &Target, output: Output) -> anyhow::Result<()> {
    let store = Store::open(&target.uri)?;
    let listing = store.list(Prefix::All).await?;
    output.line("\nWhat the storage provider sees:\n");
    let mut example = None;
    for object in &listing.objects {
        let length = match object.length {
            Some(length) => length,
            None => store.length(&object.name).await?.unwrap_or(0),
        };
        let name = object.name.to_string();
        output.object(&serde_json::json!({ "object": name, "length": length }));
        output.line(format_args!("    {length:>8} B  {name}"));
        if name.starts_with("packs/") && length >= 48 {
            example = Some(object.name);
        }
    }
    if let Some(name) = example {
        output.line(format_args!("\nand in {name}:\n"));
        let bytes = store.read(&name, 0..48).await?;
        for (row, bytes) in bytes.chunks(16).enumerate() {
            output.line(format_args!("    {}", hexdump(row * 16, bytes)));
        }
    }
    Ok(())
}

fn hexdump(offset: usize, bytes: &[u8]) -> String {
    let mut text = format!("{offset:08x} ");
    for byte in bytes {
        let _ = write!(text, " {byte:02x}");
    }
    text.push_str("  ");
    text.extend(bytes.iter().map(|byte| match byte {
        0x20..=0x7e => char::from(*byte),
        _ => '.',
    }));
    text
}

fn farewell(output: Output, place: &Place, root: &Path, mounted: bool) {
    let (vault, files) = (place.vault.display(), place.files.display());
    let passphrase = place.passphrase.display();
    output.line(format_args!(
        "\nThe vault holds {}; its passphrase is in {passphrase}.",
        sizes()
    ));
    if mounted {
        output.line(format_args!("Unmount it:    coffre unmount {files}"));
    } else {
        output.line(format_args!(
            "Look into it:  coffre --passphrase-file {passphrase} ls -lR {vault}"
        ));
        output.line(format_args!(
            "Mount it:      coffre --passphrase-file {passphrase} mount {vault} {files}"
        ));
    }
    output.line(format_args!("Delete it:     rm -r {}", root.display()));
}

fn sizes() -> String {
    let bytes: usize = FILES.iter().map(|(_, text)| text.len()).sum();
    format!("{} files, {}", FILES.len(), units::size(bytes as u64))
}
