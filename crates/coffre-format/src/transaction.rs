//! What the journal holds: edits in transactions, checkpoints, watermarks.
use crate::error::Result;
use crate::id::*;
use crate::record::Child;
use crate::record::Content;
use crate::record::Key;
use crate::record::Value;

/// One change of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets a record.
    Put(Key, Value),
    /// Removes one record.
    Delete(Key),
    /// Removes all records from the first key (inclusive) to the second (exclusive).
    DeleteRange(Key, Key),
    /// Writes `len` bytes of `content` (after `skip`) at `at` of the Block under `key`, which an earlier edit of this journal has put.
    Splice {
        /// A Block key.
        key: Key,
        /// The piece that goes over what is there.
        piece: crate::record::Piece,
    },
}
/// The edits of one operation, applied as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its number.
    pub lsn: Lsn,
    /// Its edits, in order.
    pub edits: Vec<Edit>,
}
/// How far journal and open pack are known to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watermark {
    /// Segment number.
    pub segment: u64,
    /// Bytes of it.
    pub offset: u32,
    /// Open pack and bytes of it.
    pub pack: Option<(Salt, u32)>,
}
/// What every journal frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FrameHeader {
    /// Session that writes.
    pub session: SessionPrefix,
    /// First transaction in the frame, or the last before it.
    pub lsn: Lsn,
    /// D of the frame before, across segments.
    pub previous: Digest,
    /// What is synced so far.
    pub watermark: Watermark,
}
/// A folded state, and what of it is not in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folded tree.
    pub root: Child,
    /// Last transaction it contains.
    pub lsn: Lsn,
    /// Next free inode counter of this session.
    pub counter: u32,
    /// Packs in the outbox that the root may reach, in order of freezing.
    pub packs: Vec<crate::commit::AddedPack>,
    /// Commits that the root contains (becomes `merged`).
    pub merged: crate::commit::Vector,
}
/// A part of a run of frames that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Others follow.
    More,
    /// The last one.
    Last,
}
/// A journal frame's plaintext, decoded. `Transactions` carries the bytes of one part; parts are joined, then decoded with [`decode_transactions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalFrame {
    /// One part of encoded transactions.
    Transactions(FrameHeader, Part, Vec<u8>),
    /// A checkpoint.
    Checkpoint(FrameHeader, Box<Checkpoint>),
    /// A watermark.
    Watermark(FrameHeader),
}
/// Appends the encoding of one transaction to `out` (a length-prefixed unit; units are simply concatenated).
pub fn encode_transaction(transaction: &Transaction, out: &mut Vec<u8>) {
    todo!()
}
/// Reads all units of joined parts.
pub fn decode_transactions(bytes: &[u8]) -> Result<Vec<Transaction>> {
    todo!()
}
impl JournalFrame {
    /// The kind of frame it is sealed as.
    pub fn kind(&self) -> crate::frame::FrameKind {
        todo!()
    }
    /// The plaintext of the frame.
    pub fn encode(&self) -> Result<Vec<u8>> {
        todo!()
    }
    /// Reads one.
    pub fn decode(kind: crate::frame::FrameKind, plaintext: &[u8]) -> Result<Self> {
        todo!()
    }
}
#[allow(unused)]
fn in_work(_: Content) {}
