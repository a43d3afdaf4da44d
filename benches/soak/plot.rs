//! The plot of a run: what was sampled, over time, with the phases marked.

use coffre_benches::plot;
use coffre_benches::plot::Axis;
use coffre_benches::plot::Curve;
use coffre_benches::plot::LINE;
use coffre_benches::plot::Panel;
use coffre_benches::plot::SECOND;

use crate::pace::rate;
use crate::plan::Plan;
use crate::report::Phase;
use crate::sampler::Sample;

/// Draws everything that was sampled.
pub fn draw(plan: &Plan, samples: &[Sample], phases: &[Phase<'_>]) -> String {
    let end = samples.last().map_or(1.0, |sample| sample.at.max(1.0));
    let tick = |sixth| {
        let at = end * f64::from(sixth) / 6.0;
        (at, format!("{:.1} min", at / 60.0))
    };
    let axis = Axis {
        ends: (0.0, end),
        ticks: (0..=6).map(tick).collect(),
        marks: phases
            .iter()
            .map(|phase| (phase.begin, phase.name.to_owned()))
            .collect(),
    };
    plot::draw(&axis, &panels(plan, samples, phases))
}

fn panels(plan: &Plan, samples: &[Sample], phases: &[Phase<'_>]) -> Vec<Panel> {
    let curve = |colour, of: fn(&Sample) -> u64, unit: f64| Curve {
        colour,
        points: samples
            .iter()
            .map(|sample| (sample.at, of(sample) as f64 / unit))
            .collect(),
    };
    let mebibyte = 1_048_576.0;
    // Each phase over its own first quarter: one scale for files, megabytes and transactions.
    let paces = phases.iter().map(|phase| Curve {
        colour: LINE,
        points: smooth(
            phase
                .steps
                .iter()
                .map(|step| (step.at, rate(step) / phase.pace.first.max(1e-9)))
                .collect(),
        ),
    });
    vec![
        Panel {
            title: "resident memory, MiB (blue: peak of each second, orange: anonymous; red: the bound)",
            curves: vec![
                curve(LINE, |sample| sample.peak, mebibyte),
                curve(SECOND, |sample| sample.anonymous, mebibyte),
            ],
            bound: Some(plan.memory as f64 / mebibyte),
        },
        Panel {
            title: "pace of each phase over that of its first quarter",
            curves: paces.collect(),
            bound: None,
        },
        Panel {
            title: "open files (blue), threads (orange)",
            curves: vec![
                curve(LINE, |sample| sample.handles, 1.0),
                curve(SECOND, |sample| sample.threads, 1.0),
            ],
            bound: None,
        },
        Panel {
            title: "local disk, MiB (blue: journal, open packs, outbox; orange: cache)",
            curves: vec![
                curve(LINE, |sample| sample.state, mebibyte),
                curve(SECOND, |sample| sample.cache, mebibyte),
            ],
            bound: Some(plan.queue as f64 / mebibyte),
        },
        Panel {
            title: "store, MiB (what is no longer used is not swept yet)",
            curves: vec![curve(LINE, |sample| sample.store, mebibyte)],
            bound: None,
        },
    ]
}

/// Means of neighbours, so that at most a few hundred points are drawn.
fn smooth(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let width = (points.len() / 60).max(1);
    points
        .chunks(width)
        .map(|chunk| {
            let count = chunk.len() as f64;
            let sum = chunk
                .iter()
                .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / count, sum.1 / count)
        })
        .collect()
}
