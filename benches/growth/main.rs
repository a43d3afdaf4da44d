//! A vault that grows tenfold, and tenfold again: what must not depend on its size, measured at each.
//!
//! The store is a folder on the same disk. Files are small and lie in folders of a thousand.

mod plan;
mod point;
mod vault;

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use coffre_benches::plot;
use coffre_benches::plot::Axis;
use coffre_benches::plot::Curve;
use coffre_benches::plot::Panel;

use plan::Plan;
use point::Point;
use vault::Vault;

const MEBIBYTE: f64 = 1_048_576.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match growth(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("growth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn growth(arguments: &[String]) -> Result<()> {
    let plan = Plan::from_arguments(arguments)?;
    let base = std::env::var_os("COFFRE_BENCH_DIR").unwrap_or_else(|| "target".into());
    std::fs::create_dir_all(&base)?;
    let folder = tempfile::tempdir_in(base)?;
    let mut vault = Vault::create(folder.path())?;
    let mut points = Vec::new();
    for size in &plan.sizes {
        let measured = point::measure(&mut vault, *size, plan.created);
        if measured.is_err() {
            // The folder is removed, and nothing in it shall be mounted then.
            drop(vault.unmount());
        }
        points.push(measured?);
        eprintln!("{} files: done", counted(*size));
    }
    print!("{}", table(&points));
    if let Some(path) = &plan.json {
        std::fs::write(path, serde_json::to_vec_pretty(&points)?)?;
    }
    if let Some(path) = &plan.svg {
        std::fs::write(path, draw(&points))?;
    }
    Ok(())
}

fn table(points: &[Point]) -> String {
    let mut text = String::from(
        "| files | mount, s | first `ls -l` of 1,000, ms | create, /s | fold and publish one change, ms | resident, MiB \
         | peak, MiB | filled, /s |\n|---|---|---|---|---|---|---|---|\n",
    );
    for point in points {
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            counted(point.files),
            point.mount,
            point.list * 1e3,
            point.create,
            point.publish * 1e3,
            point.resident as f64 / MEBIBYTE,
            point.peak as f64 / MEBIBYTE,
            point.filled
        );
    }
    text
}

fn draw(points: &[Point]) -> String {
    let at = |point: &Point| (point.files as f64).log10();
    let curve = |colour, of: fn(&Point) -> f64| Curve {
        colour,
        points: points.iter().map(|point| (at(point), of(point))).collect(),
    };
    let panel = |title, curves| Panel {
        title,
        curves,
        bound: None,
    };
    let ends = (
        points.first().map_or(0.0, at),
        points.last().map_or(1.0, at).max(1.0),
    );
    let axis = Axis {
        ends,
        ticks: points
            .iter()
            .map(|point| (at(point), format!("{} files", counted(point.files))))
            .collect(),
        marks: Vec::new(),
    };
    let panels = [
        panel(
            "mount, s (deriving the key from the passphrase included)",
            vec![curve(plot::LINE, |point| point.mount)],
        ),
        panel(
            "first ls -l of 1,000 entries, ms",
            vec![curve(plot::LINE, |point| point.list * 1e3)],
        ),
        panel(
            "files created a second",
            vec![curve(plot::LINE, |point| point.create)],
        ),
        panel(
            "folding and publishing one changed file, ms",
            vec![curve(plot::LINE, |point| point.publish * 1e3)],
        ),
        panel(
            "resident memory, MiB (blue: after the first ls; orange: the most)",
            vec![
                curve(plot::LINE, |point| point.resident as f64 / MEBIBYTE),
                curve(plot::SECOND, |point| point.peak as f64 / MEBIBYTE),
            ],
        ),
    ];
    plot::draw(&axis, &panels)
}

/// With a comma between thousands.
fn counted(files: u64) -> String {
    let digits = files.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
