//! Tables for people: what was measured, and which bars are kept.

use std::fmt::Write;

use crate::bars::Bar;
use crate::bars::Clause;
use crate::bars::Reference;
use crate::bars::Verdict;
use crate::bars::bar;
use crate::figures::Figures;
use crate::figures::best_peer;
use crate::figures::figure;
use crate::system::System;
use crate::workload::Unit;
use crate::workload::Workload;

/// A row for each workload. In brackets: systems that do not do what the workload asks.
pub fn measured(figures: &Figures) -> String {
    let systems = present(figures);
    let mut text = String::from("| workload |");
    for system in &systems {
        let _ = write!(text, " {}{} |", system.name(), marks(*system));
    }
    let _ = writeln!(text, " ÷ best peer | ÷ null |");
    let _ = writeln!(text, "|---|{}---|---|", "---|".repeat(systems.len()));
    for workload in measured_workloads(figures) {
        let _ = write!(text, "| {} |", title(workload));
        for system in &systems {
            let shown = figure(figures, workload, *system).map(number);
            match shown {
                Some(shown) if system.is_peer() && !system.does(workload) => {
                    let _ = write!(text, " ({shown}) |");
                }
                Some(shown) => {
                    let _ = write!(text, " {shown} |");
                }
                None => text.push_str(" – |"),
            }
        }
        for reference in [Reference::BestPeer, Reference::Null] {
            match reference.ratio(figures, workload) {
                Some(ratio) if workload.unit() != Unit::Stall => {
                    let _ = write!(text, " {ratio:.2} |");
                }
                _ => text.push_str(" – |"),
            }
        }
        text.push('\n');
    }
    text.push_str(
        "\n¹ An fsync returns before the content is safe. ² Keeps plaintext in a cache on the disk. Figures in brackets are \
         of such work and not compared with.\n",
    );
    text
}

/// A row for each workload with its bar, and whether it is kept.
pub fn judged(figures: &Figures) -> String {
    let mut text = String::from("| workload | bar | measured | kept |\n|---|---|---|---|\n");
    let mut missed = 0;
    for workload in measured_workloads(figures) {
        let bar = bar(workload);
        let (join, clauses) = match bar {
            Bar::All(clauses) => (" and ", clauses),
            Bar::Any(clauses) => (" or ", clauses),
        };
        let asked: Vec<String> = clauses.iter().map(|clause| asked(*clause)).collect();
        let shown = clauses
            .iter()
            .map(|clause| shown(figures, workload, *clause));
        let verdict = bar.judge(figures, workload);
        missed += usize::from(verdict == Verdict::Missed);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            workload.name(),
            asked.join(join),
            shown.collect::<Vec<_>>().join("; "),
            match verdict {
                Verdict::Kept => "yes",
                Verdict::Missed => "**no**",
                Verdict::Unknown => "?",
            }
        );
    }
    let _ = writeln!(text, "\n{missed} missed");
    text
}

fn asked(clause: Clause) -> String {
    match clause {
        Clause::Least(1.0, Reference::BestPeer) => "ahead of every peer".into(),
        Clause::Least(least, reference) => format!("≥ {least} × {}", name(reference)),
        Clause::Most(most) => format!("≤ {most:.0} ms"),
    }
}

fn shown(figures: &Figures, workload: Workload, clause: Clause) -> String {
    let Some(value) = clause.value(figures, workload) else {
        return "–".into();
    };
    match clause {
        Clause::Least(_, Reference::BestPeer) => {
            let best = best_peer(figures, workload).map_or("", |(system, _)| system.name());
            format!("{value:.2} × {best}")
        }
        Clause::Least(_, reference) => format!("{value:.2} × {}", name(reference)),
        Clause::Most(_) => format!("{value:.0} ms"),
    }
}

fn name(reference: Reference) -> &'static str {
    match reference {
        Reference::BestPeer => "best peer",
        Reference::Null => System::Null.name(),
        Reference::Plain => System::Plain.name(),
    }
}

fn title(workload: Workload) -> String {
    let unit = match workload.unit() {
        Unit::Rate(unit) => unit,
        Unit::Stall => "ms",
    };
    format!("{}, {unit}", workload.name())
}

fn marks(system: System) -> &'static str {
    match (system.is_peer(), system.syncs(), system.seals()) {
        (false, ..) | (true, true, true) => "",
        (true, false, true) => " ¹",
        (true, true, false) => " ²",
        (true, false, false) => " ¹ ²",
    }
}

fn number(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// In the order of the table.
pub fn measured_workloads(figures: &Figures) -> impl Iterator<Item = Workload> {
    let all = Workload::ALL.into_iter();
    all.filter(|workload| figures.contains_key(workload))
}

fn present(figures: &Figures) -> Vec<System> {
    let has = |system: &System| figures.values().any(|systems| systems.contains_key(system));
    System::ALL.into_iter().filter(has).collect()
}
