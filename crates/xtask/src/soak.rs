//! A long life of a mount: work for an hour, with memory, handles, disk and pace watched.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::run::run as run_command;

/// `cargo xtask soak [--memory 512M] [--queue 2G] [--only …] [--minutes 60] [--store URI] [--dir DIR | --continue DIR]`
pub fn run(arguments: &[String]) -> Result<()> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    install_fsx(&target)?;
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

/// One of the programs that work at once; not a dependency of anything.
fn install_fsx(target: &Path) -> Result<()> {
    let root = target.join("tools");
    if root.join("bin/fsx").exists() {
        return Ok(());
    }
    run_command(
        Command::new("cargo")
            .args(["install", "--quiet", "fsx", "--root"])
            .arg(root),
    )
}
