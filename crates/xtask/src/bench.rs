//! Speed: of the parts (criterion), and of whole file systems side by side in one run.

use std::process::Command;

use anyhow::Result;
use anyhow::bail;

use crate::release;
use crate::run::run as run_command;

/// `cargo xtask bench [parts [FILTER] | peers [--quick] [--json FILE] [--plot FILE] …]`; `peers --help` says all.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        None => {
            parts(&[])?;
            peers(&[])
        }
        Some((which, rest)) if which == "parts" => parts(rest),
        Some((which, rest)) if which == "peers" => peers(rest),
        Some((which, _)) => bail!("{which} is neither parts nor peers"),
    }
}

fn parts(arguments: &[String]) -> Result<()> {
    run_command(
        Command::new("cargo")
            .args([
                "bench",
                "--package",
                "coffre-benches",
                "--bench",
                "parts",
                "--",
            ])
            .args(arguments),
    )
}

/// Peers that are not installed are left out.
fn peers(arguments: &[String]) -> Result<()> {
    run_command(Command::new(release::bench("peers")?).args(arguments))
}
