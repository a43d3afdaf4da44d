//! What the journal holds: edits in transactions, checkpoints, watermarks.
//!
//! Unlike a node, a transaction may carry content itself (`Content::Bytes`) and name frames of packs that are
//! not frozen (`Place::Open`): it never leaves the machine that wrote it.

use serde::Deserialize;
use serde::Serialize;

use crate::codec::Cursor;
use crate::codec::decode;
use crate::codec::decode_bare;
use crate::codec::encode;
use crate::codec::put;
use crate::codec::put_bare;
use crate::codec::put_long;
use crate::commit::Vector;
use crate::error::FormatError;
use crate::error::Result;
use crate::frame::FrameKind;
use crate::id::Digest;
use crate::id::Lsn;
use crate::id::Salt;
use crate::id::SessionPrefix;
use crate::record::Child;
use crate::record::Key;
use crate::record::Piece;
use crate::record::Value;

const WHAT: &str = "journal frame";
/// Largest run of joined parts that is accepted, in bytes.
const JOINED_MOST: usize = 256 * 1024 * 1024;

/// One change of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// Sets a record.
    Put(Key, Value),
    /// Removes one record.
    Delete(Key),
    /// Removes all records from the first key (inclusive) to the second (exclusive).
    DeleteRange(Key, Key),
    /// Lays a piece over the Block under `key`, which an earlier edit of this journal has put.
    Splice {
        /// A Block key.
        key: Key,
        /// The piece that goes over what is there.
        piece: Piece,
    },
}
/// The edits of one operation, applied as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its number.
    pub lsn: Lsn,
    /// Its edits, in order.
    pub edits: Vec<Edit>,
}
/// How far journal and open pack are known to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Segment number.
    pub segment: u64,
    /// Bytes of it.
    pub offset: u32,
    /// Open pack and bytes of it.
    pub pack: Option<(Salt, u32)>,
}
/// What every journal frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
/// A folded state: recovery begins here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The folded tree.
    pub root: Child,
    /// Last transaction it contains.
    pub lsn: Lsn,
    /// Commits that the root contains (becomes `merged`).
    pub merged: Vector,
}

/// A part of a run of frames that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Others follow.
    More,
    /// The last one.
    Last,
}
/// A journal frame's plaintext, decoded. `Transactions` carries the bytes of one part; parts are joined, then
/// decoded with [`decode_transactions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalFrame {
    /// One part of encoded transactions.
    Transactions(FrameHeader, Part, Vec<u8>),
    /// A checkpoint.
    Checkpoint(FrameHeader, Box<Checkpoint>),
    /// A watermark.
    Watermark(FrameHeader),
}

/// Appends the encoding of one transaction to `out`: length u32 ‖ version ‖ postcard. Units are concatenated.
pub fn encode_transaction(transaction: &Transaction, out: &mut Vec<u8>) {
    put_long(out, |out| put(transaction, out));
}

/// Reads all units of joined parts.
pub fn decode_transactions(bytes: &[u8]) -> Result<Vec<Transaction>> {
    if bytes.len() > JOINED_MOST {
        return Err(FormatError::TooLarge {
            what: WHAT,
            limit: JOINED_MOST as u64,
        });
    }
    let mut cursor = Cursor::new(bytes, WHAT);
    let mut transactions = Vec::new();
    while !cursor.rest().is_empty() {
        let length = cursor.u32()? as usize;
        transactions.push(decode(cursor.slice(length)?, WHAT)?);
    }
    Ok(transactions)
}

/// Appends the plaintext of a frame of transactions, as [`JournalFrame::encode`] makes it.
pub fn encode_part(header: &FrameHeader, part: Part, bytes: &[u8], out: &mut Vec<u8>) {
    encode_header(header, out);
    out.push(match part {
        Part::More => 0,
        Part::Last => 1,
    });
    out.extend_from_slice(bytes);
}

fn encode_header(header: &FrameHeader, out: &mut Vec<u8>) {
    let header = encode(header);
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
}

impl JournalFrame {
    /// The kind of frame it is sealed as.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Transactions(..) => FrameKind::Transaction,
            Self::Checkpoint(..) => FrameKind::Checkpoint,
            Self::Watermark(_) => FrameKind::Watermark,
        }
    }

    /// What every frame begins with.
    pub fn header(&self) -> &FrameHeader {
        match self {
            Self::Transactions(header, ..)
            | Self::Checkpoint(header, _)
            | Self::Watermark(header) => header,
        }
    }

    /// The plaintext of the frame: length u32 of the header ‖ header ‖ the rest by kind.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Transactions(header, part, bytes) => encode_part(header, *part, bytes, &mut out),
            Self::Checkpoint(header, checkpoint) => {
                encode_header(header, &mut out);
                put_bare(checkpoint.as_ref(), &mut out);
            }
            Self::Watermark(header) => encode_header(header, &mut out),
        }
        out
    }

    /// Reads one.
    pub fn decode(kind: FrameKind, plaintext: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(plaintext, WHAT);
        let length = cursor.u32()? as usize;
        let header: FrameHeader = decode(cursor.slice(length)?, WHAT)?;
        let malformed = |why| Err(FormatError::Malformed { what: WHAT, why });
        match kind {
            FrameKind::Transaction => {
                let part = match cursor.take::<1>()? {
                    [0] => Part::More,
                    [1] => Part::Last,
                    _ => return malformed("a part is neither the last nor another"),
                };
                Ok(Self::Transactions(header, part, cursor.rest().to_vec()))
            }
            FrameKind::Checkpoint => Ok(Self::Checkpoint(
                header,
                Box::new(decode_bare(cursor.rest(), WHAT)?),
            )),
            FrameKind::Watermark if cursor.rest().is_empty() => Ok(Self::Watermark(header)),
            FrameKind::Watermark => malformed("a watermark holds more than its header"),
            FrameKind::Data | FrameKind::Node | FrameKind::End => {
                malformed("its kind belongs into a pack")
            }
        }
    }
}
