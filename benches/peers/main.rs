//! Whole file systems side by side in one run: a plain folder, this drive, gocryptfs.
//!
//! Each is remounted with cold caches before it is read. Figures are medians; a ratio within one run says more
//! than any figure by itself.

mod systems;
mod workloads;

use std::collections::BTreeMap;

use anyhow::Result;

use systems::System;
use workloads::Sizes;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (sizes, runs) = if quick {
        (Sizes::QUICK, 1)
    } else {
        (Sizes::FULL, 3)
    };
    let base = tempfile::tempdir_in(
        std::env::var_os("COFFRE_BENCH_DIR").unwrap_or_else(|| "target".into()),
    )?;
    let mut figures: BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>> = BTreeMap::new();
    let mut present = Vec::new();
    for system in System::ALL {
        if !system.is_installed() {
            eprintln!("{} is not installed; left out", system.name());
            continue;
        }
        present.push(system);
        for run in 0..runs {
            let folder = base.path().join(format!("{}-{run}", system.name()));
            std::fs::create_dir_all(&folder)?;
            for (workload, figure) in workloads::all(system, &folder, &sizes)? {
                figures
                    .entry(workload)
                    .or_default()
                    .entry(system.name())
                    .or_default()
                    .push(figure);
            }
            std::fs::remove_dir_all(&folder)?;
            eprintln!("{} run {} done", system.name(), run + 1);
        }
    }
    print_table(&present, &figures);
    println!("\n{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn print_table(
    systems: &[System],
    figures: &BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>,
) {
    let names: Vec<&str> = systems.iter().map(|system| system.name()).collect();
    println!("| workload | {} | coffre ÷ gocryptfs |", names.join(" | "));
    println!("|---|{}---|", "---|".repeat(names.len()));
    for (workload, by_system) in figures {
        let medians: Vec<Option<f64>> = names
            .iter()
            .map(|name| by_system.get(name).map(|runs| median(runs)))
            .collect();
        let shown: Vec<String> = medians
            .iter()
            .map(|figure| figure.map_or_else(|| "–".into(), |figure| format!("{figure:.0}")))
            .collect();
        let of = |name: &str| by_system.get(name).map(|runs| median(runs));
        let ratio = match (of("coffre"), of("gocryptfs")) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => "–".into(),
        };
        println!("| {workload} | {} | {ratio} |", shown.join(" | "));
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
