//! `coffre ls`: what is in a folder.

use std::ffi::OsString;

use crate::commands::ask;
use crate::names::Name;
use crate::requests::Entry;
use crate::requests::Item;
use crate::requests::Request;
use crate::settings::Context;
use crate::units;

/// List what is in a folder of a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre ls work
  coffre ls -l s3://bucket/vault /photos
  coffre --json ls -R work | jq .path")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Folders or files in it
    #[arg(default_value = "/")]
    paths: Vec<OsString>,
    /// Mode, links, owner, size and time (UTC) as well
    #[arg(short, long)]
    long: bool,
    /// Folders below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// A folder as itself instead of what is in it
    #[arg(short, long)]
    directory: bool,
    /// Sizes as 1.5 GiB
    #[arg(short = 'H', long)]
    human: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let requests = args.paths.iter().map(|path| Request::List {
        path: Name::from(path.as_os_str()),
        recursive: args.recursive,
        itself: args.directory,
    });
    ask(context, &args.vault, requests.collect(), |item| {
        if let Item::Entry(entry) = item {
            context.output.object(&entry);
            context.output.line(line(&args, &entry));
        }
    })
    .await
}

fn line(args: &Args, entry: &Entry) -> String {
    let name = if args.recursive || args.paths.len() > 1 {
        &entry.path
    } else {
        &entry.name
    };
    let mark = if entry.kind == "directory" { "/" } else { "" };
    let shown = match &entry.target {
        Some(target) if args.long => format!("{name} -> {target}"),
        _ => format!("{name}{}", if name.is_folder() { "" } else { mark }),
    };
    if !args.long {
        return shown;
    }
    let size = if args.human {
        units::size(entry.size)
    } else {
        entry.size.to_string()
    };
    format!(
        "{} {:>3} {:>5} {:>5} {size:>12} {} {shown}",
        entry.permissions,
        entry.links,
        entry.uid,
        entry.gid,
        units::date(entry.mtime),
    )
}
