//! `coffre mkdir`: makes folders.

use std::ffi::OsString;

use crate::commands::ask;
use crate::commands::user;
use crate::names::Name;
use crate::requests::Request;
use crate::settings::Context;

/// Make folders in a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  coffre mkdir -p work /photos/2026")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Folders to make
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// The folders above, too; no error where one exists
    #[arg(short, long)]
    parents: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let requests = args.paths.iter().map(|path| Request::MakeFolder {
        path: Name::from(path.as_os_str()),
        parents: args.parents,
        owner: user(),
    });
    ask(context, &args.vault, requests.collect(), |_| ()).await
}
