//! `coffre status`: what is not uploaded yet, and how the devices stand.

use std::path::Path;

use coffre::fs::Status;
use serde::Serialize;

use crate::commands::ask;
use crate::commands::state_of;
use crate::control::client::Daemon;
use crate::mounts;
use crate::mounts::Mounted;
use crate::output::Output;
use crate::requests::Item;
use crate::requests::Request;
use crate::requests::State;
use crate::settings::Context;
use crate::units;

/// Show what is not uploaded yet, the cache and the devices
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre status              # all mounted vaults
  coffre status ~/cloud
  coffre --json status work")]
pub struct Args {
    /// A vault, or where one is mounted [default: everything that is mounted]
    vault: Option<String>,
}

/// For scripts.
#[derive(Serialize)]
struct Shown<'a> {
    vault: &'a str,
    mounted: Option<&'a Path>,
    #[serde(flatten)]
    state: &'a State,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let output = context.output;
    let root = context.state_root()?;
    let Some(vault) = args.vault else {
        let mut any = false;
        for mounted in mounts::all(&root) {
            any |= of_mount(&mounted, output).await?;
        }
        if !any {
            output.line("no vault is mounted");
        }
        return Ok(());
    };
    if let Some(mounted) = mounts::at(&root, Path::new(&vault))
        && of_mount(&mounted, output).await?
    {
        return Ok(());
    }
    let target = context.target(&vault)?;
    if let Some(mounted) = mounts::of_state(&target.state())
        && of_mount(&mounted, output).await?
    {
        return Ok(());
    }
    ask(context, &vault, vec![Request::Status], |item| {
        if let Item::Status(status) = item {
            show(output, &vault, None, &status);
        }
    })
    .await
}

/// False if nobody is behind the mount any more.
async fn of_mount(mounted: &Mounted, output: Output) -> anyhow::Result<bool> {
    let Some(daemon) = Daemon::find(&mounted.state).await else {
        return Ok(false);
    };
    let state = state_of(daemon).await?;
    show(output, &mounted.vault, Some(&mounted.dir), &state);
    Ok(true)
}

fn show(output: Output, vault: &str, mounted: Option<&Path>, state: &State) {
    let status = &state.status;
    output.object(&Shown {
        vault,
        mounted,
        state,
    });
    match mounted {
        Some(dir) => output.line(format_args!("{vault}, mounted at {}", dir.display())),
        None => output.line(format_args!("{vault}, not mounted")),
    }
    if status.unpublished_operations == 0 {
        output.line("  uploaded    everything");
    } else {
        output.line(format_args!(
            "  waiting     {} in {} operations, the oldest since {}; {} packs in the queue, {}/s",
            units::size(status.unpublished_bytes),
            status.unpublished_operations,
            units::duration(status.unpublished_seconds),
            status.queue,
            units::size(status.speed)
        ));
    }
    show_trouble(output, status);
    if status.last_commit > 0 {
        output.line(format_args!(
            "  last commit {} at {} UTC",
            status.last_commit,
            units::date(status.last_commit_time)
        ));
    }
    output.line(format_args!(
        "  content     {}",
        units::size(status.used_bytes)
    ));
    if let Some(stored) = &state.stored {
        output.line(format_args!(
            "  store       {}, of which {} are not in use any more",
            units::size(stored.stored_bytes),
            units::size(stored.unused_bytes)
        ));
    }
    output.line(format_args!(
        "  cache       {}",
        units::size(status.cache_bytes)
    ));
    for device in &status.devices {
        output.line(format_args!(
            "  device      {}{}{}: commit {} at {} UTC",
            device.id,
            if device.name.is_empty() {
                String::new()
            } else {
                format!(" {}", device.name)
            },
            if device.this { " (this one)" } else { "" },
            device.seq,
            units::date(device.time)
        ));
    }
    for device in &status.diverged {
        output.line(format_args!(
            "  DIVERGED    from device {device}: both keep working on chains of their own"
        ));
    }
    for warning in &status.warnings {
        output.line(format_args!("  warning     {warning}"));
    }
}

/// What keeps uploads back, since when, and what can be done.
fn show_trouble(output: Output, status: &Status) {
    if status.local_bytes > status.local_limit / 2 {
        output.line(format_args!(
            "  local disk  {} of {} that may wait for upload; writers are slowed down",
            units::size(status.local_bytes),
            units::size(status.local_limit)
        ));
    }
    match (&status.away_error, &status.last_error) {
        (Some(error), _) => output.line(format_args!(
            "  STORE AWAY  for {}: {error}",
            units::duration(status.away_seconds.unwrap_or_default())
        )),
        (None, Some(error)) => output.line(format_args!("  LAST UPLOAD FAILED: {error}")),
        (None, None) => {}
    }
    if let Some(advice) = &status.advice {
        output.line(format_args!("              {advice}"));
    }
}
