//! Finds which Links and Entries disagree, and who lost inodes were called.
//!
//! Both read the whole tree again, so they run only when there is something to find.

use std::collections::BTreeMap;

use coffre_format::id::Inode;
use coffre_format::node::Entries;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;

use crate::error::Error;
use crate::error::Result;
use crate::tree::Nodes;
use crate::tree::Source;
use crate::vault::check::Finding;
use crate::vault::check::Lost;
use crate::vault::check::paths;

/// Disagreements that are reported one by one.
const FINDINGS_MAX: usize = 256;

/// Parent directory and name of inodes.
pub(super) type Children = BTreeMap<Inode, Vec<(Inode, Vec<u8>)>>;

/// Looks every Link up as an Entry and the other way round.
pub(super) async fn compare(
    nodes: &Nodes,
    root: &Child,
    lost: &Lost,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut leaves = Leaves::new(nodes, root);
    while let Some(records) = leaves.next().await? {
        for (key, value) in records {
            let (inode, counterpart, what) = match (&*value, key.inode_of()) {
                (Value::Record(Record::Entry(entry)), Some(directory)) => {
                    let link = Key::link(entry.inode, directory, key.rest());
                    let what = format!("entry of inode {} without a link back", entry.inode);
                    (entry.inode, link, what)
                }
                (Value::Record(Record::Link), Some(inode)) => {
                    let Some((parent, name)) = paths::split(&key) else {
                        continue;
                    };
                    let what =
                        format!("inode {inode} names directory {parent}, which has no such entry");
                    (inode, Key::entry(parent, &name), what)
                }
                _ => continue,
            };
            let other = counterpart.inode_of().unwrap_or(Inode::VAULT);
            if lost
                .iter()
                .any(|range| range.contains(&other) || range.contains(&inode))
            {
                continue;
            }
            if !agrees(nodes, root, &counterpart, inode).await? {
                findings.push(Finding::inconsistent(what, inode));
            }
            if findings.len() > FINDINGS_MAX {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn agrees(nodes: &Nodes, root: &Child, counterpart: &Key, inode: Inode) -> Result<bool> {
    let there = match nodes.get(root, counterpart).await {
        Ok(there) => there,
        Err(error) => return Finding::of_error(error).map(|_| true),
    };
    Ok(match there {
        Some(Record::Link) => true,
        Some(Record::Entry(entry)) => {
            let record = nodes.get(root, &Key::inode(inode)).await?;
            let same_kind =
                matches!(record, Some(Record::Inode(record)) if record.kind == entry.kind);
            entry.inode == inode && same_kind
        }
        _ => false,
    })
}

/// Entries that lead to lost inodes.
pub(super) async fn children_of(nodes: &Nodes, root: &Child, lost: &Lost) -> Result<Children> {
    let mut children = Children::new();
    if lost.is_empty() {
        return Ok(children);
    }
    let mut leaves = Leaves::new(nodes, root);
    while let Some(records) = leaves.next().await? {
        for (key, value) in records {
            if let (Value::Record(Record::Entry(entry)), Some(parent)) = (&*value, key.inode_of())
                && lost.iter().any(|range| range.contains(&entry.inode))
            {
                let names = children.entry(entry.inode).or_default();
                names.push((parent, key.rest().to_vec()));
            }
        }
    }
    Ok(children)
}

/// The readable leaves of a tree, in key order.
struct Leaves<'a> {
    nodes: &'a Nodes,
    stack: Vec<Child>,
}

type Records = Vec<(Key, std::sync::Arc<Value>)>;

impl<'a> Leaves<'a> {
    fn new(nodes: &'a Nodes, root: &Child) -> Self {
        Self {
            nodes,
            stack: vec![*root],
        }
    }

    async fn next(&mut self) -> Result<Option<Records>> {
        while let Some(child) = self.stack.pop() {
            let node = match self.nodes.fetch(&child).await {
                Ok(node) => node,
                Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) => {
                    return Err(error);
                }
                Err(_) => continue,
            };
            match &node.entries {
                Entries::Leaf(records) => return Ok(Some(records.clone())),
                Entries::Inner(children) => {
                    let children = children.iter().rev().map(|(_, child)| *child);
                    self.stack.extend(children);
                }
            }
        }
        Ok(None)
    }
}
