//! One very large folder: filled, listed by `ls`, looked into here and there, emptied.

use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;
use coffre_benches::device::drop_caches;

use crate::pace::gone;
use crate::run::Run;

/// Entries of one step.
const PART: u64 = 10_000;
/// How often it is listed.
const LISTS: u64 = 8;
/// Entries of one step of looking, and such steps.
const LOOKS: (u64, u64) = (500, 40);

pub fn run(run: &Run) -> Result<()> {
    let entries = run.plan.entries;
    let parts = entries.div_ceil(PART);
    let folder = folder(run);
    if !run.is_done("directory/remove", parts - 1) {
        fs::create_dir_all(&folder)?;
    }
    for part in 0..parts {
        run.step("directory/create", part, || {
            for entry in part * PART..((part + 1) * PART).min(entries) {
                File::create(folder.join(name(entry)))?;
            }
            Ok(PART)
        })?;
    }
    for number in 0..LISTS {
        run.step("directory/list", number, || {
            drop_caches();
            list(run)
        })?;
    }
    drop_caches();
    for number in 0..LOOKS.1 {
        run.step("directory/stat", number, || look(run, number))?;
    }
    for part in 0..parts {
        run.step("directory/remove", part, || {
            for entry in part * PART..((part + 1) * PART).min(entries) {
                gone(fs::remove_file(folder.join(name(entry))))?;
            }
            Ok(PART)
        })?;
    }
    gone(fs::remove_dir(&folder))
}

fn folder(run: &Run) -> PathBuf {
    run.drive.mount.join("directory")
}

fn name(entry: u64) -> String {
    format!("entry number {entry} of many")
}

fn list(run: &Run) -> Result<u64> {
    // Unsorted, as a program reads it that only wants to know what is there.
    let output = Command::new("ls").arg("-U1").arg(folder(run)).output()?;
    ensure!(output.status.success(), "ls fails");
    let listed = output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
    ensure!(
        listed == run.plan.entries,
        "ls tells {listed} entries of {}",
        run.plan.entries
    );
    Ok(listed)
}

fn look(run: &Run, number: u64) -> Result<u64> {
    let folder = folder(run);
    for look in 0..LOOKS.0 {
        // A large odd factor scatters them.
        let entry = (number * LOOKS.0 + look).wrapping_mul(2_654_435_761) % run.plan.entries;
        fs::symlink_metadata(folder.join(name(entry)))?;
    }
    Ok(LOOKS.0)
}
