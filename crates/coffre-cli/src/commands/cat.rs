//! `coffre cat`: content to standard output.

use std::ffi::OsString;

use coffre::fs::Follow;
use coffre::vault::Access;

use crate::commands::Instead;
use crate::commands::refuse_mounted;
use crate::names::Name;
use crate::session;
use crate::settings::Context;
use crate::transfer::Download;
use crate::tree;

/// Write files of a vault to standard output
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  coffre cat work /notes.txt | less")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Files in it
    #[arg(required = true)]
    paths: Vec<OsString>,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    refuse_mounted(&target, Instead::There("read the files")).await?;
    let bar = indicatif::ProgressBar::hidden();
    session::with_filesystem(
        context,
        &target,
        Access::ReadOnly,
        |filesystem| async move {
            let download = Download::new(&filesystem, &bar);
            let mut out = std::io::stdout().lock();
            for path in &args.paths {
                let path = Name::from(path.as_os_str());
                let found = tree::resolve(&filesystem, &path, Follow::Yes).await?;
                download.stream(&path, found, &mut out).await?;
            }
            Ok(())
        },
    )
    .await
}
