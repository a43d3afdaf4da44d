//! Whole file systems side by side in one run: a plain folder, a FUSE file system that keeps nothing, this drive, and
//! each peer that is installed.
//!
//! Each is remounted with cold caches before it is read. Figures are medians; a ratio within one run says more
//! than any figure by itself.

mod systems;
mod workloads;

use std::collections::BTreeMap;

use anyhow::Result;

use systems::System;
use workloads::Sizes;

/// Figures of all runs by workload and system.
type Figures = BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>;

const RUNS: usize = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (sizes, runs) = if quick {
        (Sizes::QUICK, 1)
    } else {
        (Sizes::FULL, RUNS)
    };
    let runs = value("--runs").map_or(Ok(runs), |asked| asked.parse())?;
    let only = value("--only");
    let base = tempfile::tempdir_in(
        std::env::var_os("COFFRE_BENCH_DIR").unwrap_or_else(|| "target".into()),
    )?;
    let wanted = |system: &System| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|name| name == system.name()))
    };
    let mut present = Vec::new();
    for system in System::ALL.into_iter().filter(wanted) {
        if system.is_installed() {
            present.push(system);
        } else {
            eprintln!("{} is not installed; left out", system.name());
        }
    }
    let mut figures = Figures::new();
    // In turn, so that what else the machine does meets all of them.
    for run in 0..runs {
        for system in &present {
            let folder = base.path().join(format!("{}-{run}", system.name()));
            std::fs::create_dir_all(&folder)?;
            for (workload, figure) in workloads::all(*system, &folder, &sizes)? {
                let by_system = figures.entry(workload).or_default();
                by_system.entry(system.name()).or_default().push(figure);
            }
            std::fs::remove_dir_all(&folder)?;
            eprintln!("{} run {} done", system.name(), run + 1);
        }
    }
    print_table(&present, &figures);
    let told = serde_json::to_string(&figures)?;
    match value("--json") {
        Some(path) => std::fs::write(path, told)?,
        None => println!("\n{told}"),
    }
    Ok(())
}

fn print_table(systems: &[System], figures: &Figures) {
    let names: Vec<&str> = systems.iter().map(|system| system.name()).collect();
    println!(
        "| workload | {} | ÷ best peer | ÷ null |",
        names.join(" | ")
    );
    println!("|---|{}---|---|", "---|".repeat(names.len()));
    for (workload, by_system) in figures {
        let of = |system: &System| by_system.get(system.name()).map(|runs| median(runs));
        let shown: Vec<String> = systems
            .iter()
            .map(|system| of(system).map_or_else(|| "–".into(), |figure| format!("{figure:.0}")))
            .collect();
        let peers = systems.iter().filter(|system| system.is_peer());
        let best = peers.filter_map(of).reduce(f64::max);
        let ratio = |other: Option<f64>| match (of(&System::Coffre), other) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => "–".into(),
        };
        println!(
            "| {} | {} | {} | {} |",
            workload.get(3..).unwrap_or(workload),
            shown.join(" | "),
            ratio(best),
            ratio(of(&System::Null))
        );
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
