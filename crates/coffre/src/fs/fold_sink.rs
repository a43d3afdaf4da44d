//! Where a fold puts what it settles: data and node frames, in packs that go to the outbox.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use coffre_format::crypto::key::Keyring;
use coffre_format::frame::Compression;
use coffre_format::frame::FrameKind;
use coffre_format::frame::Prepared;
use coffre_format::frame::prepare;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::pack::END_FRAME;
use coffre_format::pack::PackKeys;
use coffre_format::pack::PackSize;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::Block;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;

use crate::error::Error;
use crate::error::Result;
use crate::fs::shares::Shares;
use crate::store::Outbox;
use crate::tree::Nodes;
use crate::tree::Sink;
use crate::tree::weight;

/// Data below this goes into one pack with the nodes, in bytes.
const JOINT_BELOW: usize = 1024 * 1024;

struct Filling {
    preamble: Preamble,
    keys: PackKeys,
    bytes: Vec<u8>,
    frames: u32,
}

/// Packs being made by one fold.
pub(crate) struct FoldSink {
    ring: Arc<Keyring>,
    outbox: Outbox,
    filling: Option<Filling>,
    /// What is still to come, roughly: a pack is not to be moved as it grows.
    expected: usize,
    /// Length of a full pack.
    full: u32,
    /// Packs of this fold that have a name.
    named: HashMap<Salt, PackRef>,
    /// Nodes of the pack being filled, in memory under their places once it has a name. A fold may make more
    /// than memory holds: the oldest are left to be read again.
    made: VecDeque<(Child, Arc<Node>)>,
    made_bytes: usize,
    made_most: usize,
    /// Where they go then.
    memory: Nodes,
}

/// What a fold made.
pub(crate) struct Made {
    named: HashMap<Salt, PackRef>,
}

impl FoldSink {
    /// For about this many bytes.
    pub(crate) fn new(
        ring: Arc<Keyring>,
        outbox: Outbox,
        memory: Nodes,
        shares: &Shares,
        expected: usize,
    ) -> Self {
        Self {
            ring,
            outbox,
            filling: None,
            expected,
            full: shares.pack,
            named: HashMap::new(),
            made: VecDeque::new(),
            made_bytes: 0,
            made_most: shares.made,
            memory,
        }
    }

    /// Seals content; the pointer is final after [`FoldSink::settle`] or [`FoldSink::finish`].
    pub(crate) fn data(&mut self, plaintext: &[u8]) -> Result<Pointer> {
        let prepared = self.prepare(FrameKind::Data, plaintext, Compression::Try)?;
        self.append(&prepared)
    }

    /// All data is in: much of it gets packs of its own, little shares one with the nodes.
    pub(crate) fn end_of_data(&mut self) -> Result<()> {
        match &self.filling {
            Some(filling) if filling.bytes.len() >= JOINT_BELOW => self.freeze(),
            _ => Ok(()),
        }
    }

    /// The place as it is known by now.
    pub(crate) fn settle(&self, pointer: Pointer) -> Pointer {
        settle(&self.named, pointer)
    }

    /// Freezes what is left and syncs the outbox folder.
    pub(crate) fn finish(mut self) -> Result<Made> {
        self.freeze()?;
        self.outbox.sync()?;
        // From here on they are the fold's, and stay.
        let named = std::mem::take(&mut self.named);
        Ok(Made { named })
    }

    /// Keeps a node until its pack has a name.
    fn keep(&mut self, child: Child, node: Node) {
        self.made_bytes += weight(&node) as usize;
        self.made.push_back((child, Arc::new(node)));
        while self.made_bytes > self.made_most
            && let Some((_, oldest)) = self.made.pop_front()
        {
            self.made_bytes -= weight(&oldest) as usize;
        }
    }

    fn prepare<'a>(
        &self,
        kind: FrameKind,
        plaintext: impl Into<Cow<'a, [u8]>>,
        compression: Compression,
    ) -> Result<Prepared<'a>> {
        prepare(self.ring.structure(), kind, plaintext, compression)
            .map_err(|error| Error::of_object("frame of a fold", error))
    }

    fn append(&mut self, prepared: &Prepared) -> Result<Pointer> {
        let length = prepared.frame_length();
        if self
            .filling
            .as_ref()
            .is_some_and(|filling| !filling.has_room(length, self.full))
        {
            self.freeze()?;
        }
        if self.filling.is_none() {
            self.filling = Some(Filling::new(
                &self.ring,
                self.expected.min(self.full as usize),
            )?);
        }
        let filling = self.filling.as_mut().expect("it was just made");
        let offset = u32::try_from(filling.bytes.len()).expect("a pack is at most 16 MiB");
        filling.keys.seal(offset, prepared, &mut filling.bytes);
        filling.frames += 1;
        let place = Place::Open {
            salt: filling.preamble.salt,
            offset,
        };
        Ok(Pointer {
            place,
            stored: prepared.stored_length(),
            digest: prepared.digest(),
        })
    }

    fn freeze(&mut self) -> Result<()> {
        let Some(filling) = self.filling.take() else {
            return Ok(());
        };
        let Filling {
            preamble,
            keys,
            mut bytes,
            frames,
        } = filling;
        keys.close(&mut bytes, frames, PackSize::Padded)
            .map_err(|error| Error::of_object("pack", error))?;
        self.expected = self.expected.saturating_sub(bytes.len());
        let name = PackName::of(&ObjectHash::of(&bytes));
        self.outbox.add(name, &bytes)?;
        self.named.insert(
            preamble.salt,
            PackRef {
                name,
                salt: preamble.salt,
                epoch: preamble.epoch,
            },
        );
        self.made_bytes = 0;
        for (child, node) in std::mem::take(&mut self.made) {
            let child = settle_child(&self.named, child);
            let node = Arc::new(settle_node(&self.named, &node));
            self.memory.insert(&child, node);
        }
        Ok(())
    }
}

