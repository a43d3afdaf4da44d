//! Whether work slows down: rates of the steps of a phase, first quarter against last.

use std::io;

use anyhow::Result;

use crate::run::Step;

/// Fewer steps tell nothing about a slope.
const STEPS_LEAST: usize = 8;

/// How fast one phase was.
pub struct Pace {
    pub operations: u64,
    /// Medians of operations per second.
    pub first: f64,
    pub last: f64,
    /// The last quarter's operations per second of a processor over the first quarter's: that does not change
    /// when others use the machine as well.
    pub by_processor: f64,
}

impl Pace {
    /// Of the steps of one phase, in order.
    pub fn of(steps: &[&Step]) -> Self {
        let rates: Vec<f64> = steps.iter().map(|step| rate(step)).collect();
        let quarter = (rates.len() / 4).max(1).min(rates.len());
        let by_processor = |steps: &[&Step]| {
            let operations: u64 = steps.iter().map(|step| step.operations).sum();
            let processor: f64 = steps.iter().map(|step| step.processor).sum();
            operations as f64 / processor.max(1e-3)
        };
        let last = steps.len() - quarter;
        Self {
            operations: steps.iter().map(|step| step.operations).sum(),
            first: median(&rates[..quarter]),
            last: median(&rates[last..]),
            by_processor: by_processor(&steps[last..]) / by_processor(&steps[..quarter]),
        }
    }

    /// Last over first.
    pub fn ratio(&self) -> f64 {
        self.last / self.first.max(f64::MIN_POSITIVE)
    }

    /// Whether there are enough steps to say anything.
    pub fn tells(steps: &[&Step]) -> bool {
        steps.len() >= STEPS_LEAST
    }
}

/// Operations a second of one step.
pub fn rate(step: &Step) -> f64 {
    step.operations as f64 / step.seconds.max(1e-6)
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// A step that was stopped in the middle is done again: what is gone already is as wanted.
pub fn gone(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
