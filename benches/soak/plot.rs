//! A plot of a run as SVG: panels under one axis of time, with the phases marked.

use std::fmt::Write;

use crate::pace::rate;
use crate::plan::Plan;
use crate::report::Phase;
use crate::sampler::Sample;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const PANEL: f64 = 110.0;
const GAP: f64 = 34.0;

const INK: &str = "#1f2937";
const FAINT: &str = "#9ca3af";
const LINE: &str = "#2563eb";
const SECOND: &str = "#d97706";
const BOUND: &str = "#dc2626";

/// Points over time, in the unit of their panel.
struct Curve {
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

struct Panel {
    title: &'static str,
    curves: Vec<Curve>,
    /// A line that the curves shall stay under.
    bound: Option<f64>,
}

/// Draws everything that was sampled.
pub fn draw(plan: &Plan, samples: &[Sample], phases: &[Phase<'_>]) -> String {
    let panels = panels(plan, samples, phases);
    let end = samples.last().map_or(1.0, |sample| sample.at.max(1.0));
    let height = TOP + panels.len() as f64 * (PANEL + GAP) + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\" fill=\"{INK}\">\n<rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"white\"/>\n"
    );
    mark_phases(&mut svg, phases, end, height);
    for (index, panel) in panels.iter().enumerate() {
        let top = TOP + index as f64 * (PANEL + GAP);
        draw_panel(&mut svg, panel, top, end);
    }
    for tick in 0..=6 {
        let at = end * f64::from(tick) / 6.0;
        text(
            &mut svg,
            (x(at, end), height - 8.0),
            "middle",
            &format!("{:.1} min", at / 60.0),
        );
    }
    svg.push_str("</svg>\n");
    svg
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

fn draw_panel(svg: &mut String, panel: &Panel, top: f64, end: f64) {
    let points = panel.curves.iter().flat_map(|curve| &curve.points);
    let most = points.map(|point| point.1).fold(0.0, f64::max);
    let most = (most.max(panel.bound.unwrap_or(0.0)) * 1.08).max(1e-9);
    let y = |value: f64| top + PANEL * (1.0 - value / most);
    text(svg, (LEFT, top - 6.0), "start", panel.title);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{PANEL}\" fill=\"none\" stroke=\"{FAINT}\"/>",
        WIDTH - LEFT - 20.0
    );
    for share in [0.0, 0.5, 1.0] {
        let value = most * share / 1.08;
        let digits = if most < 10.0 { 1 } else { 0 };
        text(
            svg,
            (LEFT - 6.0, y(value) + 4.0),
            "end",
            &format!("{value:.digits$}"),
        );
    }
    if let Some(bound) = panel.bound {
        line(svg, BOUND, &[(LEFT, y(bound)), (WIDTH - 20.0, y(bound))]);
    }
    for curve in &panel.curves {
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .map(|(at, value)| (x(*at, end), y(*value)))
            .collect();
        line(svg, curve.colour, &points);
    }
}

fn mark_phases(svg: &mut String, phases: &[Phase<'_>], end: f64, height: f64) {
    for (index, phase) in phases.iter().enumerate() {
        let at = x(phase.begin, end);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.0}\" stroke=\"{FAINT}\" stroke-dasharray=\"2 3\"/>",
            height - 20.0
        );
        let row = 10.0 + (index % 2) as f64 * 11.0;
        text(svg, (at, row), "start", phase.name);
    }
}

fn x(at: f64, end: f64) -> f64 {
    LEFT + (WIDTH - LEFT - 20.0) * (at / end).clamp(0.0, 1.0)
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

fn line(svg: &mut String, colour: &str, points: &[(f64, f64)]) {
    let points: Vec<String> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\" points=\"{}\"/>",
        points.join(" ")
    );
}
