//! All tests, with their set-up.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::run::has;
use crate::setup;

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// `cargo xtask test [FILTER…]`
pub fn run(filter: &[String]) -> Result<()> {
    setup::programs();
    let python = setup::python(&std::path::absolute(target())?);
    setup::suites(&target());
    // Tests run the command as a user would: it is built first.
    crate::run::run(Command::new("cargo").args([
        "build",
        "--quiet",
        "--package",
        "coffre-cli",
        "--bin",
        "coffre",
    ]))?;
    let mut tests = Command::new("cargo");
    if has("cargo-nextest") {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        println!("set-up: cargo-nextest is not installed; without it the tests run one by one");
        tests.args(["test", "--workspace", "--no-fail-fast"]);
        tests.env("RUST_TEST_THREADS", "1");
    }
    if let Some(python) = &python {
        tests.env("COFFRE_PYTHON", python);
    }
    let tested = crate::run::run(tests.args(filter));
    if !filter.is_empty() {
        return tested;
    }
    // The runner above does not run the examples in the documentation. The whole workspace, so that nothing is compiled with
    // other features than before.
    let mut documented = Command::new("cargo");
    documented.args(["test", "--quiet", "--doc", "--workspace"]);
    let documented = crate::run::run(&mut documented);
    let python = python.map_or(Ok(()), |python| crate::python::test(&python));
    tested.and(documented).and(python)
}
