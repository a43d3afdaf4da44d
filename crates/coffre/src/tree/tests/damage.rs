//! Nodes that are withheld, altered or swapped: a typed error, never a panic and never a wrong record.

use std::sync::Arc;

use coffre_format::crypto::key::Keyring;
use coffre_format::frame::Compression;
use coffre_format::frame::FrameKind;
use coffre_format::frame::prepare;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::name::ObjectName;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::pack::PackKeys;
use coffre_format::pack::PackSize;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use tempfile::TempDir;

use super::Memory;
use super::Records;
use super::Universe;
use super::records::puts;
use super::records::stored;
use crate::error::Error;
use crate::error::Result;
use crate::store::Outbox;
use crate::store::Reader;
use crate::store::Store;
use crate::tree;
use crate::tree::Changes;
use crate::tree::Nodes;
use crate::tree::Sink;
use crate::tree::Source;

#[test]
fn an_edit_fails_with_the_read_that_fails() {
    let universe = Universe::whole();
    let memory = Memory::new(universe.ring.clone());
    let records: Records = universe.keys.iter().cloned().zip(0..).collect();
    let root = memory.build(&records);
    let mut changes = Changes::default();
    changes.delete_range(universe.keys[100].clone(), universe.keys[900].clone());
    changes.put(universe.keys[1500].clone(), stored(&universe.keys[1500], 9));
    let expected = memory.edit(&root, &changes);
    let fetches = (0..)
        .take_while(|fetches| {
            memory.fail_after(Some(*fetches));
            let found = memory.try_edit(&root, &changes);
            is_missing_or(found, expected.hash, |root| root.hash)
        })
        .count();
    assert!(fetches > memory.levels(&root), "only {fetches} reads");
    memory.fail_after(None);
    let differences = memory.diff(&root, &expected, usize::MAX).unwrap();
    let fetches = (0..)
        .take_while(|fetches| {
            memory.fail_after(Some(*fetches));
            let found = memory.diff(&root, &expected, usize::MAX);
            is_missing_or(found, differences.clone(), |found| found)
        })
        .count();
    assert!(fetches > memory.levels(&root), "only {fetches} reads");
}

/// `false` once it succeeds, and then only with what is right.
fn is_missing_or<T, U: PartialEq>(found: Result<T>, right: U, of: impl Fn(T) -> U) -> bool {
    match found {
        Err(Error::Missing { .. }) => true,
        Err(error) => panic!("another error: {error}"),
        Ok(found) => {
            assert!(of(found) == right, "a wrong result");
            false
        }
    }
}

/// A tree in one pack.
struct Sealed {
    universe: Universe,
    records: Records,
    pack: PackName,
    bytes: Vec<u8>,
    root: Child,
    outbox: TempDir,
}

impl Sealed {
    fn new() -> Self {
        let universe = Universe::natural();
        let keys = universe.keys.iter().step_by(3);
        // Spilled values lie in other frames; here only nodes do.
        let keys = keys.filter(|key| key.tag() != Some(tag::XATTR)).cloned();
        let records: Records = keys.zip(0..).collect();
        let mut pack = Pack::new(&universe.ring);
        let nothing = tree::empty(&mut pack).unwrap();
        let source = Memory::new(universe.ring.clone());
        let changes = puts(&records);
        let structure = universe.ring.structure();
        // The empty tree is in both, at the same place of its own.
        let empty = Child {
            pointer: source.empty().pointer,
            ..nothing
        };
        let edit = tree::edit(&empty, &changes, structure, &source, &mut pack);
        let mut root = futures::executor::block_on(edit).unwrap();
        let (named, bytes) = pack.close();
        root.pointer = named_pointer(root.pointer, named);
        Self {
            universe,
            records,
            pack: named.name,
            bytes,
            root,
            outbox: tempfile::tempdir().unwrap(),
        }
    }

    /// Nodes from a store that offers these bytes, or nothing.
    async fn offering(&self, bytes: Option<Vec<u8>>) -> Nodes {
        let store = Store::memory();
        if let Some(bytes) = bytes {
            let name = ObjectName::Pack(self.pack);
            store.put(&name, bytes.into()).await.unwrap();
        }
        let outbox = Outbox::open(self.outbox.path()).unwrap();
        let reader = Reader::new(store, None, outbox);
        Nodes::new(reader, self.universe.ring.clone(), 4 << 20)
    }

    /// All nodes but the root, with their last keys.
    async fn below(&self, nodes: &Nodes) -> Vec<(Key, Child)> {
        let mut found: Vec<(Key, Child)> = Vec::new();
        let mut next = Some(self.root);
        let mut count = 0;
        while let Some(child) = next {
            if let Entries::Inner(children) = &nodes.fetch(&child).await.unwrap().entries {
                found.extend(children.iter().cloned());
            }
            next = found.get(count).map(|(_, child)| *child);
            count += 1;
        }
        found
    }

    /// What each way of reading the tree says, where all of them need the node that holds `key`.
    async fn errors(&self, nodes: &Nodes, root: &Child, key: &Key) -> Vec<Error> {
        let memory = Memory::new(self.universe.ring.clone());
        let mut changes = Changes::default();
        changes.put(key.clone(), stored(key, 1_000_001));
        let structure = self.universe.ring.structure();
        let edit = tree::edit(root, &changes, structure, nodes, &mut &memory).await;
        let both = Both(&memory, nodes);
        let diff = tree::diff(&memory.empty(), root, &both, usize::MAX).await;
        vec![
            nodes.get(root, key).await.unwrap_err(),
            nodes.range(root, key, &key.successor()).await.unwrap_err(),
            edit.unwrap_err(),
            diff.unwrap_err(),
        ]
    }

