//! `coffre checkpoint`: the state of a vault as a string that another device can insist on.

use coffre::Error;
use coffre::vault::Access;
use coffre_format::checkpoint::CheckpointString;

use crate::commands::Instead;
use crate::commands::refuse_mounted;
use crate::session;
use crate::settings::Context;

/// Print the string by which another device can verify that it sees this state
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre checkpoint work                     # on a device that knows the vault
  coffre checkpoint work --verify ae7q…      # on another one")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Verify that what the store offers contains this state
    #[arg(long, value_name = "STRING")]
    verify: Option<String>,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let expected = args.verify.as_deref().map(str::parse::<CheckpointString>);
    let expected = expected
        .transpose()
        .map_err(|error| Error::Usage(error.to_string()))?;
    let target = context.target(&args.vault)?;
    refuse_mounted(&target, Instead::Unmount).await?;
    let vault = session::unlock(context, &target, Access::ReadOnly).await?;
    if let Some(expected) = expected {
        vault.verify(&expected).await?;
        context
            .output
            .object(&serde_json::json!({ "verified": true }));
        context
            .output
            .line("the store offers this state, or a newer one that contains it");
        return Ok(());
    }
    let checkpoint = vault.checkpoint().to_string();
    context
        .output
        .object(&serde_json::json!({ "checkpoint": checkpoint }));
    context.output.line(checkpoint);
    Ok(())
}
