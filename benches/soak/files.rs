//! Many small files: created, listed with their attributes, removed.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use anyhow::ensure;
use coffre_benches::device::drop_caches;

use crate::run::Run;

/// Files of one folder, which is one step.
const FOLDER: u64 = 1000;

pub fn run(run: &Run) -> Result<()> {
    let folders = run.plan.files / FOLDER;
    for number in 0..folders {
        run.step("files/create", number, || create(run, number))?;
    }
    drop_caches();
    for number in 0..folders {
        run.step("files/list", number, || list(run, number))?;
    }
    for number in 0..folders {
        run.step("files/remove", number, || remove(run, number))?;
    }
    Ok(())
}

fn folder(run: &Run, number: u64) -> PathBuf {
    run.drive.mount.join(format!("files/{number:04}"))
}

fn create(run: &Run, number: u64) -> Result<u64> {
    let folder = folder(run, number);
    fs::create_dir_all(&folder)?;
    let mut content = [0u8; 4096];
    for file in 0..FOLDER {
        // Content that differs and does not compress to nothing.
        for (at, byte) in content.iter_mut().enumerate() {
            *byte = (at as u64 * (number + 7) * (file + 3) / 31) as u8;
        }
        fs::write(folder.join(format!("file {file}")), content)?;
    }
    Ok(FOLDER)
}

fn list(run: &Run, number: u64) -> Result<u64> {
    let mut listed = 0;
    for entry in fs::read_dir(folder(run, number))? {
        ensure!(
            entry?.metadata()?.len() == 4096,
            "a file has another length"
        );
        listed += 1;
    }
    ensure!(
        listed == FOLDER,
        "{listed} files are listed of {FOLDER} that were created"
    );
    Ok(listed)
}

fn remove(run: &Run, number: u64) -> Result<u64> {
    let folder = folder(run, number);
    for file in 0..FOLDER {
        crate::pace::gone(fs::remove_file(folder.join(format!("file {file}"))))?;
    }
    crate::pace::gone(fs::remove_dir(&folder))?;
    Ok(FOLDER)
}
