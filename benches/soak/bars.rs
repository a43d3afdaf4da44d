//! What a run is held to.

use crate::pace::Pace;
use crate::plan::Plan;
use crate::report::Phase;
use crate::sampler::Sample;

/// Open files of the process behind the mount.
const HANDLES_MOST: u64 = 200;
/// What the queue may take beyond its bound: what deletions may add, and what is written between two looks, in bytes.
const QUEUE_BESIDE: u64 = 256 << 20;
/// Pace of the last quarter of a phase over that of its first.
const PACE_LEAST: f64 = 0.7;

/// Whether a run kept to all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Kept,
    Missed,
}

/// Sentences about what was missed; none if nothing was.
pub fn missed(plan: &Plan, samples: &[Sample], phases: &[Phase<'_>]) -> Vec<String> {
    let mut missed = Vec::new();
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let peak = most(|sample| sample.peak);
    if peak > plan.memory {
        missed.push(format!(
            "memory: {} MiB of {}",
            peak >> 20,
            plan.memory >> 20
        ));
    }
    let handles = most(|sample| sample.handles);
    if handles > HANDLES_MOST {
        missed.push(format!("open files: {handles} of {HANDLES_MOST}"));
    }
    let disk = most(|sample| sample.state);
    let disk_most = plan.queue + QUEUE_BESIDE;
    if disk > disk_most {
        missed.push(format!(
            "local disk: {} MiB of {}",
            disk >> 20,
            disk_most >> 20
        ));
    }
    for phase in phases.iter().filter(|phase| Pace::tells(&phase.steps)) {
        // A machine that others use as well makes work slow; only what also costs more is a defect of the drive.
        let (ratio, by_processor) = (phase.pace.ratio(), phase.pace.by_processor);
        if ratio < PACE_LEAST && by_processor < PACE_LEAST {
            missed.push(format!(
                "{} slows down: the last quarter has {ratio:.2} of the pace of the first ({by_processor:.2} per \
                 second of a processor)",
                phase.name
            ));
        }
    }
    missed
}
