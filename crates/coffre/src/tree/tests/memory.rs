//! Nodes in memory, written down as they come, with every read and write counted.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use coffre_format::crypto::key::Keyring;
use coffre_format::frame::FRAME_OVERHEAD;
use coffre_format::id::Digest;
use coffre_format::id::Epoch;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Value;
use futures::executor::block_on;

use super::Records;
use super::records;
use crate::error::Error;
use crate::error::Result;
use crate::tree;
use crate::tree::Changes;
use crate::tree::Difference;
use crate::tree::Need;
use crate::tree::Resident;
use crate::tree::Sink;
use crate::tree::Source;

const SALT: Salt = Salt([1; 16]);
/// Ciphertext of a node, as pointers tell it, in bytes.
const STORED: u32 = 100;

/// A store of nodes.
pub(super) struct Memory {
    ring: Arc<Keyring>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: HashMap<Place, Arc<Node>>,
    /// Places fetched since the last look.
    read: Vec<Place>,
    /// Places written since the last look.
    written: Vec<Place>,
    /// Fetches that succeed before one fails, once.
    fail_after: Option<usize>,
}

/// What happened since the last look.
pub(super) struct Traffic {
    /// Nodes read, each once.
    pub(super) read: HashSet<Place>,
    /// Nodes written.
    pub(super) written: HashSet<Place>,
}

impl Memory {
    pub(super) fn new(ring: Arc<Keyring>) -> Self {
        Self {
            ring,
            state: Mutex::default(),
        }
    }

    pub(super) fn empty(&self) -> Child {
        settled(tree::empty(&mut &*self).unwrap())
    }

    /// A tree of these records, made at once.
    pub(super) fn build(&self, records: &Records) -> Child {
        self.edit(&self.empty(), &records::puts(records))
    }

    pub(super) fn edit(&self, root: &Child, changes: &Changes) -> Child {
        self.try_edit(root, changes).unwrap()
    }

    pub(super) fn try_edit(&self, root: &Child, changes: &Changes) -> Result<Child> {
        let keys = self.ring.structure();
        block_on(tree::edit(root, changes, keys, self, &mut &*self)).map(settled)
    }

    pub(super) fn diff(
        &self,
        old: &Child,
        new: &Child,
        limit: usize,
    ) -> Result<Option<Vec<Difference>>> {
        block_on(tree::diff(old, new, self, limit))
    }

    /// Forgets what was counted and answers it.
    pub(super) fn traffic(&self) -> Traffic {
        let mut state = self.state();
        Traffic {
            read: state.read.drain(..).collect(),
            written: state.written.drain(..).collect(),
        }
    }

    /// From now on this many fetches succeed, and the next one does not (but those after it do).
    pub(super) fn fail_after(&self, fetches: Option<usize>) {
        self.state().fail_after = fetches;
    }

    pub(super) fn at(&self, place: &Place) -> Arc<Node> {
        self.state().nodes[place].clone()
    }

    /// Levels of a tree.
    pub(super) fn levels(&self, root: &Child) -> usize {
        usize::from(self.at(&root.pointer.place).level) + 1
    }

    /// All nodes of a tree, parents first.
    pub(super) fn children(&self, root: &Child) -> Vec<Child> {
        let mut found = vec![*root];
        let mut next = 0;
        while let Some(child) = found.get(next) {
            if let Entries::Inner(children) = &self.at(&child.pointer.place).entries {
                found.extend(children.iter().map(|(_, child)| *child));
            }
            next += 1;
        }
        found
    }

    /// Their places.
    pub(super) fn places(&self, root: &Child) -> HashSet<Place> {
        let children = self.children(root);
        children.iter().map(|child| child.pointer.place).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Source for Memory {
    async fn fetch(&self, child: &Child) -> Result<Arc<Node>> {
        let place = child.pointer.place;
        let mut state = self.state();
        if let Some(left) = &mut state.fail_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    state.fail_after = None;
                    return Err(missing(&place));
                }
            }
        }
        state.read.push(place);
        state
            .nodes
            .get(&place)
            .cloned()
            .ok_or_else(|| missing(&place))
    }
}

impl Sink for &Memory {
    /// As a pack does: the parent is told an open place, which is final once the edit has ended.
    fn put(&mut self, mut node: Node) -> Result<Child> {
        let mut state = self.state();
        let hash = node.logical_hash(self.ring.structure());
        let sums = node.sums();
        if let Entries::Inner(children) = &mut node.entries {
            for (_, child) in children {
                *child = settled(*child);
            }
        }
        let offset = state.nodes.len() as u32 * (STORED + FRAME_OVERHEAD);
        let pointer = Pointer {
            place: Place::Open { salt: SALT, offset },
            stored: STORED,
            digest: Digest(hash.0),
        };
        let child = Child {
            pointer,
            hash,
            sums,
        };
        let place = settled(child).pointer.place;
        state.nodes.insert(place, Arc::new(node));
        state.written.push(place);
        Ok(child)
    }
}

/// All nodes and spilled values at hand.
impl Resident for Memory {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        self.state().nodes.get(&child.pointer.place).cloned()
    }

    fn spill(&self, _tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        Some(records::unspilled(pointer))
    }
}

/// Only what was asked for is at hand.
pub(super) struct Asked<'a> {
    memory: &'a Memory,
    here: HashSet<Pointer>,
    /// Answers that were a Need.
    pub(super) rounds: usize,
}

impl<'a> Asked<'a> {
    pub(super) fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            here: HashSet::new(),
            rounds: 0,
        }
    }

    /// Runs it again until everything that it needs is here.
    pub(super) fn until_ready<T>(
        &mut self,
        ask: impl Fn(&Self) -> std::result::Result<T, Need>,
    ) -> T {
        loop {
            let need = match ask(self) {
                Ok(value) => return value,
                Err(need) => need,
            };
            let nodes = need.nodes.iter().map(|child| child.pointer);
            let spills = need.spills.iter().map(|(_, pointer)| *pointer);
            let before = self.here.len();
            self.here.extend(nodes.chain(spills));
            assert!(self.here.len() > before, "it asks for what it has");
            self.rounds += 1;
        }
    }
}

impl Resident for Asked<'_> {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        let here = self.here.contains(&child.pointer);
        here.then(|| self.memory.at(&child.pointer.place))
    }

    fn spill(&self, _tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        let here = self.here.contains(pointer);
        here.then(|| records::unspilled(pointer))
    }
}

/// The place as it is once the pack is frozen.
fn settled(mut child: Child) -> Child {
    if let Place::Open { salt, offset } = child.pointer.place {
        let pack = PackRef {
            name: PackName([2; 16]),
            salt,
            epoch: Epoch(1),
        };
        child.pointer.place = Place::Pack { pack, offset };
    }
    child
}

fn missing(place: &Place) -> Error {
    Error::Missing {
        object: format!("{place:?}"),
        path: None,
    }
}
