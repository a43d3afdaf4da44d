//! Programs that people run: tar, grep, git, cargo.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::content::per_second;
use crate::mounting::quiet;
use crate::sources;
use crate::sources::Sources;
use crate::sources::git;

/// How often git is asked, where one answer is too short to be timed.
const STATUSES: usize = 5;

pub fn untar(mount: &Path, sources: &Sources) -> Result<f64> {
    let target = mount.join("headers");
    fs::create_dir(&target)?;
    let begin = Instant::now();
    quiet(
        Command::new("tar")
            .arg("-C")
            .arg(target)
            .arg("-xf")
            .arg(&sources.archive),
    )?;
    Ok(per_second(sources.entries, begin))
}

pub fn grep(mount: &Path) -> Result<f64> {
    let begin = Instant::now();
    let found = Command::new("grep")
        .args(["-r", "-c", "no such words in it"])
        .arg(mount.join("headers"))
        .output()?;
    let files = found.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(files > 0 && found.stderr.is_empty(), "grep cannot read all");
    Ok(per_second(files, begin))
}

/// As from a server: packed, and unpacked here.
pub fn clone(mount: &Path, sources: &Sources) -> Result<f64> {
    let from = format!("file://{}", sources.repository.display());
    let begin = Instant::now();
    quiet(
        git(mount)
            .args(["clone", "-q"])
            .arg(from)
            .arg(mount.join("clone")),
    )?;
    Ok(per_second(sources.files, begin))
}

pub fn status_warm(mount: &Path, sources: &Sources) -> Result<f64> {
    // The first looks into files that are as new as the index.
    status(mount)?;
    let begin = Instant::now();
    for _ in 0..STATUSES {
        status(mount)?;
    }
    Ok(per_second(sources.files * STATUSES, begin))
}

pub fn status_cold(mount: &Path, sources: &Sources) -> Result<f64> {
    let begin = Instant::now();
    status(mount)?;
    Ok(per_second(sources.files, begin))
}

fn status(mount: &Path) -> Result<()> {
    let mut command = git(&mount.join("clone"));
    let told = command.args(["status", "--porcelain"]).output()?;
    ensure!(
        told.status.success() && told.stdout.is_empty(),
        "git sees changes: {}{}",
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
    Ok(())
}

/// Sources and what is built are both on the mount.
pub fn build(mount: &Path) -> Result<f64> {
    let folder = mount.join("crate");
    sources::write_crate(&folder)?;
    let begin = Instant::now();
    quiet(
        Command::new("cargo")
            .args(["build", "--offline", "--quiet"])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            // Nor a cache of what was built elsewhere.
            .env("RUSTC_WRAPPER", "")
            .env_remove("RUSTFLAGS"),
    )?;
    Ok(per_second(sources::MODULES, begin))
}