/// A fold that failed leaves no packs behind: the next one makes others, and a full disk would fill with them.
impl Drop for FoldSink {
    fn drop(&mut self) {
        for pack in self.named.values() {
            if let Err(error) = self.outbox.remove(pack.name) {
                log::debug!("{error}");
            }
        }
    }
}

impl Filling {
    fn new(ring: &Keyring, room: usize) -> Result<Self> {
        let fresh = PackKeys::fresh(ring, Purpose::Pack);
        let (preamble, keys) = fresh.map_err(|error| Error::of_object("pack", error))?;
        let mut bytes = Vec::with_capacity(room);
        bytes.extend_from_slice(&preamble.encode());
        Ok(Self {
            preamble,
            keys,
            bytes,
            frames: 0,
        })
    }

    fn has_room(&self, length: u32, full: u32) -> bool {
        self.bytes.len() + (length + END_FRAME) as usize <= full as usize
    }
}

impl Sink for FoldSink {
    fn put(&mut self, node: Node) -> Result<Child> {
        let mut node = settle_node(&self.named, &node);
        let failed = |error| Error::of_object("tree node", error);
        let mut salt = self
            .filling
            .as_ref()
            .map_or(Salt([0; 16]), |filling| filling.preamble.salt);
        let plaintext = node.encode(salt).map_err(failed)?;
        let mut prepared = self.prepare(FrameKind::Node, plaintext, Compression::Off)?;
        if self
            .filling
            .as_ref()
            .is_some_and(|filling| !filling.has_room(prepared.frame_length(), self.full))
        {
            // What was "this same pack" gets a name now.
            self.freeze()?;
            node = settle_node(&self.named, &node);
            salt = Salt([0; 16]);
            let plaintext = node.encode(salt).map_err(failed)?;
            prepared = self.prepare(FrameKind::Node, plaintext, Compression::Off)?;
        }
        let pointer = self.append(&prepared)?;
        let child = Child {
            pointer,
            hash: node.logical_hash(self.ring.structure()),
            sums: node.sums(),
        };
        self.keep(child, node);
        Ok(child)
    }
}

impl Made {
    /// A child with its final place.
    pub(crate) fn child(&self, child: Child) -> Child {
        settle_child(&self.named, child)
    }
}

fn settle(named: &HashMap<Salt, PackRef>, pointer: Pointer) -> Pointer {
    match pointer.place {
        Place::Open { salt, offset } => match named.get(&salt) {
            Some(pack) => Pointer {
                place: Place::Pack {
                    pack: *pack,
                    offset,
                },
                ..pointer
            },
            None => pointer,
        },
        Place::Pack { .. } => pointer,
    }
}

fn settle_child(named: &HashMap<Salt, PackRef>, child: Child) -> Child {
    Child {
        pointer: settle(named, child.pointer),
        ..child
    }
}

fn settle_value(named: &HashMap<Salt, PackRef>, value: &Arc<Value>) -> Arc<Value> {
    match &**value {
        Value::Spilled { length, pointer } => Arc::new(Value::Spilled {
            length: *length,
            pointer: settle(named, *pointer),
        }),
        Value::Record(Record::Block(block))
            if block.pieces.iter().any(|piece| is_open(&piece.content)) =>
        {
            let mut block: Block = block.clone();
            for piece in &mut block.pieces {
                if let Content::Frame(pointer) = &mut piece.content {
                    *pointer = settle(named, *pointer);
                }
            }
            Arc::new(Value::Record(Record::Block(block)))
        }
        _ => value.clone(),
    }
}

fn is_open(content: &Content) -> bool {
    matches!(
        content,
        Content::Frame(Pointer {
            place: Place::Open { .. },
            ..
        })
    )
}

fn settle_node(named: &HashMap<Salt, PackRef>, node: &Node) -> Node {
    let entries = match &node.entries {
        Entries::Leaf(entries) => Entries::Leaf(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), settle_value(named, value)))
                .collect(),
        ),
        Entries::Inner(children) => Entries::Inner(
            children
                .iter()
                .map(|(key, child)| (key.clone(), settle_child(named, *child)))
                .collect(),
        ),
    };
    Node {
        level: node.level,
        entries,
    }
}
