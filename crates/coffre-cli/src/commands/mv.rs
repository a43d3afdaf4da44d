//! `coffre mv`: renames within a vault.

use std::ffi::OsString;

use coffre::Error;

use crate::commands::ask;
use crate::names::Name;
use crate::requests::Request;
use crate::settings::Context;

/// Rename or move within a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre mv work /draft.txt /final.txt
  coffre mv work /a.jpg /b.jpg /photos/")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// From where; the last one is to where. A folder that exists is moved into
    #[arg(required = true, num_args = 2.., value_names = ["FROM", "TO"])]
    paths: Vec<OsString>,
    /// Refuse to replace a file
    #[arg(short, long)]
    no_clobber: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let Some((to, sources)) = args.paths.split_last() else {
        return Err(Error::Usage("from where, and to where?".to_owned()).into());
    };
    let mut to = Name::from(to.as_os_str());
    if sources.len() > 1 && !to.is_folder() {
        // Several things go into a folder, or nowhere.
        to.0.push(b'/');
    }
    let requests = sources.iter().map(|from| Request::Move {
        from: Name::from(from.as_os_str()),
        to: to.clone(),
        keep: args.no_clobber,
    });
    ask(context, &args.vault, requests.collect(), |_| ()).await
}
