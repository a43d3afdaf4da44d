//! `check`: every promise of the format about one vault, verified; what is damaged is named by path.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use coffre_format::id::Inode;
use coffre_format::record::Child;

use crate::error::Error;
use crate::error::Result;
use crate::tree::Nodes;
use crate::vault::Vault;

mod files;
mod links;
mod objects;
mod packs;
mod paths;
mod stored;
mod walk;

pub use stored::Stored;
pub use stored::stored;

use files::Files;
use packs::Uses;
use paths::Paths;
use walk::Walk;

/// Paths that one problem names at most.
const PATHS_MAX: usize = 64;
/// Inodes behind one problem that are looked up at most.
const INODES_MAX: usize = 256;

/// How deep `check` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Objects, commits, nodes, records, links.
    Structure,
    /// Every data frame as well.
    Data,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// Nodes of the tree read.
    pub nodes: u64,
    /// Packs verified.
    pub packs: u64,
    /// Packs to verify, 0 until known.
    pub packs_total: u64,
    /// Bytes of packs read.
    pub bytes: u64,
}

/// What kind of damage a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Damage {
    /// An object is not there.
    Missing,
    /// An object is too short.
    Truncated,
    /// An object is not what was written.
    Forged,
    /// Authentic records contradict each other.
    Inconsistent,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The object, or "tree" for contradictions in it.
    pub object: String,
    /// What kind of damage it is.
    pub damage: Damage,
    /// What was found.
    pub what: String,
    /// Files and directories that it affects, as far as they can be named.
    pub paths: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// Directories.
    pub directories: u64,
    /// Inodes of other kinds.
    pub files: u64,
    /// Bytes of content that they use.
    pub content_bytes: u64,
    /// Nodes of the tree.
    pub nodes: u64,
    /// Frames that something points to.
    pub frames: u64,
    /// Packs that something points to.
    pub packs: u64,
    /// Commits verified.
    pub commits: u64,
    /// Bytes of all packs in the store.
    pub stored_bytes: u64,
    /// Bytes of frames that something points to.
    pub live_bytes: u64,
    /// Bytes of packs that nothing points to (padding and replaced content).
    pub unused_bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is strange but does no harm.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// A problem before the files behind it are named.
struct Finding {
    object: String,
    damage: Damage,
    what: String,
    inodes: BTreeSet<Inode>,
    /// Inodes whose records could not be read because of it.
    lost: Option<RangeInclusive<Inode>>,
}

impl Finding {
    /// Damage as an error tells it; what is not damage (no network) is an error of the check.
    fn of_error(error: Error) -> Result<Self> {
        let (object, damage) = match &error {
            Error::Missing { object, .. } => (object, Damage::Missing),
            Error::Truncated { object, .. } => (object, Damage::Truncated),
            Error::Forged { object, .. } => (object, Damage::Forged),
            _ => return Err(error),
        };
        Ok(Self {
            object: object.clone(),
            damage,
            what: error.to_string(),
            inodes: BTreeSet::new(),
            lost: None,
        })
    }

    fn inconsistent(what: String, inode: Inode) -> Self {
        Self {
            object: "tree".to_owned(),
            damage: Damage::Inconsistent,
            what,
            inodes: BTreeSet::from([inode]),
            lost: None,
        }
    }
}

/// Verifies the tree under `root` and all objects that it needs. Damage is reported, and the rest
/// still checked; an error means that the check itself could not go on.
pub async fn check(
    vault: &Vault,
    nodes: &Nodes,
    root: &Child,
    depth: Depth,
    progress: &(dyn Fn(CheckProgress) + Sync),
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let mut findings = Vec::new();
    let mut uses = Uses::default();
    let mut state = CheckProgress::default();
    let (lost, mismatch) = {
        let mut walk = Walk::new(nodes, depth, &mut uses, &mut findings);
        walk.tree(
            root,
            &mut Files::default(),
            &mut report,
            &mut state,
            progress,
        )
        .await?
    };
    if mismatch {
        links::compare(nodes, root, &lost, &mut findings).await?;
    }
    objects::slots(vault, nodes, root, &mut findings, &mut report).await?;
    let added = objects::commits(vault, depth, &mut findings, &mut report).await?;
    let mut packs = packs::Inspection {
        vault,
        nodes,
        depth,
        added,
        report: &mut report,
        findings: &mut findings,
    };
    packs.run(uses, &mut state, progress).await?;
    let paths = Paths::new(nodes, root);
    let children = links::children_of(nodes, root, &lost).await?;
    for finding in findings {
        report.problems.push(name(finding, &paths, &children).await);
    }
    Ok(report)
}

/// Ranges of inodes whose records (or some of them) could not be read.
type Lost = Vec<RangeInclusive<Inode>>;

/// Names the files behind a finding.
async fn name(finding: Finding, paths: &Paths<'_>, children: &links::Children) -> Problem {
    let mut named = BTreeSet::new();
    for inode in finding.inodes.iter().take(INODES_MAX) {
        named.extend(paths.of(*inode).await);
    }
    // The files' own records are lost, but their directories still have entries for them.
    let entries = finding
        .lost
        .iter()
        .flat_map(|lost| children.range(lost.clone()));
    for (parent, name) in entries.flat_map(|(_, entries)| entries).take(INODES_MAX) {
        named.extend(paths.under(*parent, name).await);
    }
    Problem {
        object: finding.object,
        damage: finding.damage,
        what: finding.what,
        paths: named.into_iter().take(PATHS_MAX).collect(),
    }
}
