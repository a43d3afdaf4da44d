//! `coffre copy`: a vault to another store, without its keys.

use coffre::store::Store;
use coffre::vault::copy::CopyReport;
use coffre::vault::copy::copy;

use crate::exit;
use crate::exit::Failure;
use crate::output::Output;
use crate::settings::Context;
use crate::units;

/// Copy a vault to another store; no passphrase is needed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  coffre copy 's3://old-bucket/vault?region=eu-central-1' sftp://host/vault

Every object is verified against its name before it is written. Copying again copies what is new
and what was interrupted. Open the copy like the original.")]
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
    let source = context.target(&args.source)?.store()?;
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
