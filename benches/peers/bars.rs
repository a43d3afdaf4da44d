//! What the drive is held to in each workload, and whether it keeps it.

use serde::Serialize;

use crate::figures::Figures;
use crate::figures::best_peer;
use crate::figures::figure;
use crate::system::System;
use crate::workload::Workload;

/// What the drive is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// The fastest peer that does what the workload asks.
    BestPeer,
    Null,
    Plain,
}

/// One thing that is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clause {
    /// At least this share of what the reference does.
    Least(f64, Reference),
    /// At most so many milliseconds.
    Most(f64),
}

/// All that is asked in one workload.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    All(&'static [Clause]),
    Any(&'static [Clause]),
}

/// Whether something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Kept,
    Missed,
    /// One of the two figures is not there.
    Unknown,
}

use Clause::Least;
use Clause::Most;
use Reference::BestPeer;
use Reference::Null;
use Reference::Plain;

/// Ahead of every peer, whatever the distance.
const AHEAD: Clause = Least(1.0, BestPeer);
/// Durable work: the limit writes and syncs once.
const DURABLE: Bar = Bar::All(&[Least(0.85, Null), AHEAD]);
const NO_STALL: Bar = Bar::All(&[Most(100.0)]);

/// The bar of a workload.
pub fn bar(workload: Workload) -> Bar {
    match workload {
        Workload::SequentialWrite => Bar::All(&[Least(1.5, BestPeer)]),
        Workload::SequentialReadCold => Bar::Any(&[Least(1.5, BestPeer), Least(0.9, Plain)]),
        Workload::SequentialReadWarm => Bar::All(&[Least(0.9, Null)]),
        Workload::Create => Bar::All(&[Least(0.7, Null), Least(2.0, BestPeer)]),
        Workload::StatWarm => Bar::All(&[Least(0.8, Null)]),
        Workload::Rename | Workload::Unlink | Workload::RemoveTree => Bar::All(&[Least(0.7, Null)]),
        Workload::ListCold | Workload::ReadSmallCold => Bar::All(&[AHEAD, Least(0.6, Null)]),
        Workload::RandomReadNarrow => Bar::All(&[Least(1.5, BestPeer)]),
        Workload::RandomReadWide => Bar::All(&[Least(0.4, BestPeer)]),
        Workload::RandomWrite => Bar::All(&[Least(3.0, BestPeer)]),
        Workload::Fsync
        | Workload::FsyncSustained
        | Workload::SqliteWal
        | Workload::SqliteWalSustained
        | Workload::SqliteRollback
        | Workload::SqliteRollbackSustained => DURABLE,
        Workload::FsyncStall | Workload::SqliteWalStall | Workload::SqliteRollbackStall => NO_STALL,
        Workload::Untar
        | Workload::GrepCold
        | Workload::GitClone
        | Workload::GitStatusWarm
        | Workload::GitStatusCold
        | Workload::CargoBuild => Bar::All(&[AHEAD]),
    }
}

impl Bar {
    pub fn clauses(self) -> &'static [Clause] {
        match self {
            Self::All(clauses) | Self::Any(clauses) => clauses,
        }
    }

    /// Whether the drive keeps it, by what was measured.
    pub fn judge(self, figures: &Figures, workload: Workload) -> Verdict {
        let judged = |clause: &Clause| clause.judge(figures, workload);
        let clauses = self.clauses();
        let has = |verdict| clauses.iter().any(|clause| judged(clause) == verdict);
        // What decides alone is looked for first.
        let order = match self {
            Self::All(_) => [Verdict::Missed, Verdict::Unknown, Verdict::Kept],
            Self::Any(_) => [Verdict::Kept, Verdict::Unknown, Verdict::Missed],
        };
        order
            .into_iter()
            .find(|verdict| has(*verdict))
            .unwrap_or(Verdict::Unknown)
    }
}

impl Clause {
    /// What is held against the bound: a ratio, or milliseconds.
    pub fn value(self, figures: &Figures, workload: Workload) -> Option<f64> {
        match self {
            Self::Least(_, reference) => reference.ratio(figures, workload),
            Self::Most(_) => figure(figures, workload, System::Coffre),
        }
    }

    pub fn judge(self, figures: &Figures, workload: Workload) -> Verdict {
        let Some(value) = self.value(figures, workload) else {
            return Verdict::Unknown;
        };
        let kept = match self {
            Self::Least(least, _) => value >= least,
            Self::Most(most) => value <= most,
        };
        if kept { Verdict::Kept } else { Verdict::Missed }
    }
}

impl Reference {
    /// What the drive does over what the reference does.
    pub fn ratio(self, figures: &Figures, workload: Workload) -> Option<f64> {
        let theirs = match self {
            Self::BestPeer => best_peer(figures, workload).map(|(_, figure)| figure),
            Self::Null => figure(figures, workload, System::Null),
            Self::Plain => figure(figures, workload, System::Plain),
        };
        let ours = figure(figures, workload, System::Coffre)?;
        theirs
            .filter(|theirs| *theirs > 0.0)
            .map(|theirs| ours / theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn figures(workload: Workload, of: &[(System, f64)]) -> Figures {
        let of = of.iter().map(|(system, figure)| (*system, vec![*figure]));
        BTreeMap::from([(workload, of.collect())])
    }

    #[test]
    fn one_clause_that_is_missed_is_enough_where_all_are_asked() {
        let of = [
            (System::Coffre, 10.0),
            (System::Null, 10.0),
            (System::Gocryptfs, 8.0),
        ];
        let figures = figures(Workload::Create, &of);
        let judged = bar(Workload::Create).judge(&figures, Workload::Create);
        assert_eq!(judged, Verdict::Missed);
    }

    #[test]
    fn one_clause_that_is_kept_is_enough_where_any_is_asked() {
        let of = [
            (System::Coffre, 10.0),
            (System::Plain, 11.0),
            (System::Gocryptfs, 9.0),
        ];
        let workload = Workload::SequentialReadCold;
        let judged = bar(workload).judge(&figures(workload, &of), workload);
        assert_eq!(judged, Verdict::Kept);
    }

    #[test]
    fn who_does_not_do_the_work_is_no_peer_of_it() {
        let of = [
            (System::Coffre, 10.0),
            (System::Rclone, 900.0),
            (System::Cryfs, 800.0),
            (System::Encfs, 5.0),
        ];
        for workload in [Workload::SequentialWrite, Workload::Fsync] {
            let best = best_peer(&figures(workload, &of), workload);
            assert_eq!(best, Some((System::Encfs, 5.0)));
        }
        let best = best_peer(&figures(Workload::Untar, &of), Workload::Untar);
        assert_eq!(best, Some((System::Rclone, 900.0)));
    }

    #[test]
    fn without_a_reference_nothing_is_known() {
        let figures = figures(Workload::Fsync, &[(System::Coffre, 10.0)]);
        let judged = bar(Workload::Fsync).judge(&figures, Workload::Fsync);
        assert_eq!(judged, Verdict::Unknown);
    }
}
