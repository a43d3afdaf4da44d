//! A long life of a mount: work for an hour, with memory, handles, disk and pace watched.

use std::process::Command;

use anyhow::Result;

use crate::run::run as run_command;
use crate::setup;
use crate::test::target;

/// `cargo xtask soak [--memory 512M] [--queue 2G] [--only …] [--minutes 60] [--store URI] [--dir DIR | --continue DIR]`
pub fn run(arguments: &[String]) -> Result<()> {
    let target = target();
    setup::suite(&target, "fsx")?;
    for (package, binary) in [("coffre-cli", "coffre"), ("coffre-benches", "soak")] {
        run_command(Command::new("cargo").args([
            "build",
            "--release",
            "--quiet",
            "--package",
            package,
            "--bin",
            binary,
        ]))?;
    }
    run_command(Command::new(target.join("release/soak")).args(arguments))
}
