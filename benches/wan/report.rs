//! The table for people, and the same for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::calibrate::Calibration;
use crate::finding::Finding;

/// All that a run has shown.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub lines: Vec<(&'static str, Calibration)>,
    pub findings: Vec<Finding>,
    /// What went wrong, in words.
    pub broken: Vec<String>,
}

impl Report {
    /// One table for each line.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (line, found) in &self.lines {
            let _ = writeln!(
                text,
                "\n**{line}** (measured: {:.1} ms, {:.0} Mbit/s up, {:.0} down)\n\n\
                 | what | system | result | PUT, COPY, POST | LIST | GET, HEAD | DELETE | sent | received | bar | kept |\n\
                 |---|---|---|---|---|---|---|---|---|---|---|",
                found.round_trip, found.up, found.down
            );
            let mut title = "";
            for finding in self.findings.iter().filter(|found| found.line == *line) {
                // Said once, where systems did the same.
                let again = title == finding.measured.title;
                title = &finding.measured.title;
                let _ = writeln!(text, "{}", row(if again { "" } else { title }, finding));
            }
        }
        for words in &self.broken {
            let _ = writeln!(text, "\nBROKEN: {words}");
        }
        text
    }
}

/// One line of a table.
pub fn row(title: &str, finding: &Finding) -> String {
    let traffic = &finding.measured.traffic;
    let requests = &traffic.requests;
    let (bar, kept) = match &finding.bar {
        None => ("–", "–"),
        Some(bar) if bar.kept => (bar.words.as_str(), "yes"),
        Some(bar) => (bar.words.as_str(), "**no**"),
    };
    format!(
        "| {title} | {} | {} | {} | {} | {} | {} | {} | {} | {bar} | {kept} |",
        finding.system.name(),
        finding.measured.told,
        requests.put + requests.copy + requests.post,
        requests.list,
        requests.at_the_price_of_get(),
        requests.delete,
        size(traffic.sent),
        size(traffic.received)
    )
}

fn size(bytes: u64) -> String {
    let kibibytes = bytes as f64 / 1024.0;
    if kibibytes < 1024.0 {
        format!("{kibibytes:.0} KiB")
    } else {
        format!("{:.1} MiB", kibibytes / 1024.0)
    }
}
