//! What an operation sees: the active changes over the frozen ones over the folded tree.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::Block;
use coffre_format::record::Child;
use coffre_format::record::Entry;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Stamp;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;

use crate::error::Refusal;
use crate::tree;
use crate::tree::Changes;
use crate::tree::Need;
use crate::tree::Resident;

/// Records of the base tree that one further look takes at most.
const LOOK_MAX: usize = 4096;

/// The file system at one moment.
pub struct View<'a, R: Resident> {
    /// Changes since the last fold began.
    pub active: &'a Changes,
    /// Changes that a running fold is putting into the tree.
    pub frozen: Option<&'a Changes>,
    /// The folded tree.
    pub root: &'a Child,
    /// Its nodes that are in memory.
    pub resident: &'a R,
}

/// Why an operation did not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// These must be fetched; then the same function runs again.
    Need(Need),
    /// It cannot be done as asked.
    Refused(Refusal),
}

/// Result of one look at a view.
pub type Step<T> = std::result::Result<T, Stop>;

/// When an operation happens, by the clock and in the vault's order.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Time for mtime and ctime.
    pub now: Timestamp,
    /// Stamp for changed inodes.
    pub stamp: Stamp,
}

/// What an operation answers, and the edits that make it so.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The answer.
    pub value: T,
    /// The edits, in order; applied and journaled as a whole.
    pub edits: Vec<Edit>,
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<R: Resident> View<'_, R> {
    /// The record under this key, if there is one.
    pub fn get(&self, key: &Key) -> Step<Option<Arc<Value>>> {
        for changes in self.layers() {
            match changes.get(key) {
                Some(Some(value)) => return Ok(Some(self.resolve(key, value)?)),
                Some(None) => return Ok(None),
                None if changes.covers(key) => return Ok(None),
                None => {}
            }
        }
        match tree::find(self.root, key, self.resident)? {
            Some(value) => Ok(Some(self.resolve(key, &value)?)),
            None => Ok(None),
        }
    }

    /// The record of an inode; `Stale` if it is gone.
    pub fn inode(&self, inode: Inode) -> Step<InodeRecord> {
        match self.get(&Key::inode(inode))?.as_deref() {
            Some(Value::Record(Record::Inode(record))) => Ok(record.clone()),
            _ => Err(Refusal::Stale.into()),
        }
    }

    /// The entry of a directory under this name.
    pub fn entry(&self, directory: Inode, name: &[u8]) -> Step<Option<Entry>> {
        Ok(match self.get(&Key::entry(directory, name))?.as_deref() {
            Some(Value::Record(Record::Entry(entry))) => Some(*entry),
            _ => None,
        })
    }

    /// A block of a file; a missing one is all hole.
    pub fn block(&self, inode: Inode, index: u64) -> Step<Block> {
        Ok(match self.get(&Key::block(inode, index))?.as_deref() {
            Some(Value::Record(Record::Block(block))) => block.clone(),
            _ => Block::default(),
        })
    }

    /// An extended attribute of an inode.
    pub fn xattr(&self, inode: Inode, name: &[u8]) -> Step<Option<Bytes>> {
        Ok(match self.get(&Key::xattr(inode, name))?.as_deref() {
            Some(Value::Record(Record::Xattr(value))) => Some(value.clone()),
            _ => None,
        })
    }

    /// Up to `limit` names of an inode: the directories and the names in them.
    pub fn links(&self, inode: Inode, limit: usize) -> Step<Vec<(Inode, Vec<u8>)>> {
        let (start, end) = Key::tagged(inode, tag::LINK);
        let links = self.keys(&start, &end, limit)?;
        Ok(links.iter().filter_map(link_of).collect())
    }

    /// Up to `limit` records from `start` (inclusive) to `end` (exclusive), in order.
    pub fn scan(&self, start: &Key, end: &Key, limit: usize) -> Step<Vec<(Key, Arc<Value>)>> {
        let mut found = self.merged(start, end, limit)?;
        let mut gather = Gather::default();
        for (key, value) in &mut found {
            if matches!(**value, Value::Spilled { .. })
                && let Some(resolved) = gather.take(self.resolve(key, value))?
            {
                *value = resolved;
            }
        }
        gather.done()?;
        Ok(found)
    }

    /// As [`View::scan`], without the values: spilled ones are not fetched.
    pub fn keys(&self, start: &Key, end: &Key, limit: usize) -> Step<Vec<Key>> {
        let found = self.merged(start, end, limit)?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    /// Makes sure that the leaf which holds this key, or would hold it, is at hand.
    ///
    /// Every edit asks for the leaves it touches before it is accepted, so that folding never waits
    /// for the store. A key that the changes hold was asked for when it was put there.
    pub(super) fn touch(&self, key: &Key) -> Step<()> {
        let known = self.layers().any(|changes| changes.get(key).is_some());
        if !known {
            tree::find(self.root, key, self.resident)?;
        }
        Ok(())
    }

    /// The changes, newest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Changes> {
        std::iter::once(self.active).chain(self.frozen)
    }

    fn resolve(&self, key: &Key, value: &Arc<Value>) -> Step<Arc<Value>> {
        let Value::Spilled { pointer, .. } = &**value else {
            return Ok(Arc::clone(value));
        };
        let tag = key.tag().unwrap_or_default();
        self.resident.spill(tag, pointer).ok_or_else(|| {
            Stop::Need(Need {
                spills: vec![(tag, *pointer)],
                ..Need::default()
            })
        })
    }

    /// The layers as one. The tree is asked for as many records as are still wanted; where many of
    /// them turn out to be deleted, for more and more.
    fn merged(&self, start: &Key, end: &Key, limit: usize) -> Step<Vec<(Key, Arc<Value>)>> {
        // Where nothing is changed there is nothing to merge.
        if start < end && self.layers().all(Changes::is_empty) {
            return Ok(tree::scan(self.root, start, end, limit, self.resident)?);
        }
        let mut found = Vec::new();
        let mut from = start.clone();
        let mut look = 0;
        while found.len() < limit && from < *end {
            look = (look * 2).clamp(limit - found.len(), LOOK_MAX.max(limit));
            let below = self.after_deleted(&from);
            let base = if below < *end {
                tree::scan(self.root, &below, end, look, self.resident)?
            } else {
                Vec::new()
            };
            let until = match base.last() {
                Some((last, _)) if base.len() >= look => last.successor(),
                _ => end.clone(),
            };
            self.merge(&from, &until, base, limit, &mut found);
            from = until;
        }
        Ok(found)
    }

    /// Merges the changes in this range with the base records of the same range.
    fn merge(
        &self,
        from: &Key,
        until: &Key,
        base: Vec<(Key, Arc<Value>)>,
        limit: usize,
        found: &mut Vec<(Key, Arc<Value>)>,
    ) {
        let mut active = self.active.range(from, until).peekable();
        let mut frozen = self
            .frozen
            .into_iter()
            .flat_map(|changes| changes.range(from, until))
            .peekable();
        let mut base = base.into_iter().peekable();
        while found.len() < limit {
            let heads = [
                active.peek().map(|(key, _)| *key),
                frozen.peek().map(|(key, _)| *key),
                base.peek().map(|(key, _)| key),
            ];
            let Some(key) = heads.into_iter().flatten().min().cloned() else {
                break;
            };
            // All layers step past the key; the topmost that says anything decides.
            let top = active.next_if(|(at, _)| **at == key);
            let middle = frozen.next_if(|(at, _)| **at == key);
            let bottom = base.next_if(|(at, _)| *at == key);
            let value = if let Some((_, value)) = top {
                value.cloned()
            } else if self.active.covers(&key) {
                None
            } else if let Some((_, value)) = middle {
                value.cloned()
            } else if self.frozen.is_some_and(|changes| changes.covers(&key)) {
                None
            } else {
                bottom.map(|(_, value)| value)
            };
            found.extend(value.map(|value| (key, value)));
        }
    }

    /// The first key at or after `from` that no deleted range covers.
    fn after_deleted(&self, from: &Key) -> Key {
        let mut from = from.clone();
        while let Some(end) = self
            .layers()
            .find_map(|changes| changes.covered_until(&from))
        {
            from = end.clone();
        }
        from
    }
}

