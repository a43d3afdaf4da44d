//! The programs as they are measured: built for release, the drive and what works on it together.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::run::run;
use crate::test::target;

/// Builds all of them; answers where one of the benches is.
pub fn bench(name: &str) -> Result<PathBuf> {
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--quiet", "--package", "coffre-cli"]);
    run(build.args(["--bin", "coffre", "--package", "coffre-benches", "--bins"]))?;
    Ok(target().join("release").join(name))
}
