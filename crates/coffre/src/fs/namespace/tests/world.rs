//! A file system without a disk for tests: layers of changes over a tree in memory, of which only
//! some nodes are at hand, and folds that may run at any time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::id::DeviceId;
use coffre_format::id::Digest;
use coffre_format::id::Inode;
use coffre_format::id::LogicalHash;
use coffre_format::id::Salt;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Block;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Stamp;
use coffre_format::record::Sums;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::transaction::Edit;

use crate::error::Refusal;
use crate::fs::blocks;
use crate::fs::namespace::apply::apply;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::Stop;
use crate::fs::namespace::view::View;
use crate::tree;
use crate::tree::Changes;
use crate::tree::Resident;

pub(super) const DEVICE: DeviceId = DeviceId([9; 16]);
/// Records of one node; few, so that small trees are deep.
const FANOUT: usize = 5;
/// Longer attributes are spilled.
const SPILL: usize = 20;

/// Nodes, spilled values and frames "in the store", and which of them are at hand.
#[derive(Default)]
pub(super) struct Stored {
    nodes: HashMap<Pointer, Arc<Node>>,
    spills: HashMap<Pointer, Arc<Value>>,
    pub(super) frames: HashMap<Pointer, Bytes>,
    made: u32,
    here: RefCell<HashSet<Pointer>>,
}

impl Resident for Stored {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        let here = self.here.borrow().contains(&child.pointer);
        here.then(|| Arc::clone(&self.nodes[&child.pointer]))
    }

    fn spill(&self, _tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        let here = self.here.borrow().contains(pointer);
        here.then(|| Arc::clone(&self.spills[pointer]))
    }
}

impl Stored {
    fn pointer(&mut self) -> Pointer {
        self.made += 1;
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&self.made.to_be_bytes());
        let place = Place::Open {
            salt: Salt([1; 16]),
            offset: self.made,
        };
        Pointer {
            place,
            stored: 1,
            digest: Digest(digest),
        }
    }

    fn child(&mut self, level: u8, entries: Entries) -> Child {
        let pointer = self.pointer();
        self.nodes
            .insert(pointer, Arc::new(Node { level, entries }));
        Child {
            pointer,
            hash: LogicalHash(pointer.digest.0),
            sums: Sums::default(),
        }
    }

    /// A tree of these records.
    fn build(&mut self, records: Vec<(Key, Arc<Value>)>) -> Child {
        let mut children: Vec<(Key, Child)> = Vec::new();
        for leaf in records.chunks(FANOUT) {
            let last = leaf[leaf.len() - 1].0.clone();
            children.push((last, self.child(0, Entries::Leaf(leaf.to_vec()))));
        }
        let mut level = 0;
        while children.len() > 1 {
            level += 1;
            let below = std::mem::take(&mut children);
            for inner in below.chunks(FANOUT) {
                let last = inner[inner.len() - 1].0.clone();
                children.push((last, self.child(level, Entries::Inner(inner.to_vec()))));
            }
        }
        match children.pop() {
            Some((_, root)) => root,
            None => self.child(0, Entries::Leaf(Vec::new())),
        }
    }

    /// What the fold makes of a record: bytes become frames, long attributes are spilled.
    fn settle(&mut self, value: &Arc<Value>) -> Arc<Value> {
        match &**value {
            Value::Record(Record::Block(block)) => {
                let mut settled: Block = block.clone();
                for run in blocks::runs(block) {
                    let pointer = self.pointer();
                    let bytes = run.join();
                    let piece = Piece {
                        at: run.at,
                        len: run.len(),
                        skip: 0,
                        content: Content::Frame(pointer),
                    };
                    settled = blocks::overlay(&settled, piece);
                    self.frames.insert(pointer, bytes);
                }
                Arc::new(Value::Record(Record::Block(settled)))
            }
            Value::Record(Record::Xattr(bytes)) if bytes.len() > SPILL => {
                let pointer = self.pointer();
                self.spills.insert(pointer, Arc::clone(value));
                let length = bytes.len() as u32;
                Arc::new(Value::Spilled { length, pointer })
            }
            _ => Arc::clone(value),
        }
    }
}

/// The whole of it.
pub(super) struct World {
    active: Changes,
    frozen: Option<Changes>,
    root: Child,
    pub(super) stored: Stored,
    next: u64,
    pub(super) now: i64,
}

