//! A long life of a mount: work for an hour, with memory, handles, disk and pace watched.

use std::process::Command;

use anyhow::Result;

use crate::release;
use crate::run::run as run_command;
use crate::setup;
use crate::test::target;

/// `cargo xtask soak [--memory 512M] [--queue 2G] [--only …] [--minutes 60] [--store URI] [--dir DIR | --continue DIR]`
pub fn run(arguments: &[String]) -> Result<()> {
    setup::suite(&target(), "fsx")?;
    run_command(Command::new(release::bench("soak")?).args(arguments))
}
