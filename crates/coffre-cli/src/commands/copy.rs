//! `coffre copy`: a vault to another store, without its keys.

use coffre::store::Store;
use coffre::vault::copy;

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

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let source = Store::open(&context.target(&args.source)?.uri)?;
    let destination = Store::open(&context.target(&args.destination)?.uri)?;
    let bar = context.output.bytes_bar(0, "copying");
    let report = copy(&source, &destination, &|progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.bytes);
    })
    .await?;
    bar.finish_and_clear();
    show(context.output, &report);
    Ok(())
}

fn show(output: Output, report: &coffre::vault::CopyReport) {
    output.object(report);
    for note in &report.notes {
        output.note(format_args!("note: {note}"));
    }
    output.line(format_args!(
        "copied {} objects ({}); {} were there already",
        report.copied,
        units::size(report.bytes),
        report.present
    ));
}
