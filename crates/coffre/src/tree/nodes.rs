//! Verified nodes and frames in memory, fetched through a reader.

use std::ops::Range;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use bytes::Bytes;
use coffre_format::crypto::key::Keyring;
use coffre_format::frame::FRAME_OVERHEAD;
use coffre_format::frame::FrameKind;
use coffre_format::name::ObjectName;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use futures::future::try_join_all;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::error::Error;
use crate::error::Result;
use crate::store::ATTEMPTS;
use crate::store::Pattern;
use crate::store::Rank;
use crate::store::Reader;
use crate::tree::Need;
use crate::tree::Pinned;
use crate::tree::Pins;
use crate::tree::Recent;
use crate::tree::Resident;
use crate::tree::Source;
use crate::tree::find;
use crate::tree::lookup::neighbours;
use crate::tree::scan;

/// Rounds after which a lookup gives up: far more than the depth of any tree.
const ROUNDS: usize = 32;
/// Derived pack keys that are remembered.
const KEYS_MOST: u64 = 4096;
/// What the first read of a root takes of its pack: the root and the path just changed, in bytes.
const ROOT_TAIL: u64 = 256 * 1024;
/// Entry of a node in memory, beside its key's bytes and what its value points to: places in the node, two
/// allocations, and the value itself, in bytes.
const ENTRY_COST: usize = 280;
/// A frame in memory beside its bytes.
const FRAME_COST: usize = 200;

struct Inner {
    reader: Reader,
    ring: RwLock<Arc<Keyring>>,
    nodes: Cache<Place, Arc<Node>>,
    frames: Cache<Place, Bytes>,
    keys: Cache<PackRef, Arc<PackKeys>>,
}

/// Verified nodes and content frames in memory, fetched through a reader. Clones share it.
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

impl Nodes {
    /// `memory` bounds decoded nodes and frames, one half each, in bytes.
    pub fn new(reader: Reader, ring: Arc<Keyring>, memory: u64) -> Self {
        let nodes = Cache::builder()
            .max_capacity(memory / 2)
            .weigher(|_, node: &Arc<Node>| weight(node))
            .build();
        let frames = Cache::builder()
            .max_capacity(memory / 2)
            // What was fetched ahead is used once, soon: a policy that prefers what is used often would refuse it.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, frame: &Bytes| u32::try_from(frame.len() + FRAME_COST).unwrap_or(u32::MAX))
            .build();
        let keys = Cache::new(KEYS_MOST);
        Self(Arc::new(Inner {
            reader,
            ring: RwLock::new(ring),
            nodes,
            frames,
            keys,
        }))
    }

    /// Content frames that are kept, in bytes.
    pub fn frames_most(&self) -> u64 {
        self.0.frames.policy().max_capacity().unwrap_or(0)
    }

