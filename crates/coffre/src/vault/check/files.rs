//! What the records of one inode must say of each other, met in key order.

use std::collections::HashMap;

use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Block;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::vault::check::CheckReport;
use crate::vault::check::Finding;
use crate::vault::check::Lost;

/// All inodes of a tree, checked one after the other.
///
/// Links and Entries are two lists of the same names, sorted differently. Each is summed as hashes;
/// equal sums mean equal lists, without holding either in memory.
#[derive(Default)]
pub(super) struct Files {
    open: Option<Open>,
    entries: u128,
    links: u128,
    /// Parent of each directory.
    parents: HashMap<Inode, Inode>,
    /// Inodes without names that a device holds open.
    orphans: Vec<Inode>,
    directories: u64,
    files: u64,
    content: u64,
}

/// The inode whose records are being met.
struct Open {
    inode: Inode,
    record: Option<InodeRecord>,
    links: u64,
    subdirectories: u32,
    entries: u64,
    /// Where content ends, in bytes.
    end: u64,
}

impl Files {
    /// Takes the next record.
    pub(super) fn record(
        &mut self,
        key: &Key,
        value: &Value,
        lost: &Lost,
        findings: &mut Vec<Finding>,
    ) {
        let inode = key.inode_of().unwrap_or(Inode::VAULT);
        if inode == Inode::VAULT {
            if key.tag() == Some(tag::ORPHAN) {
                let number = key.rest().last_chunk::<8>();
                let number = number.map(|bytes| Inode(u64::from_be_bytes(*bytes)));
                self.orphans.extend(number);
            }
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.inode != inode) {
            self.close(lost, findings);
        }
        let open = self.open.get_or_insert(Open {
            inode,
            record: None,
            links: 0,
            subdirectories: 0,
            entries: 0,
            end: 0,
        });
        match value {
            Value::Record(Record::Inode(record)) => open.record = Some(record.clone()),
            Value::Record(Record::Link) => {
                open.links += 1;
                let kind = open.record.as_ref().map(|record| record.kind);
                let Some((parent, name)) = super::paths::split(key) else {
                    return;
                };
                if kind == Some(FileKind::Directory) {
                    self.parents.insert(inode, parent);
                }
                let hash = name_hash(parent, &name, inode, kind);
                self.links = self.links.wrapping_add(hash);
            }
            Value::Record(Record::Entry(entry)) => {
                open.entries += 1;
                open.subdirectories += u32::from(entry.kind == FileKind::Directory);
                let hash = name_hash(inode, key.rest(), entry.inode, Some(entry.kind));
                self.entries = self.entries.wrapping_add(hash);
            }
            Value::Record(Record::Block(block)) => {
                let index = key.rest().first_chunk::<8>();
                let index = index.map_or(0, |bytes| u64::from_be_bytes(*bytes));
                open.end = open.end.max(end_of(index, block));
                let lengths = block.pieces.iter().map(|piece| u64::from(piece.len));
                self.content += lengths.sum::<u64>();
            }
            _ => {}
        }
    }

    /// Ends the pass. Returns whether Links and Entries disagree.
    pub(super) fn finish(
        &mut self,
        lost: &Lost,
        report: &mut CheckReport,
        findings: &mut Vec<Finding>,
    ) -> bool {
        self.close(lost, findings);
        report.directories = self.directories;
        report.files = self.files;
        report.content_bytes = self.content;
        if lost.is_empty() {
            self.reachable(findings);
        }
        self.links != self.entries
    }

    fn close(&mut self, lost: &Lost, findings: &mut Vec<Finding>) {
        let Some(open) = self.open.take() else {
            return;
        };
        match &open.record {
            Some(record) if record.kind == FileKind::Directory => self.directories += 1,
            _ => self.files += 1,
        }
        // Some of its records may be among the lost ones: nothing can be said of the others.
        if lost.iter().any(|range| range.contains(&open.inode)) {
            return;
        }
        let orphan = self.orphans.contains(&open.inode);
        for what in open.contradictions(orphan) {
            let what = format!("inode {}: {what}", open.inode);
            findings.push(Finding::inconsistent(what, open.inode));
        }
    }

    /// Every directory leads to the root.
    fn reachable(&self, findings: &mut Vec<Finding>) {
        let mut good = std::collections::HashSet::from([Inode::ROOT]);
        for start in self.parents.keys() {
            let mut way = Vec::new();
            let mut at = *start;
            while !good.contains(&at) && way.len() <= self.parents.len() {
                way.push(at);
                match self.parents.get(&at) {
                    Some(parent) => at = *parent,
                    None => break,
                }
            }
            if good.contains(&at) {
                good.extend(way);
            } else {
                let what = format!("directory {start} does not lead to the root directory");
                findings.push(Finding::inconsistent(what, *start));
            }
        }
    }
}

impl Open {
    fn contradictions(&self, orphan: bool) -> Vec<String> {
        let Some(record) = &self.record else {
            return vec!["it has records, but no inode record".to_owned()];
        };
        let mut found = Vec::new();
        let directory = record.kind == FileKind::Directory;
        let mut expect = |right: bool, what: String| {
            if !right {
                found.push(what);
            }
        };
        if self.inode == Inode::ROOT {
            expect(directory, "the root is not a directory".to_owned());
            expect(self.links == 0, "the root directory has a name".to_owned());
        } else if directory && !orphan {
            let what = format!("a directory with {} names instead of one", self.links);
            expect(self.links == 1, what);
        } else {
            let what = "it has no name, and no device holds it open";
            expect(self.links > 0 || orphan, what.to_owned());
        }
        if directory {
            let what = format!(
                "it counts {} directories inside and has {}",
                record.subdirectories, self.subdirectories
            );
            expect(record.subdirectories == self.subdirectories, what);
        } else {
            expect(
                self.entries == 0,
                "it has entries, but is no directory".to_owned(),
            );
        }
        if record.kind == FileKind::Regular {
            let what = format!(
                "content up to byte {} of a file of {}",
                self.end, record.size
            );
            expect(self.end <= record.size, what);
        } else {
            expect(self.end == 0, "it has content, but is no file".to_owned());
        }
        found
    }
}

/// Where the content of a block ends in the file, in bytes.
fn end_of(index: u64, block: &Block) -> u64 {
    let last = block.pieces.iter().map(|piece| piece.at + piece.len).max();
    match last {
        Some(last) => index
            .saturating_mul(u64::from(BLOCK))
            .saturating_add(u64::from(last)),
        None => 0,
    }
}

fn name_hash(parent: Inode, name: &[u8], child: Inode, kind: Option<FileKind>) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&parent.0.to_be_bytes());
    hasher.update(&child.0.to_be_bytes());
    hasher.update(&[kind.map_or(u8::MAX, |kind| kind as u8)]);
    hasher.update(name);
    let hash = hasher.finalize();
    let half = hash.as_bytes().first_chunk::<16>();
    u128::from_le_bytes(*half.expect("a hash has 32 bytes"))
}
