//! Where a fold puts what it settles: data and node frames, in packs that go to the outbox.

use std::collections::HashMap;
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
use coffre_format::pack::PACK_FULL;
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
use crate::store::Outbox;
use crate::tree::Sink;

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
    /// Packs of this fold that have a name.
    named: HashMap<Salt, PackRef>,
    nodes: Vec<(Child, Arc<Node>)>,
}

/// What a fold made.
pub(crate) struct Made {
    /// Nodes with the places they are read from.
    pub(crate) nodes: Vec<(Child, Arc<Node>)>,
    named: HashMap<Salt, PackRef>,
}

impl FoldSink {
    pub(crate) fn new(ring: Arc<Keyring>, outbox: Outbox) -> Self {
        Self {
            ring,
            outbox,
            filling: None,
            named: HashMap::new(),
            nodes: Vec::new(),
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
        let nodes = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|(child, node)| {
                (
                    settle_child(&named, child),
                    Arc::new(settle_node(&named, &node)),
                )
            })
            .collect();
        Ok(Made { nodes, named })
    }

    fn prepare(
        &self,
        kind: FrameKind,
        plaintext: &[u8],
        compression: Compression,
    ) -> Result<Prepared> {
        prepare(self.ring.structure(), kind, plaintext, compression)
            .map_err(|error| Error::of_object("frame of a fold", error))
    }

    fn append(&mut self, prepared: &Prepared) -> Result<Pointer> {
        let length = prepared.frame_length();
        if self
            .filling
            .as_ref()
            .is_some_and(|filling| !filling.has_room(length))
        {
            self.freeze()?;
        }
        if self.filling.is_none() {
            self.filling = Some(Filling::new(&self.ring)?);
        }
        let filling = self.filling.as_mut().expect("it was just made");
        let offset = u32::try_from(filling.bytes.len()).expect("a pack is at most 16 MiB");
        filling
            .bytes
            .resize(filling.bytes.len() + length as usize, 0);
        filling
            .keys
            .seal(offset, prepared, &mut filling.bytes[offset as usize..]);
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
    fn new(ring: &Keyring) -> Result<Self> {
        let failed = |error| Error::of_object("pack", error);
        let salt = Salt::random().map_err(failed)?;
        let preamble = Preamble {
            purpose: Purpose::Pack,
            epoch: ring.current().epoch,
            salt,
        };
        let keys = PackKeys::new(ring, &preamble).map_err(failed)?;
        Ok(Self {
            preamble,
            keys,
            bytes: preamble.encode().to_vec(),
            frames: 0,
        })
    }

    fn has_room(&self, length: u32) -> bool {
        self.bytes.len() + (length + END_FRAME) as usize <= PACK_FULL as usize
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
        let mut plaintext = node.encode(salt).map_err(failed)?;
        let mut prepared = self.prepare(FrameKind::Node, &plaintext, Compression::Off)?;
        if self
            .filling
            .as_ref()
            .is_some_and(|filling| !filling.has_room(prepared.frame_length()))
        {
            // What was "this same pack" gets a name now.
            self.freeze()?;
            node = settle_node(&self.named, &node);
            salt = Salt([0; 16]);
            plaintext = node.encode(salt).map_err(failed)?;
            prepared = self.prepare(FrameKind::Node, &plaintext, Compression::Off)?;
        }
        let pointer = self.append(&prepared)?;
        let child = Child {
            pointer,
            hash: node.logical_hash(self.ring.structure()),
            sums: node.sums(),
        };
        self.nodes.push((child, Arc::new(node)));
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