    /// Where sealed bytes come from.
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// The keys in use.
    pub fn ring(&self) -> Arc<Keyring> {
        self.0
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes a keyring with more epochs.
    pub fn set_ring(&self, ring: Arc<Keyring>) {
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// Takes over what another reader of the same vault has verified.
    pub fn take_over(&self, other: &Self) {
        for (place, node) in &other.0.nodes {
            self.0.nodes.insert(*place, node);
        }
        self.0.reader.take_over(&other.0.reader);
    }

    /// Takes a node that was just made.
    pub fn insert(&self, child: &Child, node: Arc<Node>) {
        self.0.nodes.insert(child.pointer.place, node);
    }

    /// Reads the root with what lies before it in its pack: the path that was changed with it.
    pub async fn open_root(&self, root: &Child) -> Result<Arc<Node>> {
        if let Some(node) = self.node(root) {
            return Ok(node);
        }
        let (pack, range) = extent(&root.pointer)?;
        let tail = range.end.saturating_sub(ROOT_TAIL)..range.end;
        self.0.reader.prefetch(pack.name, tail, Rank::Node).await?;
        self.fetch(root).await
    }

    /// Fetches all of a Need in parallel, with the leaves beside a missing one, and keeps it for one operation
    /// even if the memory is full.
    pub async fn fetch_all(&self, need: &Need, pins: &mut Pins) -> Result<()> {
        self.prefetch_near(need).await?;
        let nodes = try_join_all(need.nodes.iter().map(|child| self.fetch(child))).await?;
        for (child, node) in need.nodes.iter().zip(nodes) {
            pins.nodes.insert(child.pointer.place, node);
        }
        for (tag, pointer) in &need.spills {
            let bytes = self.data(pointer).await?;
            let value =
                Value::decode_spilled(*tag, &bytes).map_err(|error| forged(pointer, error))?;
            pins.spills.insert((*tag, pointer.place), Arc::new(value));
        }
        Ok(())
    }

    /// Reads, opens and checks one data frame.
    pub async fn data(&self, pointer: &Pointer) -> Result<Bytes> {
        if let Some(bytes) = self.data_at_hand(pointer) {
            return Ok(bytes);
        }
        let bytes: Bytes = self
            .open(FrameKind::Data, pointer, Rank::Data)
            .await?
            .into();
        self.0.frames.insert(pointer.place, bytes.clone());
        Ok(bytes)
    }

    /// The same if it is in memory.
    pub fn data_at_hand(&self, pointer: &Pointer) -> Option<Bytes> {
        self.0.frames.get(&pointer.place)
    }

    /// The same if it is in memory or on the local disk, for somebody who reads in this way.
    pub fn data_ready(&self, pointer: &Pointer, reader: Pattern) -> Option<Bytes> {
        if let Some(bytes) = self.data_at_hand(pointer) {
            return Some(bytes);
        }
        let (pack, range) = extent(pointer).ok()?;
        let frame = self.0.reader.ready_for(reader, pack.name, range)?;
        let (keys, offset) = self.opening(pointer, &pack).ok()?;
        let (kind, digest) = (FrameKind::Data, &pointer.digest);
        let bytes = match reader {
            Pattern::InOrder => keys.open_owned(kind, offset, frame, digest),
            // It may come in whole sectors, which are not to be kept for it.
            Pattern::HereAndThere => keys.open(kind, offset, &frame, digest).map(Bytes::from),
        };
        let bytes = bytes.ok()?;
        self.0.frames.insert(pointer.place, bytes.clone());
        Some(bytes)
    }

    /// Finds one record, fetching what is missing.
    pub async fn get(&self, root: &Child, key: &Key) -> Result<Option<Record>> {
        let found = self.asking(|resident| find(root, key, resident)).await?;
        Ok(found.and_then(|value| record(&value)))
    }

    /// All records of a small range (devices, slots).
    pub async fn range(&self, root: &Child, start: &Key, end: &Key) -> Result<Vec<(Key, Record)>> {
        let found = self
            .asking(|resident| scan(root, start, end, usize::MAX, resident))
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|(key, value)| Some((key, record(&value)?)))
            .collect())
    }

    async fn asking<T>(
        &self,
        ask: impl Fn(&Pinned<'_>) -> std::result::Result<T, Need>,
    ) -> Result<T> {
        let (mut pins, recent) = (Pins::default(), Recent::default());
        for _ in 0..ROUNDS {
            let need = match ask(&Pinned {
                recent: &recent,
                pins: &pins,
                nodes: self,
            }) {
                Ok(value) => return Ok(value),
                Err(need) => need,
            };
            self.fetch_all(&need, &mut pins).await?;
        }
        let why = "it is deeper than a tree can be".into();
        Err(Error::Forged {
            object: "tree".into(),
            path: None,
            why,
        })
    }

    /// One request for a missing leaf and its neighbours. What fails here fails again, with its name, later.
    async fn prefetch_near(&self, need: &Need) -> Result<()> {
        let (Some(first), Some(beside)) = (need.nodes.first(), &need.beside) else {
            return Ok(());
        };
        // Where a request costs next to nothing, neighbours that may never be asked for cost more.
        if self.0.reader.is_on_this_machine() {
            return Ok(());
        }
        let near = neighbours(beside);
        if near.is_empty() {
            return Ok(());
        }
        let (pack, mut range) = extent(&first.pointer)?;
        for child in &near {
            if let Ok((other, span)) = extent(&child.pointer)
                && other == pack
            {
                range = range.start.min(span.start)..range.end.max(span.end);
            }
        }
        self.0.reader.prefetch(pack.name, range, Rank::Node).await
    }

    async fn open(&self, kind: FrameKind, pointer: &Pointer, rank: Rank) -> Result<Vec<u8>> {
        let (pack, range) = extent(pointer)?;
        let frame = self.0.reader.read(pack.name, range.clone(), rank).await?;
        if let Ok(plaintext) = self.unseal(kind, pointer, &pack, &frame) {
            return Ok(plaintext);
        }
        // A damaged cache is a miss: only what the store itself offers, again, is a verdict on it.
        let mut verdict = Err(unnamed());
        for _ in 1..ATTEMPTS {
            self.0.reader.discard(pack.name, range.clone());
            let stored = self.0.reader.read_stored(pack.name, range.clone(), rank);
            verdict = match stored.await {
                Ok(frame) => self.unseal(kind, pointer, &pack, &frame),
                Err(error) => Err(error),
            };
            if verdict.is_ok() {
                break;
            }
        }
        verdict.map_err(|error| match self.0.reader.outbox().contains(pack.name) {
            true => self.damaged(&pack, range.start),
            false => error,
        })
    }

    /// A pack that waits for its upload is spoilt, and the store has no other.
    fn damaged(&self, pack: &PackRef, offset: u64) -> Error {
        Error::Damaged {
            file: self.0.reader.outbox().path(pack.name),
            offset,
            why: "it waits for its upload, and the disk has lost a part of it: the files in it cannot be read; \
                  put the file back, or delete those files so that the rest can be uploaded"
                .into(),
        }
    }

    fn unseal(
        &self,
        kind: FrameKind,
        pointer: &Pointer,
        pack: &PackRef,
        frame: &[u8],
    ) -> Result<Vec<u8>> {
        let (keys, offset) = self.opening(pointer, pack)?;
        keys.open(kind, offset, frame, &pointer.digest)
            .map_err(|error| forged(pointer, error))
    }

    /// What a frame is opened with: keys and offset.
    fn opening(&self, pointer: &Pointer, pack: &PackRef) -> Result<(Arc<PackKeys>, u32)> {
        let keys = self.keys(pack).map_err(|error| forged(pointer, error))?;
        match pointer.place {
            Place::Pack { offset, .. } => Ok((keys, offset)),
            Place::Open { .. } => Err(unnamed()),
        }
    }

    fn keys(
        &self,
        pack: &PackRef,
    ) -> std::result::Result<Arc<PackKeys>, coffre_format::FormatError> {
        if let Some(keys) = self.0.keys.get(pack) {
            return Ok(keys);
        }
        let preamble = Preamble {
            purpose: Purpose::Pack,
            epoch: pack.epoch,
            salt: pack.salt,
        };
        let keys = Arc::new(PackKeys::new(&self.ring(), &preamble)?);
        self.0.keys.insert(*pack, keys.clone());
        Ok(keys)
    }
}

impl Resident for Nodes {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        self.0.nodes.get(&child.pointer.place)
    }

    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        let bytes = self.0.frames.get(&pointer.place)?;
        Value::decode_spilled(tag, &bytes).ok().map(Arc::new)
    }
}

