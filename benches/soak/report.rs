//! What a run has shown: a table for people, and a plot.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use crate::bars;
use crate::bars::Verdict;
use crate::pace::Pace;
use crate::plan::Plan;
use crate::plot;
use crate::run::Step;
use crate::run::lines;
use crate::sampler::Sample;

/// The steps of one phase, and what was sampled meanwhile.
pub struct Phase<'a> {
    pub name: &'a str,
    pub steps: Vec<&'a Step>,
    pub pace: Pace,
    /// From where to where, in seconds of the run.
    pub begin: f64,
    pub end: f64,
}

/// Reads what a run wrote; prints and keeps the table, draws the plot.
pub fn write(folder: &Path, plan: &Plan) -> Result<Verdict> {
    let steps: Vec<Step> = lines(&folder.join("steps.jsonl"))?;
    let samples: Vec<Sample> = lines(&folder.join("samples.jsonl"))?;
    let phases = phases(&steps);
    let missed = bars::missed(plan, &samples, &phases);
    let mut text = table(plan, &samples, &phases);
    for sentence in &missed {
        let _ = writeln!(text, "\nMISSED: {sentence}");
    }
    print!("{text}");
    std::fs::write(folder.join("report.md"), &text)?;
    std::fs::write(folder.join("plot.svg"), plot::draw(plan, &samples, &phases))?;
    Ok(if missed.is_empty() {
        Verdict::Kept
    } else {
        Verdict::Missed
    })
}

fn phases(steps: &[Step]) -> Vec<Phase<'_>> {
    let mut names: Vec<&str> = Vec::new();
    for step in steps {
        if step.phase != "mixed/minute" && !names.contains(&step.phase.as_str()) {
            names.push(&step.phase);
        }
    }
    names
        .into_iter()
        .map(|name| {
            let steps: Vec<&Step> = steps.iter().filter(|step| step.phase == name).collect();
            let begin = steps.first().map_or(0.0, |step| step.at - step.seconds);
            let end = steps.last().map_or(0.0, |step| step.at);
            Phase {
                name,
                pace: Pace::of(&steps),
                steps,
                begin,
                end,
            }
        })
        .collect()
}

fn table(plan: &Plan, samples: &[Sample], phases: &[Phase<'_>]) -> String {
    let mut text = format!(
        "Memory bound {} MiB, {:.0} minutes\n\n",
        plan.memory >> 20,
        samples.last().map_or(0.0, |sample| sample.at) / 60.0
    );
    text.push_str(
        "| phase | operations | /s, first quarter | /s, last quarter | last ÷ first | the same per processor second | peak memory, MiB | \
         open files | local disk, MiB | store, MiB |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for phase in phases {
        let during: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.at >= phase.begin && sample.at <= phase.end + 1.0)
            .collect();
        let pace = &phase.pace;
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {} |",
            phase.name,
            pace.operations,
            pace.first,
            pace.last,
            pace.ratio(),
            pace.by_processor,
            sizes(&during)
        );
    }
    let all: Vec<&Sample> = samples.iter().collect();
    let _ = writeln!(text, "| whole run | | | | | | {} |", sizes(&all));
    text
}

/// The most of what was sampled.
fn sizes(samples: &[&Sample]) -> String {
    let most = |of: fn(&Sample) -> u64| samples.iter().map(|sample| of(sample)).max().unwrap_or(0);
    format!(
        "{} | {} | {} | {}",
        most(|sample| sample.peak) >> 20,
        most(|sample| sample.handles),
        most(|sample| sample.state + sample.cache) >> 20,
        most(|sample| sample.store) >> 20,
    )
}
