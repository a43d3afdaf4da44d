//! What was measured, and how the figures of many runs become one.

use std::collections::BTreeMap;

use crate::system::System;
use crate::workload::Unit;
use crate::workload::Workload;

/// Figures of all runs, by workload and system.
pub type Figures = BTreeMap<Workload, BTreeMap<System, Vec<f64>>>;

/// The figure of a system: the median of its runs, of stalls the longest.
pub fn figure(figures: &Figures, workload: Workload, system: System) -> Option<f64> {
    let runs = figures.get(&workload)?.get(&system)?;
    match workload.unit() {
        Unit::Rate(_) => median(runs),
        Unit::Stall => runs.iter().copied().reduce(f64::max),
    }
}

/// The fastest peer that does what the workload asks.
pub fn best_peer(figures: &Figures, workload: Workload) -> Option<(System, f64)> {
    let peers = System::ALL.into_iter().filter(|system| system.is_peer());
    peers
        .filter(|system| system.does(workload))
        .filter_map(|system| Some((system, figure(figures, workload, system)?)))
        .max_by(|one, other| one.1.total_cmp(&other.1))
}

fn median(runs: &[f64]) -> Option<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