impl Source for Nodes {
    async fn fetch(&self, child: &Child) -> Result<Arc<Node>> {
        if let Some(node) = self.node(child) {
            return Ok(node);
        }
        let (pack, _) = extent(&child.pointer)?;
        let plaintext = self
            .open(FrameKind::Node, &child.pointer, Rank::Node)
            .await?;
        let node = Node::decode(&plaintext, pack).map_err(|error| forged(&child.pointer, error))?;
        if node.logical_hash(self.ring().structure()) != child.hash {
            let error = coffre_format::FormatError::Forged { what: "tree node" };
            return Err(forged(&child.pointer, error));
        }
        let node = Arc::new(node);
        self.0.nodes.insert(child.pointer.place, node.clone());
        Ok(node)
    }
}

fn extent(pointer: &Pointer) -> Result<(PackRef, Range<u64>)> {
    match pointer.place {
        Place::Pack { pack, offset } => {
            let start = u64::from(offset);
            Ok((
                pack,
                start..start + u64::from(pointer.stored) + u64::from(FRAME_OVERHEAD),
            ))
        }
        Place::Open { .. } => Err(unnamed()),
    }
}

fn unnamed() -> Error {
    let why = "a pointer leads into a pack without a name".into();
    Error::Forged {
        object: "tree".into(),
        path: None,
        why,
    }
}

fn forged(pointer: &Pointer, error: coffre_format::FormatError) -> Error {
    match pointer.place {
        Place::Pack { pack, .. } => Error::of_object(ObjectName::Pack(pack.name), error),
        Place::Open { .. } => unnamed(),
    }
}

fn record(value: &Value) -> Option<Record> {
    match value {
        Value::Record(record) => Some(record.clone()),
        Value::Spilled { .. } => None,
    }
}

/// Bytes that a node takes in memory, roughly.
pub(crate) fn weight(node: &Node) -> u32 {
    let bytes: usize = match &node.entries {
        Entries::Leaf(entries) => entries
            .iter()
            .map(|(key, value)| ENTRY_COST + key.as_bytes().len() + content(value))
            .sum(),
        Entries::Inner(children) => children
            .iter()
            .map(|(key, _)| ENTRY_COST + key.as_bytes().len())
            .sum(),
    };
    u32::try_from(bytes + ENTRY_COST).unwrap_or(u32::MAX)
}

fn content(value: &Value) -> usize {
    match value {
        Value::Record(Record::Block(block)) => block.pieces.len() * 128,
        Value::Record(Record::Inode(inode)) => inode.target.as_ref().map_or(0, Vec::len),
        Value::Record(Record::Xattr(bytes) | Record::Setting(bytes)) => bytes.len(),
        _ => 0,
    }
}
