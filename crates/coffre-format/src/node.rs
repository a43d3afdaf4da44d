//! A node of the tree: its bytes, its logical hash, and where nodes end.
use std::sync::Arc;

use crate::crypto::key::StructureKeys;
use crate::error::Result;
use crate::id::LogicalHash;
use crate::id::Salt;
use crate::record::Child;
use crate::record::Key;
use crate::record::PackRef;
use crate::record::Sums;
use crate::record::Value;

/// Bytes of logical entries after which a run is cut.
pub const RUN_MAX: usize = 48 * 1024;
/// Levels a tree may have.
pub const LEVELS: u8 = 8;

/// A node, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// What it holds, keys strictly ascending.
    pub entries: Entries,
}
/// Records or children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Level 0.
    Leaf(Vec<(Key, Arc<Value>)>),
    /// Above: children under their last key.
    Inner(Vec<(Key, Child)>),
}
impl Node {
    /// The bytes that a node frame holds. `own` is the salt of the pack it goes into: `Place::Open` with that salt becomes "this same pack"; any other `Place::Open`, and `Content::Bytes` over [`crate::record::INLINE`] or not alone at 0, is `Malformed`.
    pub fn encode(&self, own: Salt) -> Result<Vec<u8>> {
        todo!()
    }
    /// Reads them; `own` is the pack that it was read from.
    pub fn decode(bytes: &[u8], own: PackRef) -> Result<Self> {
        todo!()
    }
    /// The logical hash.
    pub fn logical_hash(&self, keys: &StructureKeys) -> LogicalHash {
        todo!()
    }
    /// Totals of everything below and in it.
    pub fn sums(&self) -> Sums {
        todo!()
    }
    /// Last key; `None` for the empty tree's root.
    pub fn last_key(&self) -> Option<&Key> {
        todo!()
    }
}
/// Whether `key` ends a node of `level`: ≥ 7·(level+1) leading zero bits.
pub fn ends_node(keys: &StructureKeys, level: u8, key: &Key) -> bool {
    keys.boundary_zeros(key.as_bytes()) >= 7 * (u32::from(level) + 1)
}
/// What an entry counts towards [`RUN_MAX`]: 8 + key length + logical value length.
pub fn leaf_weight(key: &Key, value: &Value) -> usize {
    todo!()
}
/// What a child counts: 8 + key length + 96.
pub fn inner_weight(key: &Key) -> usize {
    8 + key.as_bytes().len() + 96
}
