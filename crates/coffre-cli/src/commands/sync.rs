//! `coffre sync`: publishes a mounted vault and waits.

use std::path::PathBuf;

use crate::control::Call;
use crate::control::Line;
use crate::control::client::Daemon;
use crate::exit;
use crate::exit::Failure;
use crate::mounts;
use crate::mounts::Mounted;
use crate::output::Output;
use crate::settings::Context;

/// Upload what a mounted vault has not uploaded yet, and wait until it is done
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  coffre sync ~/cloud")]
pub struct Args {
    /// Where the vault is mounted
    dir: PathBuf,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (_, daemon) = mounted_at(context, &args.dir).await?;
    call(daemon, &Call::Sync, context.output).await?;
    context
        .output
        .object(&serde_json::json!({ "synced": true }));
    context.output.line("everything is in the store");
    Ok(())
}

/// The mount at a folder and the process behind it.
pub async fn mounted_at(
    context: &Context,
    dir: &std::path::Path,
) -> anyhow::Result<(Mounted, Daemon)> {
    let root = context.state_root()?;
    let found = mounts::at(&root, dir);
    if let Some(mounted) = found {
        if let Some(daemon) = Daemon::find(&mounted.state).await {
            return Ok((mounted, daemon));
        }
        return Err(Failure::error(
            exit::NOT_FOUND,
            format!(
                "the process that had {} mounted is gone (see {}); `fusermount3 -uz {}` clears the folder, and what \
                 was not uploaded is in the journal",
                mounted.dir.display(),
                mounted.state.join("daemon.log").display(),
                mounted.dir.display()
            ),
        ));
    }
    Err(Failure::error(
        exit::NOT_FOUND,
        format!(
            "no vault is mounted at {}, as far as {} knows (mounted with another --state-dir? give the same)",
            dir.display(),
            root.display()
        ),
    ))
}

/// Makes a call that uploads, with progress: a bar on a terminal, a line each time that less is left in JSON.
/// Returns the bytes that are left.
pub async fn call(daemon: Daemon, call: &Call, output: Output) -> anyhow::Result<u64> {
    let bar = output.bytes_bar(0, "uploading");
    let (mut most, mut told) = (0, None);
    let left = daemon
        .call(call, |line| {
            if let Line::Waiting(left) = line {
                most = left.max(most);
                bar.set_length(most);
                bar.set_position(most - left);
                if told != Some(left) {
                    told = Some(left);
                    output.object(&serde_json::json!({ "waiting_bytes": left }));
                }
            }
        })
        .await;
    bar.finish_and_clear();
    left
}
