//! From an inode to the names of it, walking its Links upward.

use coffre_format::id::Inode;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::tag;

use crate::tree::Nodes;

/// Names of one file that are told at most.
const NAMES_MAX: usize = 8;
/// Directories above each other; more is a cycle.
const DEPTH_MAX: usize = 4096;

/// Finds paths in one tree.
pub(super) struct Paths<'a> {
    nodes: &'a Nodes,
    root: &'a Child,
}

impl<'a> Paths<'a> {
    pub(super) fn new(nodes: &'a Nodes, root: &'a Child) -> Self {
        Self { nodes, root }
    }

    /// The paths of an inode; empty if it has no names or they cannot be read.
    pub(super) async fn of(&self, inode: Inode) -> Vec<String> {
        if inode == Inode::ROOT {
            return vec!["/".to_owned()];
        }
        let mut paths = Vec::new();
        for (parent, name) in self.links(inode).await.into_iter().take(NAMES_MAX) {
            paths.extend(self.under(parent, &name).await);
        }
        paths
    }

    /// The path of `name` in `parent`.
    pub(super) async fn under(&self, parent: Inode, name: &[u8]) -> Option<String> {
        let mut names = vec![String::from_utf8_lossy(name).into_owned()];
        let mut at = parent;
        while at != Inode::ROOT {
            let (parent, name) = self.links(at).await.into_iter().next()?;
            names.push(String::from_utf8_lossy(&name).into_owned());
            if names.len() > DEPTH_MAX {
                return None;
            }
            at = parent;
        }
        names.reverse();
        Some(format!("/{}", names.join("/")))
    }

    async fn links(&self, inode: Inode) -> Vec<(Inode, Vec<u8>)> {
        let (start, end) = Key::tagged(inode, tag::LINK);
        let Ok(records) = self.nodes.range(self.root, &start, &end).await else {
            return Vec::new();
        };
        records.iter().filter_map(|(key, _)| split(key)).collect()
    }
}

/// Parent and name of a Link's key.
pub(super) fn split(key: &Key) -> Option<(Inode, Vec<u8>)> {
    let (parent, name) = key.rest().split_first_chunk::<8>()?;
    Some((Inode(u64::from_be_bytes(*parent)), name.to_vec()))
}
