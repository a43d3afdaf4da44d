//! What the drive is held to, and whether it kept to it.

use crate::finding::Bar;
use crate::finding::Finding;
use crate::finding::Measured;
use crate::finding::Scenario;
use crate::large;
use crate::plan::Route;
use crate::systems::System;

/// How many times faster than rclone small files are in the store.
const SMALL_LEAST: f64 = 20.0;
/// Share of the line that a large file gets.
const SHARE_LEAST: f64 = 0.9;
/// Round trips and requests of a random read: one, and what a median and stray requests may add.
const ROUND_TRIPS_MOST: f64 = 1.3;
const REQUESTS_MOST: f64 = 1.1;
/// Bytes that a random read fetches, and that the renaming of a folder sends.
const BYTES_MOST: f64 = 256.0 * 1024.0;

/// Judges all findings of one line.
pub fn judge(route: &Route, findings: &mut [Finding]) {
    let bars: Vec<Option<Bar>> = findings
        .iter()
        .map(|finding| match finding.system {
            System::Coffre => bar(route, finding, findings),
            System::Rclone | System::S3fs => None,
        })
        .collect();
    for (finding, bar) in findings.iter_mut().zip(bars) {
        finding.bar = bar;
    }
}

fn bar(route: &Route, finding: &Finding, all: &[Finding]) -> Option<Bar> {
    let measured = &finding.measured;
    let figure = |name: &str| measured.figures.get(name).copied().unwrap_or(f64::NAN);
    let mut bar = match finding.scenario {
        Scenario::Small => beside_rclone(measured, all)?,
        Scenario::List => {
            let most = route.list_most?;
            Bar {
                words: format!("≤ {most} s"),
                kept: measured.seconds <= most,
            }
        }
        Scenario::Write | Scenario::Read => Bar {
            words: format!("≥ {SHARE_LEAST} of the line"),
            kept: figure(large::SHARE) >= SHARE_LEAST,
        },
        Scenario::Random => Bar {
            words: "one round trip, one request, ≤ 256 KiB".into(),
            kept: figure(large::ROUND_TRIPS) <= ROUND_TRIPS_MOST
                && figure(large::REQUESTS) <= REQUESTS_MOST
                && figure(large::BYTES) <= BYTES_MOST,
        },
        Scenario::Rename => Bar {
            words: "one commit, ≤ 256 KiB sent".into(),
            kept: figure("commits") <= 1.0 && measured.traffic.sent as f64 <= BYTES_MOST,
        },
        Scenario::Editor => return None,
    };
    bar.kept &= measured.in_time;
    Some(bar)
}

/// Where rclone was not done in time, it took at least that long.
fn beside_rclone(ours: &Measured, all: &[Finding]) -> Option<Bar> {
    let theirs = all
        .iter()
        .find(|other| other.scenario == Scenario::Small && other.system == System::Rclone)?;
    let ratio = theirs.measured.seconds / ours.seconds;
    Some(Bar {
        words: format!("≥ {SMALL_LEAST:.0} × rclone: {ratio:.1} ×"),
        kept: ratio >= SMALL_LEAST,
    })
}
