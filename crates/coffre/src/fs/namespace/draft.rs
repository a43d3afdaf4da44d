//! An operation in the making: edits so far, and inode records that it changes, each put once.

use std::collections::BTreeMap;
use std::collections::btree_map;

use coffre_format::id::Inode;
use coffre_format::record::Block;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::transaction::Edit;

use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Gather;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::tree::Resident;

pub(super) struct Draft<'a, R: Resident> {
    pub(super) view: &'a View<'a, R>,
    pub(super) context: Context,
    edits: Vec<Edit>,
    inodes: BTreeMap<Inode, InodeRecord>,
}

impl<'a, R: Resident> Draft<'a, R> {
    pub(super) fn new(view: &'a View<'a, R>, context: Context) -> Self {
        Self {
            view,
            context,
            edits: Vec::new(),
            inodes: BTreeMap::new(),
        }
    }

    /// The record of an inode, to be changed; it is put when the operation is done.
    pub(super) fn inode(&mut self, inode: Inode) -> Step<&mut InodeRecord> {
        let record = match self.inodes.entry(inode) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(vacant) => vacant.insert(self.view.inode(inode)?),
        };
        record.stamp = self.context.stamp;
        Ok(record)
    }

    /// The record of an inode as it is now in this operation.
    pub(super) fn look(&self, inode: Inode) -> Step<InodeRecord> {
        match self.inodes.get(&inode) {
            Some(known) => Ok(known.clone()),
            None => self.view.inode(inode),
        }
    }

    /// As [`Draft::inode`], with its ctime set to now.
    pub(super) fn changed(&mut self, inode: Inode) -> Step<&mut InodeRecord> {
        let now = self.context.now;
        let record = self.inode(inode)?;
        record.ctime = now;
        Ok(record)
    }

    /// As [`Draft::inode`], with its mtime and ctime set to now.
    pub(super) fn modified(&mut self, inode: Inode) -> Step<&mut InodeRecord> {
        let now = self.context.now;
        let record = self.changed(inode)?;
        record.mtime = now;
        Ok(record)
    }

    /// A new inode.
    pub(super) fn add(&mut self, inode: Inode, record: InodeRecord) {
        self.inodes.insert(inode, record);
    }

    pub(super) fn put(&mut self, key: Key, record: Record) {
        self.edits.push(Edit::Put(key, Value::Record(record)));
    }

    /// Puts a block, or removes one that is all hole.
    pub(super) fn put_block(&mut self, inode: Inode, index: u64, block: Block) {
        let key = Key::block(inode, index);
        if block.pieces.is_empty() {
            self.delete(key);
        } else {
            self.put(key, Record::Block(block));
        }
    }

    pub(super) fn splice(&mut self, key: Key, piece: coffre_format::record::Piece) {
        self.edits.push(Edit::Splice { key, piece });
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.edits.push(Edit::Delete(key));
    }

    pub(super) fn delete_range(&mut self, start: Key, end: Key) {
        self.edits.push(Edit::DeleteRange(start, end));
    }

    /// Removes everything under an inode, its changes so far included.
    pub(super) fn delete_all(&mut self, inode: Inode) {
        self.inodes.remove(&inode);
        let (start, end) = Key::all_of(inode);
        self.delete_range(start, end);
    }

    /// Ends the operation, once every leaf that the edits touch is at hand.
    pub(super) fn finish<T>(mut self, value: T) -> Step<Outcome<T>> {
        for (inode, record) in std::mem::take(&mut self.inodes) {
            self.put(Key::inode(inode), Record::Inode(record));
        }
        let mut gather = Gather::default();
        for edit in &self.edits {
            match edit {
                Edit::Put(key, _) => {
                    gather.take(self.view.touch(key))?;
                }
                // Removing a key that ends a node joins that node with the next one.
                Edit::Delete(key) => {
                    gather.take(self.view.touch(key))?;
                    gather.take(self.view.touch(&key.successor()))?;
                }
                Edit::DeleteRange(start, end) => {
                    gather.take(self.view.touch(start))?;
                    gather.take(self.view.touch(end))?;
                }
                Edit::Splice { .. } => {}
            }
        }
        gather.done()?;
        Ok(Outcome {
            value,
            edits: self.edits,
        })
    }
}
