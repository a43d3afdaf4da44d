//! A plot as SVG: how the drive stands to the best peer and to the limit, on a logarithmic axis, with the bars drawn in.

use std::fmt::Write;

use coffre_benches::plot::INK;
use coffre_benches::plot::WIDTH;
use coffre_benches::plot::begin;

use crate::bars::Clause;
use crate::bars::Reference;
use crate::bars::bar;
use crate::figures::Figures;
use crate::table::measured_workloads;
use crate::workload::Unit;
use crate::workload::Workload;

const LEFT: f64 = 250.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 50.0;
/// Of one bar, and between two workloads.
const THICK: f64 = 10.0;
const GAP: f64 = 10.0;

const FAINT: &str = "#d1d5db";
const ASKED: &str = "#dc2626";

/// One workload: a ratio and what is asked of it, for each reference.
struct Row {
    workload: Workload,
    bars: Vec<(Reference, f64, Option<f64>)>,
}

/// From where to where, in powers of ten.
struct Axis {
    least: f64,
    most: f64,
}

pub fn draw(figures: &Figures) -> String {
    let rows: Vec<Row> = measured_workloads(figures)
        .filter(|workload| workload.unit() != Unit::Stall)
        .map(|workload| row(figures, workload))
        .filter(|row| !row.bars.is_empty())
        .collect();
    let axis = Axis::over(&rows);
    let bars: usize = rows.iter().map(|row| row.bars.len()).sum();
    let height = TOP + bars as f64 * THICK + rows.len() as f64 * GAP + 30.0;
    let mut svg = begin(height);
    legend(&mut svg);
    scale(&mut svg, &axis, height - 24.0);
    let mut top = TOP;
    for row in &rows {
        top = draw_row(&mut svg, row, &axis, top) + GAP;
    }
    svg.push_str("</svg>\n");
    svg
}

fn row(figures: &Figures, workload: Workload) -> Row {
    let clauses = bar(workload).clauses();
    let asked = |reference| {
        clauses.iter().find_map(|clause| match clause {
            Clause::Least(least, of) if *of == reference => Some(*least),
            _ => None,
        })
    };
    let references = [Reference::BestPeer, Reference::Null, Reference::Plain];
    let bars = references.into_iter().filter_map(|reference| {
        let asked = asked(reference);
        // The plain folder is drawn only where something is asked of it.
        if reference == Reference::Plain && asked.is_none() {
            return None;
        }
        let ratio = reference.ratio(figures, workload)?;
        Some((reference, ratio, asked))
    });
    Row {
        workload,
        bars: bars.collect(),
    }
}

impl Axis {
    /// Wide enough for all that is drawn, and for a tenth to ten in any case.
    fn over(rows: &[Row]) -> Self {
        let mut axis = Self {
            least: -1.0,
            most: 1.0,
        };
        for (_, ratio, asked) in rows.iter().flat_map(|row| &row.bars) {
            for value in [Some(*ratio), *asked].into_iter().flatten() {
                axis.least = axis.least.min(value.log10().floor().max(-3.0));
                axis.most = axis.most.max(value.log10().ceil().min(3.0));
            }
        }
        axis
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.max(1e-9).log10() - self.least) / (self.most - self.least);
        LEFT + (WIDTH - LEFT - RIGHT) * share.clamp(0.0, 1.0)
    }
}

fn colour(reference: Reference) -> &'static str {
    match reference {
        Reference::BestPeer => "#2563eb",
        Reference::Null => "#d97706",
        Reference::Plain => "#9ca3af",
    }
}

fn legend(svg: &mut String) {
    let words = [
        (colour(Reference::BestPeer), "coffre ÷ best peer"),
        (colour(Reference::Null), "coffre ÷ null, the limit"),
        (colour(Reference::Plain), "coffre ÷ plain folder"),
        (ASKED, "the bar"),
    ];
    for (index, (colour, words)) in words.into_iter().enumerate() {
        let x = LEFT + index as f64 * 165.0;
        rectangle(svg, (x, 10.0), (10.0, 10.0), colour);
        text(svg, (x + 15.0, 19.0), "start", words);
    }
}

/// Lines at 1, 2 and 5 of each power of ten.
fn scale(svg: &mut String, axis: &Axis, bottom: f64) {
    let mut decade = axis.least;
    while decade <= axis.most {
        for step in [1.0, 2.0, 5.0] {
            let value = step * 10f64.powf(decade);
            if value.log10() > axis.most + 1e-9 {
                break;
            }
            let (x, width) = (axis.x(value), if value == 1.0 { 1.5 } else { 0.5 });
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{bottom:.0}\" stroke=\"{}\" stroke-width=\"{width}\"/>",
                TOP - 6.0,
                if value == 1.0 { INK } else { FAINT }
            );
            for y in [TOP - 10.0, bottom + 14.0] {
                text(svg, (x, y), "middle", &trimmed(value));
            }
        }
        decade += 1.0;
    }
}

fn draw_row(svg: &mut String, row: &Row, axis: &Axis, top: f64) -> f64 {
    let bottom = top + row.bars.len() as f64 * THICK;
    let middle = f64::midpoint(top, bottom);
    text(svg, (LEFT - 10.0, middle + 4.0), "end", row.workload.name());
    let one = axis.x(1.0);
    for (index, (reference, ratio, asked)) in row.bars.iter().enumerate() {
        let (y, end) = (top + index as f64 * THICK, axis.x(*ratio));
        let size = ((end - one).abs().max(1.0), THICK - 1.0);
        rectangle(svg, (one.min(end), y), size, colour(*reference));
        text(
            svg,
            (WIDTH - 8.0, y + THICK - 1.5),
            "end",
            &format!("{ratio:.2}"),
        );
        if let Some(asked) = asked {
            let at = (axis.x(*asked) - 1.0, y - 1.0);
            rectangle(svg, at, (2.0, THICK + 1.0), ASKED);
        }
    }
    bottom
}

fn trimmed(value: f64) -> String {
    let digits = if value < 0.1 {
        2
    } else {
        usize::from(value < 1.0)
    };
    format!("{value:.digits$}")
}

fn rectangle(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}
