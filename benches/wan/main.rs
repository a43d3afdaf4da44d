//! Far away from the store: what a long and narrow line makes of this drive, and of what people use today.
//!
//! ```text
//!  workload ─▶ mount ─▶ link: round trip, rate, bytes ─▶ server: objects in memory, requests
//! ```
//! Each system gets a store of its own for each scenario, and is measured with nothing else under way. Peers are rclone
//! (crypt, full cache) and s3fs (not encrypted), as far as they are installed. What is read is compared, and what was
//! written is looked for from another device.

mod ask;
mod bars;
mod bucket;
mod calibrate;
mod content;
mod editor;
mod finding;
mod large;
mod link;
mod mounted;
mod names;
mod plan;
mod rclone;
mod report;
mod server;
mod site;
mod stage;
mod systems;

use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;

use finding::Finding;
use finding::Measured;
use finding::Scenario;
use plan::Plan;
use plan::Route;
use report::Report;
use stage::Stage;
use systems::System;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match wan(&arguments) {
        // A bar that was missed is in the table.
        Ok(report) if report.broken.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wan(arguments: &[String]) -> Result<Report> {
    let mut plan = Plan::from_arguments(arguments)?;
    plan.systems.retain(|system| {
        let installed = system.is_installed();
        if !installed {
            eprintln!("{} is not installed; left out", system.name());
        }
        installed
    });
    let mut report = Report::default();
    for route in &plan.routes {
        let calibration = calibrate::measure(route.line)?;
        report.lines.push((route.name, calibration));
        let first = report.findings.len();
        for scenario in &plan.scenarios {
            for played in play(&plan, *route, *scenario) {
                match played {
                    Ok(finding) => {
                        let told = &finding.measured;
                        eprintln!(
                            "{}: {}, {}: {}",
                            route.name,
                            told.title,
                            finding.system.name(),
                            told.told
                        );
                        report.findings.push(finding);
                    }
                    Err(error) => {
                        eprintln!("wan: {error:#}");
                        report.broken.push(format!("{error:#}"));
                    }
                }
            }
            bars::judge(route, &mut report.findings[first..]);
            // A run takes long, and what it has shown by now is kept if it is ended.
            if let Some(path) = &plan.json {
                std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
            }
        }
    }
    print!("{}", report.table());
    Ok(report)
}

/// One scenario with all systems.
fn play(plan: &Plan, route: Route, scenario: Scenario) -> Vec<Result<Finding>> {
    let one = |system: System| {
        play_one(plan, route, scenario, system)
            .with_context(|| format!("{}, {}, {}", route.name, scenario.name(), system.name()))
    };
    match scenario {
        // Nearly all of it is waiting, and nothing of it is timed: at the same time.
        Scenario::Editor => std::thread::scope(|scope| {
            let one = &one;
            let systems = plan.systems.iter();
            let threads: Vec<_> = systems
                .map(|system| scope.spawn(move || one(*system)))
                .collect();
            let results = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            results
                .map(|result| result.unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
                .collect()
        }),
        _ => plan.systems.iter().map(|system| one(*system)).collect(),
    }
}

fn play_one(plan: &Plan, route: Route, scenario: Scenario, system: System) -> Result<Finding> {
    let base = std::env::var_os("COFFRE_BENCH_DIR").unwrap_or_else(|| "target".into());
    std::fs::create_dir_all(&base)?;
    let folder = tempfile::tempdir_in(base)?;
    let stage = Stage::set(plan, route, system, folder.path())?;
    let scene: fn(&Stage<'_>) -> Result<Measured> = match scenario {
        Scenario::Small => names::small,
        Scenario::List => names::list,
        Scenario::Write => large::write,
        Scenario::Read => large::read,
        Scenario::Random => large::random,
        Scenario::Rename => names::rename,
        Scenario::Editor => editor::run,
    };
    Ok(Finding {
        line: route.name,
        scenario,
        system,
        measured: scene(&stage)?,
        bar: None,
    })
}
