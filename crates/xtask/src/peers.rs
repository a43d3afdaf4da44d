//! Speed of whole file systems, side by side in one run: a plain folder, this drive, gocryptfs.

use std::process::Command;

use anyhow::Result;

use crate::run::run as run_command;

/// `cargo xtask peers [--quick]`
pub fn run(arguments: &[String]) -> Result<()> {
    run_command(Command::new("cargo").args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "coffre-cli",
        "--bin",
        "coffre",
    ]))?;
    run_command(
        Command::new("cargo")
            .args([
                "run",
                "--release",
                "--quiet",
                "--package",
                "coffre-benches",
                "--bin",
                "peers",
                "--",
            ])
            .args(arguments),
    )
}
