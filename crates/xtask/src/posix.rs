//! The suites that judge file systems, in full; `cargo xtask test` runs a short form of them.

use std::process::Command;

use anyhow::Result;

use crate::run::run as run_command;
use crate::setup;
use crate::test::target;

/// Operations of each of the runs of fsx.
const OPERATIONS: &str = "100000";

/// `cargo xtask posix [FILTER]`
pub fn run(arguments: &[String]) -> Result<()> {
    setup::programs();
    setup::suites(&target());
    let all = ["posix::".to_owned()];
    let asked = if arguments.is_empty() {
        &all
    } else {
        arguments
    };
    run_command(
        Command::new("cargo")
            .args(["test", "--package", "coffre-tests", "--test", "drive", "--"])
            .arg("--show-output")
            .args(asked)
            .env("COFFRE_TEST_FSX", OPERATIONS),
    )
}
