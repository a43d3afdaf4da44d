//! One size of the vault, measured.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use crate::vault::FOLDER;
use crate::vault::Vault;

/// Publishes that are timed.
const ROUNDS: u64 = 5;
/// How long a new mount may do what it does by itself.
const SETTLE: Duration = Duration::from_secs(3);

/// What one size costs.
#[derive(Debug, Serialize)]
pub struct Point {
    /// Files in the vault.
    pub files: u64,
    /// How fast they came to be, per second.
    pub filled: f64,
    /// From the command to a folder that can be used, in seconds.
    pub mount: f64,
    /// The first listing after that, of a thousand entries with attributes, in seconds.
    pub list: f64,
    /// Files created per second.
    pub create: f64,
    /// Folding and publishing one changed file, in seconds; median.
    pub publish: f64,
    /// Resident memory after the first listing, in bytes.
    pub resident: u64,
    /// The most while all this was done.
    pub peak: u64,
}

/// Grows the vault to a size, mounts it anew, and measures.
pub fn measure(vault: &mut Vault, files: u64, created: u64) -> Result<Point> {
    let before = vault.files;
    let filling = Instant::now();
    vault.mount()?;
    vault.grow(files)?;
    let filled = (files - before) as f64 / filling.elapsed().as_secs_f64();
    vault.unmount()?;

    let begin = Instant::now();
    let pid = vault.mount()?;
    let mount = begin.elapsed().as_secs_f64();
    // A folder in the middle: neither the newest nor the oldest.
    let middle = files / FOLDER / 2;
    let list = timed(|| vault.list(middle))?;
    std::thread::sleep(SETTLE);
    let resident = memory(pid, "VmRSS:")?;
    // What it took to derive the keys is not counted.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot forget the peak")?;
    let create = timed(|| vault.grow(files + created))?;
    vault.publish()?;
    let publish = changes(vault, middle)?;
    let peak = memory(pid, "VmHWM:")?;
    vault.unmount()?;
    Ok(Point {
        files,
        filled,
        mount,
        list,
        create: created as f64 / create,
        publish,
        resident,
        peak,
    })
}

/// Median time to fold and publish a change.
fn changes(vault: &Vault, folder: u64) -> Result<f64> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        vault.change(folder, round)?;
        times.push(timed(|| vault.publish())?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(0.0))
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// In bytes, as the kernel counts it.
fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = number.context("the kernel does not tell")?.parse()?;
    Ok(kibibytes << 10)
}