    async fn check_get(&self, nodes: &Nodes, key: &Key) {
        let found = nodes.get(&self.root, key).await.unwrap();
        assert_eq!(found, Some(self.record(key)));
    }

    fn record(&self, key: &Key) -> Record {
        match &*stored(key, self.records[key]) {
            Value::Record(record) => record.clone(),
            Value::Spilled { .. } => unreachable!("none of these keys is spilled"),
        }
    }
}

#[tokio::test]
async fn a_damaged_node_is_forged_and_the_others_are_read() {
    let sealed = Sealed::new();
    let whole = sealed.offering(Some(sealed.bytes.clone())).await;
    for key in sealed.records.keys() {
        sealed.check_get(&whole, key).await;
    }
    let below = sealed.below(&whole).await;
    assert!(below.len() > 100);
    for (key, child) in below.iter().step_by(7) {
        let Place::Pack { offset, .. } = child.pointer.place else {
            panic!("not frozen");
        };
        // Nonce, masked header and ciphertext.
        for at in [5, 30, 40] {
            let mut bytes = sealed.bytes.clone();
            bytes[offset as usize + at] ^= 1;
            let nodes = sealed.offering(Some(bytes)).await;
            for error in sealed.errors(&nodes, &sealed.root, key).await {
                let Error::Forged { object, .. } = &error else {
                    panic!("{error}");
                };
                assert!(object.contains(&sealed.pack.to_string()), "{object}");
            }
            let beyond = sealed.records.range(key.successor()..).next();
            let other = beyond.map_or(sealed.records.keys().next().unwrap(), |(key, _)| key);
            sealed.check_get(&nodes, other).await;
        }
    }
}

#[tokio::test]
async fn a_pack_that_is_gone_or_cut_says_so() {
    let sealed = Sealed::new();
    let key = sealed.records.keys().nth(50).unwrap();
    let nodes = sealed.offering(None).await;
    for error in sealed.errors(&nodes, &sealed.root, key).await {
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }
    // The root is the last node.
    let Place::Pack { offset, .. } = sealed.root.pointer.place else {
        panic!("not frozen");
    };
    for length in [40, offset as usize, offset as usize + 30] {
        let nodes = sealed.offering(Some(sealed.bytes[..length].to_vec())).await;
        for error in sealed.errors(&nodes, &sealed.root, key).await {
            assert!(matches!(error, Error::Truncated { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn an_authentic_node_in_the_place_of_another_is_forged() {
    let sealed = Sealed::new();
    let nodes = sealed.offering(Some(sealed.bytes.clone())).await;
    let below = sealed.below(&nodes).await;
    for (pair, step) in below.windows(2).zip(0..) {
        let [(key, right), (_, wrong)] = pair else {
            panic!("pairs");
        };
        let swapped = Child {
            pointer: wrong.pointer,
            ..*right
        };
        let fresh = sealed.offering(Some(sealed.bytes.clone())).await;
        for error in sealed.errors(&fresh, &swapped, key).await {
            assert!(matches!(error, Error::Forged { .. }), "{step}: {error}");
        }
    }
}

/// Nodes in memory, and the others from the store.
struct Both<'a>(&'a Memory, &'a Nodes);

impl Source for Both<'_> {
    async fn fetch(&self, child: &Child) -> Result<Arc<Node>> {
        match self.0.fetch(child).await {
            Ok(node) => Ok(node),
            Err(_) => self.1.fetch(child).await,
        }
    }
}

/// A pack of nodes.
struct Pack<'a> {
    ring: &'a Keyring,
    preamble: Preamble,
    keys: PackKeys,
    bytes: Vec<u8>,
    frames: u32,
}

impl<'a> Pack<'a> {
    fn new(ring: &'a Keyring) -> Self {
        let preamble = Preamble {
            purpose: Purpose::Pack,
            epoch: ring.current().epoch,
            salt: Salt([3; 16]),
        };
        Self {
            ring,
            keys: PackKeys::new(ring, &preamble).unwrap(),
            bytes: preamble.encode().to_vec(),
            preamble,
            frames: 0,
        }
    }

    fn close(mut self) -> (PackRef, Vec<u8>) {
        let closed = self
            .keys
            .close(&mut self.bytes, self.frames, PackSize::Padded);
        closed.unwrap();
        let named = PackRef {
            name: PackName::of(&ObjectHash::of(&self.bytes)),
            salt: self.preamble.salt,
            epoch: self.preamble.epoch,
        };
        (named, self.bytes)
    }
}

impl Sink for Pack<'_> {
    fn put(&mut self, node: Node) -> Result<Child> {
        let structure = self.ring.structure();
        let plaintext = node.encode(self.preamble.salt).unwrap();
        let prepared = prepare(structure, FrameKind::Node, &plaintext, Compression::Off).unwrap();
        let start = self.bytes.len();
        let offset = u32::try_from(start).unwrap();
        self.keys.seal(offset, &prepared, &mut self.bytes);
        self.frames += 1;
        let place = Place::Open {
            salt: self.preamble.salt,
            offset,
        };
        Ok(Child {
            pointer: Pointer {
                place,
                stored: prepared.stored_length(),
                digest: prepared.digest(),
            },
            hash: node.logical_hash(structure),
            sums: node.sums(),
        })
    }
}

/// The pointer once the pack has a name.
fn named_pointer(pointer: Pointer, pack: PackRef) -> Pointer {
    let Place::Open { offset, .. } = pointer.place else {
        panic!("named already");
    };
    Pointer {
        place: Place::Pack { pack, offset },
        ..pointer
    }
}
