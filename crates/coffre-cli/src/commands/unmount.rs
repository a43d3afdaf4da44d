//! `coffre unmount`: uploads everything, unmounts, ends the process behind the mount.

use std::path::PathBuf;

use crate::commands::sync;
use crate::control::Call;
use crate::settings::Context;
use crate::units;

/// Unmount a vault when everything is uploaded
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre unmount ~/cloud
  coffre unmount --now ~/cloud      # the rest stays in the journal until the next mount

With --json, a line {\"waiting_bytes\":N} each time that less is left, then the result.")]
pub struct Args {
    /// Where it is mounted
    dir: PathBuf,
    /// Do not wait for the upload
    #[arg(long)]
    now: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (mounted, daemon) = sync::mounted_at(context, &args.dir).await?;
    let call = Call::Unmount { now: args.now };
    let left = match args.now {
        true => daemon.call(&call, drop).await?,
        false => sync::call(daemon, &call, context.output).await?,
    };
    wait_for_end(mounted.pid).await;
    let output = context.output;
    output.object(&serde_json::json!({ "unmounted": mounted.dir, "left_bytes": left }));
    if left > 0 {
        output.line(format_args!(
            "unmounted {}; {} are not uploaded yet and wait in the journal for the next mount of {}",
            mounted.dir.display(),
            units::size(left),
            mounted.vault
        ));
    } else {
        output.line(format_args!(
            "unmounted {}; everything is in the store",
            mounted.dir.display()
        ));
    }
    Ok(())
}

/// The daemon answers before it ends; the vault is free when it has.
async fn wait_for_end(pid: u32) {
    let daemon = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    for _ in 0..200 {
        match daemon {
            Some(daemon) if rustix::process::test_kill_process(daemon).is_ok() => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            _ => return,
        }
    }
}
