//! One large file, written over and over in place, each part synced; then read back and compared.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use anyhow::ensure;
use coffre_benches::device::drop_caches;

use crate::run::Run;

/// What one step writes and syncs, in MiB.
const PART: u64 = 128;

pub fn run(run: &Run) -> Result<()> {
    let (parts, rounds) = (run.plan.rewritten / PART, run.plan.rewrites);
    let path = run.drive.mount.join("rewritten");
    if !run.is_done("rewrite/read", parts - 1) {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)?;
        for step in 0..rounds * parts {
            run.step("rewrite/write", step, || {
                write(&file, step / parts, step % parts)
            })?;
        }
        drop_caches();
        for part in 0..parts {
            run.step("rewrite/read", part, || compare(&file, rounds - 1, part))?;
        }
    }
    crate::pace::gone(std::fs::remove_file(&path))
}

fn write(file: &File, round: u64, part: u64) -> Result<u64> {
    let mut bytes = vec![0; 1 << 20];
    for megabyte in part * PART..(part + 1) * PART {
        fill(&mut bytes, round, megabyte);
        file.write_all_at(&bytes, megabyte << 20)?;
    }
    file.sync_data()?;
    Ok(PART)
}

fn compare(file: &File, round: u64, part: u64) -> Result<u64> {
    let (mut bytes, mut wanted) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for megabyte in part * PART..(part + 1) * PART {
        file.read_exact_at(&mut bytes, megabyte << 20)?;
        fill(&mut wanted, round, megabyte);
        ensure!(bytes == wanted, "MiB {megabyte} is not what was written");
    }
    Ok(PART)
}

/// Bytes that do not compress, and that tell when and where they were written.
fn fill(bytes: &mut [u8], round: u64, megabyte: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (round << 40) ^ (megabyte << 8) ^ 1;
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}
