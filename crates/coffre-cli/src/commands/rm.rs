//! `coffre rm`: removes files and folders.

use std::ffi::OsString;

use crate::commands::ask;
use crate::names::Name;
use crate::requests::Request;
use crate::settings::Context;

/// Remove files and folders from a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  coffre rm -r work /photos/2019")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// What to remove
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Folders with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// No error for what is not there
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let requests = args.paths.iter().map(|path| Request::Remove {
        path: Name::from(path.as_os_str()),
        recursive: args.recursive,
        force: args.force,
    });
    ask(context, &args.vault, requests.collect(), |_| ()).await
}
