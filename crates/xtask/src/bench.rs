//! Speed: of the parts (criterion), and of whole file systems side by side in one run.

use std::process::Command;

use anyhow::Result;
use anyhow::bail;

use crate::run::run as run_command;
use crate::test::target;

/// `cargo xtask bench [parts [FILTER] | peers [--quick] [--runs N] [--only a,b] [--json FILE]]`
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
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--quiet", "--package", "coffre-cli"]);
    run_command(build.args(["--bin", "coffre", "--package", "coffre-benches", "--bins"]))?;
    run_command(Command::new(target().join("release/peers")).args(arguments))
}
