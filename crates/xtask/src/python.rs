//! The Python package: its wheel, and its tests in a virtual environment.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::run::run;
use crate::setup;
use crate::test::target;

const PACKAGE: &str = "bindings/python";

/// How a wheel is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// Beside the tests, with what they have compiled already.
    Dev,
    /// For others.
    Release,
}

/// `cargo xtask wheel`: the distributable, in `target/wheels`.
pub fn wheel() -> Result<()> {
    let wheel = distributable(&needed()?)?;
    println!("{}", wheel.display());
    Ok(())
}

/// A Python that has the package as others get it.
pub fn with_wheel() -> Result<PathBuf> {
    let python = needed()?;
    install(&python, &distributable(&python)?)?;
    Ok(python)
}

/// `cargo xtask python`
pub fn alone() -> Result<()> {
    test(&needed()?)
}

/// Builds the wheel, installs it and runs pytest, mypy and a look whether the stubs tell the truth.
pub fn test(python: &Path) -> Result<()> {
    let wheels = std::path::absolute(target())?.join("test-wheels");
    drop(std::fs::remove_dir_all(&wheels));
    let wheel = build(python, &wheels, Profile::Dev)?;
    install(python, &wheel)?;
    let tools: [&[&str]; 3] = [
        &["-X", "dev", "-m", "pytest", "--quiet", "-rs"],
        &["-m", "mypy"],
        &["-m", "mypy.stubtest", "coffre._coffre"],
    ];
    let python = std::path::absolute(python)?;
    let failed: Vec<_> = tools
        .iter()
        .filter_map(|tool| run(Command::new(&python).current_dir(PACKAGE).args(*tool)).err())
        .collect();
    match failed.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// The Python of the workshop, where nothing can be done without.
fn needed() -> Result<PathBuf> {
    let target = std::path::absolute(target())?;
    setup::python(&target).context("a Python with its packages is needed")
}

fn distributable(python: &Path) -> Result<PathBuf> {
    let wheels = std::path::absolute(target())?.join("wheels");
    build(python, &wheels, Profile::Release)
}

fn install(python: &Path, wheel: &Path) -> Result<()> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet"]);
    run(pip.args(["--force-reinstall", "--no-deps"]).arg(wheel))
}

fn build(python: &Path, into: &Path, profile: Profile) -> Result<PathBuf> {
    let mut maturin = Command::new(python);
    maturin.args(["-m", "maturin", "build", "--quiet", "--interpreter"]);
    maturin.arg(python).arg("--out").arg(into);
    maturin.args(["--manifest-path", "bindings/python/Cargo.toml"]);
    maturin.args(match profile {
        Profile::Dev => ["--profile", "dev"].as_slice(),
        Profile::Release => ["--release", "--strip"].as_slice(),
    });
    run(&mut maturin)?;
    let built = std::fs::read_dir(into)?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheels = built.filter(|path| path.extension().is_some_and(|end| end == "whl"));
    let newest = wheels.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    match newest {
        Some(wheel) => Ok(wheel),
        None => bail!("maturin left no wheel in {}", into.display()),
    }
}
