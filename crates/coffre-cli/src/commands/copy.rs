//! `coffre copy`: a vault to another store, without its keys.

use coffre::store::Store;
use coffre::vault::copy::CopyReport;
use coffre::vault::copy::copy;

use crate::commands::state_of;
use crate::control::client::Daemon;
use crate::exit;
use crate::exit::Failure;
use crate::output::Output;
use crate::settings::Context;
use crate::settings::Target;
use crate::units;

/// Copy a vault to another store; no passphrase is needed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  coffre copy 's3://old-bucket/vault?region=eu-central-1' sftp://host/vault

Every object is verified against its name before it is written. Copying again copies what is new
and what was interrupted. What waits on this machine for its upload is not in the store, and is not
copied: `coffre unmount` first. Open the copy like the original.")]
pub struct Args {
    /// From where: a URI, a local folder, or a profile
    source: String,
    /// To where
    destination: String,
}

/// Names that are no objects of a vault, shown at most.
const FOREIGN: usize = 16;

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.source)?;
    let source = target.store()?;
    tell_what_waits(context, &target).await;
    let destination = Store::open(&context.target(&args.destination)?.uri)?;
    let bar = context.output.count_bar("copying");
    let report = copy(&source, &destination, &|progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    })
    .await?;
    bar.finish_and_clear();
    show(context.output, &report);
    match report.damaged.len() {
        0 => Ok(()),
        count => Err(Failure::error(
            exit::FORGED,
            format!(
                "{count} objects are damaged at the source and were left out; `coffre check` names their files"
            ),
        )),
    }
}

/// Whoever leaves a store for good should know what is not in it yet. It keeps nobody from leaving.
async fn tell_what_waits(context: &Context, source: &Target) {
    let output = context.output;
    let state = source.state();
    if let Some(daemon) = Daemon::find(&state).await
        && let Ok(state) = state_of(daemon).await
    {
        if state.status.unpublished_operations > 0 {
            output.note(format_args!(
                "note: {} wait on this machine for their upload and will not be in the copy; `coffre sync` the mount, \
                 and copy again",
                units::size(state.status.unpublished_bytes)
            ));
        }
        return;
    }
    if state.exists() {
        output.note(format_args!(
            "note: what is in the store is copied; `coffre status {}` says whether anything waits on this machine",
            source.written
        ));
    }
}

fn show(output: Output, report: &CopyReport) {
    output.object(report);
    for damaged in &report.damaged {
        output.line(format_args!("DAMAGED {damaged}"));
    }
    for foreign in report.foreign.iter().take(FOREIGN) {
        output.note(format_args!(
            "note: {foreign} belongs to no vault and was left"
        ));
    }
    output.line(format_args!(
        "copied {} objects ({}); {} were there already",
        report.copied,
        units::size(report.bytes),
        report.present
    ));
}
