//! Applying edits to changes, the same way when an operation happens and when the journal is replayed.

use std::sync::Arc;

use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::transaction::Edit;

use crate::fs::blocks;
use crate::tree::Changes;

/// A splice into a block that the changes do not hold: the journal it came from is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a write into a block that no earlier edit has put ({key:?})")]
pub struct Misapplied {
    /// The block.
    pub key: Key,
}

/// Applies one edit.
pub fn apply(changes: &mut Changes, edit: &Edit) -> Result<(), Misapplied> {
    match edit {
        Edit::Put(key, value) => changes.put(key.clone(), Arc::new(value.clone())),
        Edit::Delete(key) => changes.delete(key.clone()),
        Edit::DeleteRange(start, end) => changes.delete_range(start.clone(), end.clone()),
        Edit::Splice { key, piece } => {
            let Some(Some(value)) = changes.get(key) else {
                return Err(Misapplied { key: key.clone() });
            };
            let Value::Record(Record::Block(block)) = &**value else {
                return Err(Misapplied { key: key.clone() });
            };
            let block = blocks::coalesce_bytes(blocks::overlay(block, piece.clone()));
            let value = Value::Record(Record::Block(block));
            changes.put(key.clone(), Arc::new(value));
        }
    }
    Ok(())
}
