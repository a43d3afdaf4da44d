//! A run: its drive, the steps that are done, and counters of what is being done.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::drive::Drive;
use crate::plan::Plan;

/// A step that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What it belongs to, as `workload/phase`.
    pub phase: String,
    /// Which of that phase.
    pub number: u64,
    /// Seconds of the whole run at its end.
    pub at: f64,
    /// How long it took.
    pub seconds: f64,
    /// Seconds of a processor that the process behind the mount took meanwhile.
    #[serde(default)]
    pub processor: f64,
    /// What it did in that time.
    pub operations: u64,
}

struct Done {
    steps: HashSet<(String, u64)>,
    file: File,
}

/// A run in progress.
pub struct Run {
    pub plan: Plan,
    pub drive: Drive,
    pub folder: std::path::PathBuf,
    done: Mutex<Done>,
    counts: Mutex<BTreeMap<String, u64>>,
    begun: Instant,
    /// What went before, where it is continued.
    before: Duration,
    /// The process behind the mount is gone.
    pub lost: AtomicBool,
}

impl Run {
    /// Mounts, and finds out what is done already.
    pub fn begin(folder: &Path, plan: Plan) -> Result<Self> {
        let steps: Vec<Step> = lines(&folder.join("steps.jsonl"))?;
        let samples: Vec<crate::sampler::Sample> = lines(&folder.join("samples.jsonl"))?;
        let before = samples
            .last()
            .map_or(0.0, |sample| sample.at)
            .max(steps.last().map_or(0.0, |step| step.at));
        let drive = Drive::mount(folder, &plan)?;
        let file = append(&folder.join("steps.jsonl"))?;
        let steps = steps
            .into_iter()
            .map(|step| (step.phase, step.number))
            .collect();
        Ok(Self {
            plan,
            drive,
            folder: folder.to_owned(),
            done: Mutex::new(Done { steps, file }),
            counts: Mutex::default(),
            begun: Instant::now(),
            before: Duration::from_secs_f64(before),
            lost: AtomicBool::new(false),
        })
    }

    /// Seconds of the run so far, whatever it was stopped in between.
    pub fn at(&self) -> f64 {
        (self.before + self.begun.elapsed()).as_secs_f64()
    }

    /// Whether a step was done before.
    pub fn is_done(&self, phase: &str, number: u64) -> bool {
        lock(&self.done).steps.contains(&(phase.to_owned(), number))
    }

    /// Does a step unless it is done, and notes how long it took. `work` answers how much it did.
    pub fn step(&self, phase: &str, number: u64, work: impl FnOnce() -> Result<u64>) -> Result<()> {
        if self.is_done(phase, number) {
            return Ok(());
        }
        if self.lost.load(Ordering::Relaxed) {
            bail!("the process behind the mount is gone");
        }
        let (begin, processor) = (Instant::now(), self.drive.processor());
        let operations = work().with_context(|| format!("{phase}, step {number}"))?;
        let step = Step {
            phase: phase.to_owned(),
            number,
            at: self.at(),
            seconds: begin.elapsed().as_secs_f64(),
            processor: self.drive.processor() - processor,
            operations,
        };
        *lock(&self.counts).entry(phase.to_owned()).or_default() += operations;
        let mut done = lock(&self.done);
        write_line(&mut done.file, &step)?;
        done.steps.insert((step.phase, number));
        Ok(())
    }

    /// What this process has done so far, by phase.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).clone()
    }
}

/// Opens a file of lines for more of them.
pub fn append(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes one line.
pub fn write_line(file: &mut File, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(file.write_all(&line)?)
}

/// Reads lines; one that was cut off by the end of a run is left out.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
