//! Seals nodes and data frames into packs, one after the other, and settles where they ended up.
//!
//! A frame's place is `Open { salt, offset }` until its pack is frozen, because a pack's name is the
//! hash of all of it. A node may point into packs frozen before and into its own; so when a pack is
//! full it is frozen, and nodes that come later have their places rewritten as they are encoded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::commit::AddedPack;
use coffre_format::crypto::key::Keyring;
use coffre_format::error::Result as FormatResult;
use coffre_format::frame;
use coffre_format::frame::Compression;
use coffre_format::frame::FrameKind;
use coffre_format::frame::Prepared;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::pack::END_FRAME;
use coffre_format::pack::PACK_FULL;
use coffre_format::pack::PackKeys;
use coffre_format::pack::PackSize;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;

use crate::error::Error;
use crate::error::Result;
use crate::tree::Sink;

/// A pack that will not change any more: it has a name.
#[derive(Debug, Clone)]
pub struct FrozenPack {
    /// The whole object.
    pub bytes: Bytes,
    /// BLAKE3 of it.
    pub hash: ObjectHash,
    /// As pointers name it.
    pub pack: PackRef,
    /// Frames in it, without the `end` frame.
    pub frames: u32,
}

impl FrozenPack {
    /// Name of the object.
    pub fn name(&self) -> PackName {
        self.pack.name
    }

    /// As a commit names it.
    pub fn added(&self) -> AddedPack {
        AddedPack {
            name: self.pack.name,
            hash: self.hash,
            length: self.bytes.len() as u64,
        }
    }
}

/// Open places of packs that are frozen by now, and what they became.
#[derive(Debug, Clone, Default)]
pub struct Settled(HashMap<Salt, PackRef>);

impl Settled {
    /// Takes up a pack.
    pub fn insert(&mut self, pack: PackRef) {
        self.0.insert(pack.salt, pack);
    }

    /// The place, final if its pack is frozen.
    pub fn place(&self, place: Place) -> Place {
        match place {
            Place::Open { salt, offset } => match self.0.get(&salt) {
                Some(pack) => Place::Pack {
                    pack: *pack,
                    offset,
                },
                None => place,
            },
            Place::Pack { .. } => place,
        }
    }

    /// The pointer with its place settled.
    pub fn pointer(&self, pointer: Pointer) -> Pointer {
        Pointer {
            place: self.place(pointer.place),
            ..pointer
        }
    }

    /// The child with its place settled.
    pub fn child(&self, child: Child) -> Child {
        Child {
            pointer: self.pointer(child.pointer),
            ..child
        }
    }

    /// Settles every place that a value holds; a value that holds none is left as it is.
    pub fn value(&self, value: &mut Arc<Value>) {
        if self.changes(value) {
            match Arc::make_mut(value) {
                Value::Spilled { pointer, .. } => *pointer = self.pointer(*pointer),
                Value::Record(Record::Snapshot(snapshot)) => {
                    snapshot.root = self.child(snapshot.root);
                }
                Value::Record(Record::Block(block)) => {
                    for piece in &mut block.pieces {
                        if let Content::Frame(pointer) = &mut piece.content {
                            *pointer = self.pointer(*pointer);
                        }
                    }
                }
                Value::Record(_) => {}
            }
        }
    }

    /// Settles every place in a node.
    pub fn node(&self, node: &mut Node) {
        match &mut node.entries {
            Entries::Leaf(entries) => entries.iter_mut().for_each(|(_, value)| self.value(value)),
            Entries::Inner(entries) => entries
                .iter_mut()
                .for_each(|(_, child)| *child = self.child(*child)),
        }
    }

    fn moves(&self, pointer: &Pointer) -> bool {
        matches!(pointer.place, Place::Open { salt, .. } if self.0.contains_key(&salt))
    }

    fn changes(&self, value: &Value) -> bool {
        match value {
            Value::Spilled { pointer, .. } => self.moves(pointer),
            Value::Record(Record::Snapshot(snapshot)) => self.moves(&snapshot.root.pointer),
            Value::Record(Record::Block(block)) => block.pieces.iter().any(
                |piece| matches!(&piece.content, Content::Frame(pointer) if self.moves(pointer)),
            ),
            Value::Record(_) => false,
        }
    }
}

/// What a sink made.
pub struct Sealed {
    /// The packs, in the order in which they were frozen; the last one holds the last frame.
    pub packs: Vec<FrozenPack>,
    /// The nodes made, with their final places, in the order in which they were put.
    pub nodes: Vec<(Child, Arc<Node>)>,
    /// Settles places that were handed out before their packs were frozen.
    pub settled: Settled,
}

/// Builds packs in memory.
pub struct PackSink {
    ring: Arc<Keyring>,
    open: OpenPack,
    capacity: usize,
    packs: Vec<FrozenPack>,
    nodes: Vec<(Child, Node)>,
    settled: Settled,
}

