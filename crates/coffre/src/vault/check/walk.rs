//! Reads every node under a root in key order and hands the records on.

use std::collections::HashSet;

use coffre_format::id::Inode;
use coffre_format::id::PackName;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;

use crate::error::Result;
use crate::tree::Need;
use crate::tree::Nodes;
use crate::tree::Pins;
use crate::tree::Resident;
use crate::tree::Source;
use crate::vault::check::CheckProgress;
use crate::vault::check::CheckReport;
use crate::vault::check::Depth;
use crate::vault::check::Finding;
use crate::vault::check::Lost;
use crate::vault::check::files::Files;
use crate::vault::check::packs::Uses;

/// Children that are fetched together.
const TOGETHER: usize = 64;

/// A subtree still to be read: keys after `after`, up to and including `last`.
struct Pending {
    child: Child,
    level: Option<u8>,
    after: Option<Key>,
    last: Option<Key>,
}

/// One pass over the tree and the snapshots in it.
pub(super) struct Walk<'a> {
    nodes: &'a Nodes,
    depth: Depth,
    uses: &'a mut Uses,
    findings: &'a mut Vec<Finding>,
    /// Nodes read already: snapshots share most of theirs.
    visited: HashSet<(PackName, u32)>,
    snapshots: Vec<Child>,
    lost: Lost,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        nodes: &'a Nodes,
        depth: Depth,
        uses: &'a mut Uses,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        Self {
            nodes,
            depth,
            uses,
            findings,
            visited: HashSet::new(),
            snapshots: Vec::new(),
            lost: Lost::new(),
        }
    }

    /// Checks everything under `root`. Returns what could not be read, and whether Links and
    /// Entries disagree.
    pub(super) async fn tree(
        &mut self,
        root: &Child,
        files: &mut Files,
        report: &mut CheckReport,
        state: &mut CheckProgress,
        progress: &(dyn Fn(CheckProgress) + Sync),
    ) -> Result<(Lost, bool)> {
        self.subtree(root, Some(files), state, progress).await?;
        let mismatch = files.finish(&self.lost, report, self.findings);
        // Of snapshots only what the present tree does not share is read, and only for its objects.
        while let Some(snapshot) = self.snapshots.pop() {
            self.subtree(&snapshot, None, state, progress).await?;
        }
        report.nodes = state.nodes;
        Ok((std::mem::take(&mut self.lost), mismatch))
    }

    /// Only notes which frames `root` and its snapshots need.
    pub(super) async fn frames(&mut self, root: &Child) -> Result<()> {
        let mut state = CheckProgress::default();
        self.subtree(root, None, &mut state, &|_| ()).await?;
        while let Some(snapshot) = self.snapshots.pop() {
            self.subtree(&snapshot, None, &mut state, &|_| ()).await?;
        }
        Ok(())
    }

    async fn subtree(
        &mut self,
        root: &Child,
        mut files: Option<&mut Files>,
        state: &mut CheckProgress,
        progress: &(dyn Fn(CheckProgress) + Sync),
    ) -> Result<()> {
        let mut stack = vec![Pending {
            child: *root,
            level: None,
            after: None,
            last: None,
        }];
        while let Some(pending) = stack.pop() {
            if !self.visit(&pending.child) {
                continue;
            }
            let node = match self.nodes.fetch(&pending.child).await {
                Ok(node) => node,
                Err(error) => {
                    self.lose(&pending, Finding::of_error(error)?);
                    continue;
                }
            };
            state.nodes += 1;
            progress(*state);
            self.expectations(&pending, &node);
            match &node.entries {
                Entries::Inner(children) => {
                    self.prefetch(children).await;
                    push(&mut stack, &pending, node.level, children);
                }
                Entries::Leaf(records) => {
                    for (key, value) in records {
                        self.value(key, value).await?;
                        if let Some(files) = files.as_deref_mut() {
                            files.record(key, value, &self.lost, self.findings);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes the node's frame; false if it was read before.
    fn visit(&mut self, child: &Child) -> bool {
        match child.pointer.place {
            Place::Pack { pack, offset } => {
                let fresh = self.visited.insert((pack.name, offset));
                if fresh {
                    self.uses.node(&child.pointer);
                }
                fresh
            }
            Place::Open { .. } => true,
        }
    }

    /// What the parent says of a node must be so.
    fn expectations(&mut self, pending: &Pending, node: &Node) {
        let first = match &node.entries {
            Entries::Leaf(records) => records.first().map(|(key, _)| key),
            Entries::Inner(children) => children.first().map(|(key, _)| key),
        };
        let what = if node.sums() != pending.child.sums {
            "its sums are not what its parent says"
        } else if pending.level.is_some_and(|level| node.level + 1 != level) {
            "it is not one level below its parent"
        } else if pending.last.is_some() && node.last_key() != pending.last.as_ref() {
            "its last key is not the one that its parent says"
        } else if matches!((first, &pending.after), (Some(first), Some(after)) if first <= after) {
            "its keys overlap those of its neighbour"
        } else {
            return;
        };
        let inode = first.and_then(Key::inode_of).unwrap_or(Inode::VAULT);
        let what = format!("node {}: {what}", describe(&pending.child));
        self.findings.push(Finding::inconsistent(what, inode));
    }

    fn lose(&mut self, pending: &Pending, mut finding: Finding) {
        let from = pending.after.as_ref().and_then(Key::inode_of);
        let to = pending.last.as_ref().and_then(Key::inode_of);
        let range = from.unwrap_or(Inode::VAULT)..=to.unwrap_or(Inode(u64::MAX));
        finding.what = format!(
            "{}; records of inodes {} to {} are lost",
            finding.what,
            range.start(),
            range.end()
        );
        finding.inodes.extend([*range.start(), *range.end()]);
        finding.lost = Some(range.clone());
        self.lost.push(range);
        self.findings.push(finding);
    }

    /// Frames that a value points to.
    async fn value(&mut self, key: &Key, value: &Value) -> Result<()> {
        let inode = key.inode_of().unwrap_or(Inode::VAULT);
        match value {
            Value::Spilled { pointer, .. } => {
                self.uses.data(pointer, inode);
                if self.depth == Depth::Data {
                    self.spill(key, pointer, inode).await?;
                }
            }
            Value::Record(Record::Block(block)) => {
                for piece in &block.pieces {
                    if let Content::Frame(pointer) = &piece.content {
                        self.uses.data(pointer, inode);
                    }
                }
            }
            Value::Record(Record::Snapshot(snapshot)) => self.snapshots.push(snapshot.root),
            Value::Record(_) => {}
        }
        Ok(())
    }

    async fn spill(&mut self, key: &Key, pointer: &Pointer, inode: Inode) -> Result<()> {
        let tag = key.tag().unwrap_or(0);
        let need = Need {
            spills: vec![(tag, *pointer)],
            ..Need::default()
        };
        if self.nodes.spill(tag, pointer).is_some() {
            return Ok(());
        }
        if let Err(error) = self.nodes.fetch_all(&need, &mut Pins::default()).await {
            let mut finding = Finding::of_error(error)?;
            finding.inodes.insert(inode);
            self.findings.push(finding);
        }
        Ok(())
    }

    /// Fetches children in runs. A failure is found again, with its node, when that node is read.
    async fn prefetch(&self, children: &[(Key, Child)]) {
        for run in children.chunks(TOGETHER) {
            let fresh = |child: &&Child| match child.pointer.place {
                Place::Pack { pack, offset } => !self.visited.contains(&(pack.name, offset)),
                Place::Open { .. } => false,
            };
            let nodes = run.iter().map(|(_, child)| child).filter(fresh);
            let need = Need {
                nodes: nodes.copied().collect(),
                ..Need::default()
            };
            let _ = self.nodes.fetch_all(&need, &mut Pins::default()).await;
        }
    }
}

fn push(stack: &mut Vec<Pending>, parent: &Pending, level: u8, children: &[(Key, Child)]) {
    let mut after = parent.after.clone();
    let first = stack.len();
    for (key, child) in children {
        stack.push(Pending {
            child: *child,
            level: Some(level),
            after: after.replace(key.clone()),
            last: Some(key.clone()),
        });
    }
    // The stack gives back its last first; keys are to be met in ascending order.
    if let Some(added) = stack.get_mut(first..) {
        added.reverse();
    }
}

fn describe(child: &Child) -> String {
    match child.pointer.place {
        Place::Pack { pack, offset } => format!("at byte {offset} of pack {}", pack.name),
        Place::Open { offset, .. } => format!("at byte {offset} of an open pack"),
    }
}
