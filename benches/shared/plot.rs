//! A plot as SVG: panels under one axis.

use std::fmt::Write;

/// Width of a plot.
pub const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const PANEL: f64 = 110.0;
const GAP: f64 = 34.0;
/// Curves of fewer points show where they are.
const SPARSE: usize = 12;

/// Colour of what is written.
pub const INK: &str = "#1f2937";
const FAINT: &str = "#9ca3af";
const BOUND: &str = "#dc2626";
/// Colour of the curve that a panel is about.
pub const LINE: &str = "#2563eb";
/// Colour of one beside it.
pub const SECOND: &str = "#d97706";

/// Points over the axis, in the unit of their panel.
pub struct Curve {
    /// [`LINE`] or [`SECOND`].
    pub colour: &'static str,
    /// Place on the axis, and value.
    pub points: Vec<(f64, f64)>,
}

/// Curves of one unit.
pub struct Panel {
    /// What they show, and its unit.
    pub title: &'static str,
    /// All of them, over one scale from zero.
    pub curves: Vec<Curve>,
    /// A line that the curves shall stay under.
    pub bound: Option<f64>,
}

/// What all panels stand on.
pub struct Axis {
    /// Its two ends.
    pub ends: (f64, f64),
    /// Where something is written below it.
    pub ticks: Vec<(f64, String)>,
    /// Where something begins, and what.
    pub marks: Vec<(f64, String)>,
}

/// The beginning of a plot of this height: white, and how it is written.
pub fn begin(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\" fill=\"{INK}\">\n<rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"white\"/>\n"
    )
}

/// Draws the panels, one below the other.
pub fn draw(axis: &Axis, panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (PANEL + GAP) + 20.0;
    let mut svg = begin(height);
    draw_marks(&mut svg, axis, height);
    for (index, panel) in panels.iter().enumerate() {
        let top = TOP + index as f64 * (PANEL + GAP);
        draw_panel(&mut svg, panel, top, axis);
    }
    for (at, words) in &axis.ticks {
        text(&mut svg, (axis.x(*at), height - 8.0), "middle", words);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, top: f64, axis: &Axis) {
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
            .map(|(at, value)| (axis.x(*at), y(*value)))
            .collect();
        line(svg, curve.colour, &points);
        if points.len() < SPARSE {
            dots(svg, curve.colour, &points);
        }
    }
}

fn draw_marks(svg: &mut String, axis: &Axis, height: f64) {
    for (index, (at, words)) in axis.marks.iter().enumerate() {
        let at = axis.x(*at);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.0}\" stroke=\"{FAINT}\" stroke-dasharray=\"2 3\"/>",
            height - 20.0
        );
        let row = 10.0 + (index % 2) as f64 * 11.0;
        text(svg, (at, row), "start", words);
    }
}

impl Axis {
    fn x(&self, at: f64) -> f64 {
        let (from, to) = self.ends;
        LEFT + (WIDTH - LEFT - 20.0) * ((at - from) / (to - from)).clamp(0.0, 1.0)
    }
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

fn dots(svg: &mut String, colour: &str, points: &[(f64, f64)]) {
    for (x, y) in points {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"
        );
    }
}
