//! The ordered, copy-on-write tree of records: finding, ranging, editing, comparing.
//! (Signatures; bodies follow.)
#![allow(unused_variables, missing_docs)]

use std::sync::Arc;

use coffre_format::crypto::key::Keyring;
use coffre_format::crypto::key::StructureKeys;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;

use crate::error::Result;
use crate::store::Reader;

/// What must be fetched before a synchronous function can go on.
#[derive(Debug, Clone, Default)]
pub struct Need {
    pub nodes: Vec<Child>,
    /** Spilled values. */
    pub spills: Vec<(u8, Pointer)>,
}
/// What is at hand without waiting.
pub trait Resident {
    fn node(&self, child: &Child) -> Option<Arc<Node>>;
    /// A spilled value, decoded, for the record tag.
    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>>;
}
/// Where nodes come from, waiting if need be.
pub trait Source: Send + Sync {
    fn fetch(&self, child: &Child) -> impl Future<Output = Result<Arc<Node>>> + Send;
}
/// Where new nodes go: children before parents, the root last.
pub trait Sink: Send {
    fn put(&mut self, node: Node) -> Result<Child>;
}
/// Changes over a base tree: an ordered map and deleted ranges. The order of application counts.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    in_work: (),
}
impl Changes {
    pub fn put(&mut self, key: Key, value: Arc<Value>) {
        todo!()
    }
    pub fn delete(&mut self, key: Key) {
        todo!()
    }
    pub fn delete_range(&mut self, start: Key, end: Key) {
        todo!()
    }
    /// `None`: says nothing about this key; `Some(None)`: deleted.
    pub fn get(&self, key: &Key) -> Option<Option<&Arc<Value>>> {
        todo!()
    }
    /// Records and tombstones in the range, in order. (Deleted ranges are told by `covers`.)
    pub fn range<'a>(
        &'a self,
        start: &Key,
        end: &Key,
    ) -> impl DoubleEndedIterator<Item = (&'a Key, Option<&'a Arc<Value>>)> + 'a {
        std::iter::empty()
    }
    /// Whether a deleted range covers this key (a put after the deletion still counts).
    pub fn covers(&self, key: &Key) -> bool {
        todo!()
    }
    /// End of the deleted range that covers this key, for skipping over it.
    pub fn covered_until(&self, key: &Key) -> Option<&Key> {
        todo!()
    }
    pub fn ranges(&self) -> impl Iterator<Item = (&Key, &Key)> {
        std::iter::empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Value>>)> {
        std::iter::empty()
    }
    /// Bytes of memory, roughly (keys, values with their content bytes).
    pub fn weight(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
/// Finds one record.
pub fn find(
    root: &Child,
    key: &Key,
    resident: &impl Resident,
) -> std::result::Result<Option<Arc<Value>>, Need> {
    todo!()
}
/// Up to `limit` records from `start` (inclusive) to `end` (exclusive); Need names all missing children it can see (bounded by the limit: at most ~64 leaves ahead).
pub fn scan(
    root: &Child,
    start: &Key,
    end: &Key,
    limit: usize,
    resident: &impl Resident,
) -> std::result::Result<Vec<(Key, Arc<Value>)>, Need> {
    todo!()
}
/// Applies changes to a tree: same records, same shape, whatever the history. Unchanged nodes are reused.
pub async fn edit(
    root: &Child,
    changes: &Changes,
    keys: &StructureKeys,
    source: &impl Source,
    sink: &mut impl Sink,
) -> Result<Child> {
    todo!()
}
/// The tree of no records.
pub fn empty(sink: &mut impl Sink) -> Result<Child> {
    todo!()
}
/// Differences of two trees, in key order, at most `limit`; `None` if there are more. Equal subtrees are not read.
#[allow(clippy::type_complexity)]
pub async fn diff(
    old: &Child,
    new: &Child,
    source: &impl Source,
    limit: usize,
) -> Result<Option<Vec<(Key, Option<Arc<Value>>, Option<Arc<Value>>)>>> {
    todo!()
}
/// Verified nodes in memory, fetched through a reader. Clones share it.
#[derive(Clone)]
pub struct Nodes {
    in_work: (),
}
impl Nodes {
    /// `memory` bounds the decoded nodes, in bytes.
    pub fn new(reader: Reader, ring: Arc<Keyring>, memory: u64) -> Self {
        todo!()
    }
    /// Fetches all of a Need in parallel (and the run of sibling leaves next to a missing leaf, ≤ 1 MiB, in one GET where they are adjacent in the pack) and keeps it; `pins` holds it for one operation even if the memory is full.
    pub async fn fetch_all(&self, need: &Need, pins: &mut Pins) -> Result<()> {
        todo!()
    }
    /// Takes a node that was just made.
    pub fn insert(&self, child: &Child, node: Arc<Node>) {
        todo!()
    }
    /// Reads, opens and checks one data frame.
    pub async fn data(&self, pointer: &Pointer) -> Result<bytes::Bytes> {
        todo!()
    }
    /// The same if it is at hand without waiting for the store.
    pub fn data_ready(&self, pointer: &Pointer) -> Option<bytes::Bytes> {
        todo!()
    }
    pub fn reader(&self) -> &Reader {
        todo!()
    }
    pub fn ring(&self) -> Arc<Keyring> {
        todo!()
    }
    /// After unlocking older epochs.
    pub fn set_ring(&self, ring: Arc<Keyring>) {
        todo!()
    }
    /// Finds one record, fetching what is missing; a spilled one is resolved.
    pub async fn get(&self, root: &Child, key: &Key) -> Result<Option<Record>> {
        todo!()
    }
    /// All records of a range (small ranges: devices, slots).
    pub async fn range(&self, root: &Child, start: &Key, end: &Key) -> Result<Vec<(Key, Record)>> {
        todo!()
    }
}
impl Resident for Nodes {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        todo!()
    }
    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        todo!()
    }
}
impl Source for Nodes {
    async fn fetch(&self, child: &Child) -> Result<Arc<Node>> {
        todo!()
    }
}
/// What one operation holds on to, over `Nodes`.
#[derive(Default)]
pub struct Pins {
    in_work: (),
}
/// Pins first, then the shared memory.
pub struct Pinned<'a> {
    pub pins: &'a Pins,
    pub nodes: &'a Nodes,
}
impl Resident for Pinned<'_> {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        todo!()
    }
    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        todo!()
    }
}
