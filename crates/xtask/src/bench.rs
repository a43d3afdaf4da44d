//! Speed: of the parts (criterion), and of whole file systems: beside their peers, far from the store, when they grow.

use std::process::Command;

use anyhow::Result;
use anyhow::bail;

use crate::python;
use crate::release;
use crate::run::run as run_command;

/// `cargo xtask bench [parts [FILTER] | peers [--quick] [--json FILE] [--plot FILE] …
///                   | wan [--quick] [--link 30,100] [--only …] [--json FILE]
///                   | growth [--quick] [--most N] [--json FILE] [--svg FILE] | library [--rounds N] [--json FILE]]`;
/// each `--help` says all.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        None => {
            parts(&[])?;
            whole("peers", &[])
        }
        Some((which, rest)) if which == "library" => library(rest),
        Some((which, rest)) if which == "parts" => parts(rest),
        Some((which, rest)) if ["peers", "wan", "growth"].contains(&which.as_str()) => {
            whole(which, rest)
        }
        Some((which, _)) => bail!("{which} is none of parts, peers, wan, growth and library"),
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

/// Of the Python package beside the library, and beside rclone.
fn library(arguments: &[String]) -> Result<()> {
    let python = python::with_wheel()?;
    run_command(
        Command::new(release::bench("library")?)
            .arg("--python")
            .arg(python)
            .args(arguments),
    )
}

/// Of whole file systems. Peers that are not installed are left out.
fn whole(which: &str, arguments: &[String]) -> Result<()> {
    run_command(Command::new(release::bench(which)?).args(arguments))
}
