//! What transactions name that the durable checkpoint does not contain: nothing of it may leave this machine's folders.
//!
//! Neither the overlay nor the tree tells: a record that was overwritten a moment later is still in the journal,
//! and recovery goes through all of it.

use std::collections::BTreeSet;

use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::record::Content;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::transaction::Edit;

/// Packs by what names them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    /// That were open when a block was put into them.
    pub(crate) salts: BTreeSet<Salt>,
    /// That had a name already.
    pub(crate) packs: BTreeSet<PackName>,
}

impl Named {
    /// Takes note of what an edit names.
    pub(crate) fn note(&mut self, edit: &Edit) {
        match edit {
            Edit::Put(_, Value::Record(Record::Block(block))) => {
                let contents = block.pieces.iter().map(|piece| &piece.content);
                contents.for_each(|content| self.note_content(content));
            }
            Edit::Put(_, Value::Spilled { pointer, .. }) => self.note_pointer(pointer),
            Edit::Splice { piece, .. } => self.note_content(&piece.content),
            Edit::Put(..) | Edit::Delete(_) | Edit::DeleteRange(..) => {}
        }
    }

    /// Takes over what another one has noted.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.salts.append(&mut other.salts);
        self.packs.append(&mut other.packs);
    }

    fn note_content(&mut self, content: &Content) {
        if let Content::Frame(pointer) = content {
            self.note_pointer(pointer);
        }
    }

    fn note_pointer(&mut self, pointer: &Pointer) {
        match pointer.place {
            Place::Open { salt, .. } => drop(self.salts.insert(salt)),
            Place::Pack { pack, .. } => drop(self.packs.insert(pack.name)),
        }
    }
}
