//! What the process behind the mount takes, every second: memory, handles, disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use crate::run::Run;
use crate::run::append;
use crate::run::write_line;

const EVERY: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(2);
/// The store is walked less often, because there is much of it.
const STORE_EVERY: u64 = 10;

/// One second of a run. Sizes are bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds of the whole run.
    pub at: f64,
    /// Resident memory now.
    pub resident: u64,
    /// The most since the sample before.
    pub peak: u64,
    /// What of it is no file's.
    pub anonymous: u64,
    pub handles: u64,
    pub threads: u64,
    /// Journal, open packs, outbox.
    pub state: u64,
    pub cache: u64,
    pub store: u64,
    /// How busy the machine is, with whatever.
    pub load: f64,
    /// Operations of this process of the run so far, by phase.
    pub operations: BTreeMap<String, u64>,
}

/// The thread that samples.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Starts sampling the drive of a run.
pub fn start(run: &Arc<Run>) -> Result<Sampler> {
    let mut file = append(&run.folder.join("samples.jsonl"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (run, stopped) = (run.clone(), stop.clone());
    // What it took to unlock the vault is not counted: deriving a key needs its memory, once, and gives it back.
    std::thread::sleep(SETTLE);
    forget_peak(&run);
    let thread = std::thread::spawn(move || {
        let mut store = 0;
        for round in 0u64.. {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            if round.is_multiple_of(STORE_EVERY) {
                store = run.drive.local_store().map_or(0, |path| size(&path));
            }
            match sample(&run, store) {
                Some(sample) => {
                    if let Err(error) = write_line(&mut file, &sample) {
                        eprintln!("soak: a sample is lost: {error:#}");
                    }
                }
                None => run.lost.store(true, Ordering::Relaxed),
            }
            std::thread::sleep(EVERY);
        }
    });
    Ok(Sampler { stop, thread })
}

impl Sampler {
    /// Waits for the sample that is being taken.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            eprintln!("soak: the sampler ended early");
        }
    }
}

fn sample(run: &Run, store: u64) -> Option<Sample> {
    let process = Path::new("/proc").join(run.drive.pid.to_string());
    let status = fs::read_to_string(process.join("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let sample = Sample {
        at: run.at(),
        resident: field("VmRSS:")? << 10,
        peak: field("VmHWM:")? << 10,
        anonymous: field("RssAnon:")? << 10,
        handles: fs::read_dir(process.join("fd")).ok()?.count() as u64,
        threads: field("Threads:")?,
        state: size(&run.drive.state()),
        cache: size(&run.drive.cache()),
        store,
        load: load(),
        operations: run.counts(),
    };
    forget_peak(run);
    Some(sample)
}

/// The peak of the next sample is counted from here on.
fn forget_peak(run: &Run) {
    let switch = format!("/proc/{}/clear_refs", run.drive.pid);
    if let Err(error) = fs::write(&switch, "5") {
        eprintln!("soak: {switch}: {error}; peaks are those since the start");
    }
}

/// Bytes that a folder takes on the disk. What vanishes meanwhile takes none.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| size(&entry.path())).sum::<u64>()
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0)
}