impl PackSink {
    /// `capacity` is what each pack's buffer reserves, in bytes.
    pub fn new(ring: Arc<Keyring>, capacity: usize) -> Result<Self> {
        Ok(Self {
            open: OpenPack::new(&ring, capacity).map_err(broken)?,
            ring,
            capacity,
            packs: Vec::new(),
            nodes: Vec::new(),
            settled: Settled::default(),
        })
    }

    /// Tells of a pack frozen elsewhere (a data pack), whose open places in nodes are then settled.
    pub fn settle(&mut self, pack: PackRef) {
        self.settled.insert(pack);
    }

    /// Seals one data frame.
    pub fn put_data(&mut self, content: &[u8], compression: Compression) -> Result<Pointer> {
        let prepared = frame::prepare(self.ring.structure(), FrameKind::Data, content, compression)
            .map_err(broken)?;
        self.make_room(&prepared)?;
        Ok(self.open.append(&prepared))
    }

    /// Bytes in the open pack so far.
    pub fn length(&self) -> u32 {
        self.open.length()
    }

    /// Ends the last pack.
    pub fn finish(mut self) -> Result<Sealed> {
        if self.open.frames > 0 {
            let last = self.open.freeze(PackSize::Padded).map_err(broken)?;
            self.settled.insert(last.pack);
            self.packs.push(last);
        }
        let settled = self.settled;
        let nodes = self.nodes.into_iter().map(|(child, mut node)| {
            settled.node(&mut node);
            (settled.child(child), Arc::new(node))
        });
        Ok(Sealed {
            nodes: nodes.collect(),
            packs: self.packs,
            settled,
        })
    }

    fn make_room(&mut self, prepared: &Prepared) -> Result<()> {
        if !self.open.fits(prepared) {
            self.roll_over()?;
        }
        Ok(())
    }

    fn roll_over(&mut self) -> Result<()> {
        let fresh = OpenPack::new(&self.ring, self.capacity).map_err(broken)?;
        let full = std::mem::replace(&mut self.open, fresh);
        let frozen = full.freeze(PackSize::Full).map_err(broken)?;
        self.settled.insert(frozen.pack);
        self.packs.push(frozen);
        Ok(())
    }

    fn prepare_node(&mut self, node: &mut Node) -> Result<Prepared<'static>> {
        self.settled.node(node);
        let plaintext = node.encode(self.open.preamble.salt).map_err(broken)?;
        let structure = self.ring.structure();
        frame::prepare(structure, FrameKind::Node, plaintext, Compression::Off).map_err(broken)
    }
}

impl Sink for PackSink {
    fn put(&mut self, mut node: Node) -> Result<Child> {
        let mut prepared = self.prepare_node(&mut node)?;
        if !self.open.fits(&prepared) {
            // Children that were "in this same pack" are in another one now.
            self.roll_over()?;
            prepared = self.prepare_node(&mut node)?;
        }
        let child = Child {
            pointer: self.open.append(&prepared),
            hash: node.logical_hash(self.ring.structure()),
            sums: node.sums(),
        };
        self.nodes.push((child, node));
        Ok(child)
    }
}

/// A pack that still grows.
struct OpenPack {
    preamble: Preamble,
    keys: PackKeys,
    bytes: Vec<u8>,
    frames: u32,
}

impl OpenPack {
    fn new(ring: &Keyring, capacity: usize) -> FormatResult<Self> {
        let (preamble, keys) = PackKeys::fresh(ring, Purpose::Pack)?;
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(&preamble.encode());
        Ok(Self {
            keys,
            preamble,
            bytes,
            frames: 0,
        })
    }

    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a pack has at most 16 MiB")
    }

    fn fits(&self, prepared: &Prepared) -> bool {
        self.length() + prepared.frame_length() + END_FRAME <= PACK_FULL
    }

    fn append(&mut self, prepared: &Prepared) -> Pointer {
        let offset = self.length();
        self.keys.seal(offset, prepared, &mut self.bytes);
        self.frames += 1;
        Pointer {
            place: Place::Open {
                salt: self.preamble.salt,
                offset,
            },
            stored: prepared.stored_length(),
            digest: prepared.digest(),
        }
    }

    fn freeze(mut self, size: PackSize) -> FormatResult<FrozenPack> {
        self.keys.close(&mut self.bytes, self.frames, size)?;
        let hash = ObjectHash::of(&self.bytes);
        Ok(FrozenPack {
            pack: PackRef {
                name: PackName::of(&hash),
                salt: self.preamble.salt,
                epoch: self.preamble.epoch,
            },
            bytes: self.bytes.into(),
            hash,
            frames: self.frames,
        })
    }
}

fn broken(error: coffre_format::FormatError) -> Error {
    Error::of_object("a new pack", error)
}
