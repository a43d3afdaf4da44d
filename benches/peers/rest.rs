//! Rest between workloads: what a system still does behind is done before the next clock starts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;

use crate::mounting;
use crate::system::System;

/// How long everyone rests.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    /// At least, for work that begins a little later.
    pub least: Duration,
    /// At most, for systems that never come to rest.
    pub most: Duration,
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// A process that does nothing may still take this much of a processor between two looks, in ticks of 10 ms…
const TICKS_MOST: u64 = 1;
/// …and write this much, in bytes.
const WRITTEN_MOST: u64 = 64 << 10;

/// Waits until all that was written is on the disk, and the processes of a system do nothing any more.
pub fn rest(system: System, folder: &Path, rest: Rest) {
    let begin = Instant::now();
    if let Err(error) = mounting::flush(system, folder) {
        eprintln!("{} does not flush: {error:#}", system.name());
    }
    drop(Command::new("sync").status());
    let flushed = Instant::now();
    std::thread::sleep(rest.least.saturating_sub(begin.elapsed()));
    let mut before = work_done(folder);
    while flushed.elapsed() < rest.most {
        std::thread::sleep(LOOK);
        let now = work_done(folder);
        let (ticks, written) = (
            now.0.saturating_sub(before.0),
            now.1.saturating_sub(before.1),
        );
        if ticks <= TICKS_MOST && written <= WRITTEN_MOST {
            return;
        }
        before = now;
    }
    eprintln!(
        "{} does not come to rest in {:.0?} after it has flushed",
        system.name(),
        rest.most
    );
}

/// Waits until no process has to do with the folder.
pub fn until_ended(folder: &Path, most: Duration) -> Result<()> {
    let begin = Instant::now();
    while !processes(folder).is_empty() {
        if begin.elapsed() > most {
            bail!("somebody still works in {}", folder.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Forgets what the kernel has cached, where that is allowed; what is not written yet would stay.
pub fn drop_caches() {
    drop(Command::new("sync").status());
    coffre_benches::device::drop_caches();
}

/// Processor time and bytes written of the processes behind a mount.
fn work_done(folder: &Path) -> (u64, u64) {
    let each = processes(folder).into_iter().map(|process| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let io = std::fs::read_to_string(process.join("io")).unwrap_or_default();
        let written = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        let written = written.and_then(|bytes| bytes.parse::<u64>().ok());
        (ticks, written.unwrap_or(0))
    });
    each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Folders in /proc of the processes that were started with the folder's name, which no other run has.
fn processes(folder: &Path) -> Vec<std::path::PathBuf> {
    let name = folder.as_os_str().as_encoded_bytes();
    let started_with = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        line.windows(name.len()).any(|part| part == name)
    };
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| started_with(path)).collect()
}