impl World {
    pub(super) fn new() -> Self {
        let time = Timestamp::default();
        let root = InodeRecord {
            kind: FileKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            rdev: 0,
            flags: 0,
            target: None,
            subdirectories: 0,
            stamp: stamp(0),
        };
        let root = Arc::new(Value::Record(Record::Inode(root)));
        let mut stored = Stored::default();
        let root = stored.build(vec![(Key::inode(Inode::ROOT), root)]);
        Self {
            active: Changes::default(),
            frozen: None,
            root,
            stored,
            next: 2,
            now: 0,
        }
    }

    pub(super) fn allocate_inode(&mut self) -> Inode {
        self.next += 1;
        Inode(self.next)
    }

    pub(super) fn context(&self) -> Context {
        Context {
            now: Timestamp {
                seconds: self.now,
                nanos: 0,
            },
            stamp: stamp(self.now as u64),
        }
    }

    /// Looks until everything that is needed is at hand.
    pub(super) fn look<T>(
        &self,
        operation: impl Fn(&View<Stored>) -> Step<T>,
    ) -> Result<T, Refusal> {
        let view = View {
            active: &self.active,
            frozen: self.frozen.as_ref(),
            root: &self.root,
            resident: &self.stored,
        };
        for _ in 0..100 {
            match operation(&view) {
                Ok(value) => return Ok(value),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                Err(Stop::Need(need)) => {
                    let mut here = self.stored.here.borrow_mut();
                    let wanted = need.nodes.iter().map(|child| child.pointer);
                    let wanted = wanted.chain(need.spills.iter().map(|(_, pointer)| *pointer));
                    let mut new = 0;
                    for pointer in wanted {
                        new += usize::from(here.insert(pointer));
                    }
                    assert!(new > 0, "a Need must name something that is not at hand");
                }
            }
        }
        panic!("an operation needs something in every one of 100 rounds");
    }

    /// Runs an operation and applies its edits.
    pub(super) fn run<T>(
        &mut self,
        operation: impl Fn(&View<Stored>, Context) -> Step<Outcome<T>>,
    ) -> Result<T, Refusal> {
        let context = self.context();
        let outcome = self.look(|view| operation(view, context))?;
        for edit in &outcome.edits {
            self.check_at_hand(edit);
        }
        for edit in &outcome.edits {
            apply(&mut self.active, edit).expect("only held blocks are spliced");
        }
        Ok(outcome.value)
    }

    /// Folding must not wait: the leaves that an edit touches are at hand.
    fn check_at_hand(&self, edit: &Edit) {
        let keys = match edit {
            Edit::Put(key, _) => vec![key.clone()],
            Edit::Delete(key) => vec![key.clone(), key.successor()],
            Edit::DeleteRange(start, end) => vec![start.clone(), end.clone()],
            Edit::Splice { .. } => vec![],
        };
        for key in keys {
            let mut layers = std::iter::once(&self.active).chain(&self.frozen);
            let held = layers.any(|changes| changes.get(&key).is_some());
            assert!(held || tree::find(&self.root, &key, &self.stored).is_ok());
        }
    }

    /// The store's nodes are no longer at hand.
    pub(super) fn forget(&mut self) {
        self.stored.here.borrow_mut().clear();
    }

    /// A fold begins, or the one that began ends.
    pub(super) fn fold(&mut self) {
        let Some(frozen) = self.frozen.take() else {
            self.frozen = Some(std::mem::take(&mut self.active));
            return;
        };
        let all: Vec<Pointer> = (self.stored.nodes.keys())
            .chain(self.stored.spills.keys())
            .copied()
            .collect();
        self.stored.here.borrow_mut().extend(all);
        let view = View {
            active: &frozen,
            frozen: None,
            root: &self.root,
            resident: &self.stored,
        };
        let records = everything(&view).expect("all nodes are at hand");
        let settled = records
            .into_iter()
            .map(|(key, value)| (key, self.stored.settle(&value)))
            .collect();
        self.root = self.stored.build(settled);
        self.forget();
    }

    pub(super) fn everything(&self) -> Vec<(Key, Arc<Value>)> {
        self.look(everything).expect("a scan is never refused")
    }
}

fn everything(view: &View<Stored>) -> Step<Vec<(Key, Arc<Value>)>> {
    let (start, end) = (Key::from_bytes(&[]), Key::from_bytes(&[0xff; 8]));
    view.scan(&start, &end, 1_000_000)
}

fn stamp(lamport: u64) -> Stamp {
    Stamp {
        lamport,
        device: DEVICE,
    }
}