/// Collects what several looks need, so that it is fetched at once.
#[derive(Default)]
pub(super) struct Gather {
    need: Need,
    seen: HashSet<coffre_format::record::Pointer>,
}

impl Gather {
    /// The value, or `None` with its need noted.
    pub(super) fn take<T>(&mut self, step: Step<T>) -> Step<Option<T>> {
        match step {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Need(need)) => {
                for child in need.nodes {
                    if self.seen.insert(child.pointer) {
                        self.need.nodes.push(child);
                    }
                }
                for (tag, pointer) in need.spills {
                    if self.seen.insert(pointer) {
                        self.need.spills.push((tag, pointer));
                    }
                }
                Ok(None)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Stops if anything is needed.
    pub(super) fn done(self) -> Step<()> {
        if self.seen.is_empty() {
            return Ok(());
        }
        Err(self.need.into())
    }
}

/// The directory and name that a Link key leads back to.
pub(super) fn link_of(key: &Key) -> Option<(Inode, Vec<u8>)> {
    let (parent, name) = key.rest().split_first_chunk::<8>()?;
    Some((Inode(u64::from_be_bytes(*parent)), name.to_vec()))
}

/// The index in the key of a block.
pub(crate) fn index_of(key: &Key) -> Option<u64> {
    let bytes = key.rest().first_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}
