//! A long life in an hour: work on a real mount while its memory, handles, disk and pace are watched.
//!
//! ```text
//!  plan.json ─▶ drive (coffre mount) ◀─ workloads, in steps ─▶ steps.jsonl ─┐
//!                    └── sampled every second ────────────────▶ samples.jsonl ┴▶ table, bars, plot.svg
//! ```
//! Both files only grow, and a step that is in the first is never done again: a run that was stopped goes on.

mod bars;
mod directory;
mod drive;
mod files;
mod mixed;
mod pace;
mod plan;
mod plot;
mod report;
mod rewrite;
mod run;
mod sampler;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;

use plan::Plan;
use plan::Workload;
use run::Run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match soak(&arguments) {
        Ok(bars::Verdict::Kept) => ExitCode::SUCCESS,
        Ok(bars::Verdict::Missed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: &[String]) -> Result<bars::Verdict> {
    let (folder, plan) = Plan::from_arguments(arguments)?;
    let run = Arc::new(Run::begin(&folder, plan)?);
    let sampler = sampler::start(&run)?;
    let worked = work(&run);
    sampler.stop();
    let ended = run.drive.unmount();
    // What was seen is told even of a run that failed.
    let verdict = report::write(&folder, &run.plan)?;
    worked?;
    ended?;
    run.drive.check()?;
    println!("\nkept in {}", folder.display());
    Ok(verdict)
}

fn work(run: &Run) -> Result<()> {
    for workload in &run.plan.workloads {
        match workload {
            Workload::Files => files::run(run)?,
            Workload::Rewrite => rewrite::run(run)?,
            Workload::Directory => directory::run(run)?,
            Workload::Mixed => mixed::run(run)?,
        }
    }
    Ok(())
}
