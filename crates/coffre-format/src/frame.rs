//! A frame: one sealed piece of content, node or journal, bound to its place.
use crate::error::Result;
use crate::id::Digest;

/// Bytes that a frame adds to what it stores: nonce 24, masked header 12, tag 16.
pub const FRAME_OVERHEAD: u32 = 52;
/// Plaintext bytes a frame holds at most.
pub const FRAME_MAX: u32 = 128 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Content of one file, or a spilled value.
    Data = 1,
    /// A tree node.
    Node = 2,
    /// The last frame of a pack.
    End = 3,
    /// Journal: transactions.
    Transaction = 4,
    /// Journal: a checkpoint.
    Checkpoint = 5,
    /// Journal: how far it is synced.
    Watermark = 6,
}

/// Whether to try zstd (data frames only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Try, and keep the result where it pays.
    Try,
    /// Store as it is.
    Off,
}

/// A frame before it has a place: compressed and hashed.
pub struct Prepared {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) raw: u32,
    pub(crate) stored: Vec<u8>,
    pub(crate) digest: Digest,
}

impl Prepared {
    /// Length of the whole frame, in bytes.
    pub fn frame_length(&self) -> u32 {
        FRAME_OVERHEAD + self.stored_length()
    }
    /// Length of the stored bytes, without tag.
    pub fn stored_length(&self) -> u32 {
        self.stored.len() as u32
    }
    /// Length of the plaintext, in bytes.
    pub fn raw_length(&self) -> u32 {
        self.raw
    }
    /// D.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A frame read without a pointer to it (recovery, `check`).
pub struct Scanned {
    /// What it holds.
    pub kind: FrameKind,
    /// The plaintext.
    pub plaintext: Vec<u8>,
    /// Its digest, recomputed.
    pub digest: Digest,
    /// Length of its stored bytes (without tag).
    pub stored: u32,
    /// Length of the whole frame, in bytes.
    pub length: u32,
}

/// Compresses (where asked and useful) and hashes; `plaintext` has at most [`FRAME_MAX`] bytes.
pub fn prepare(
    structure: &crate::crypto::key::StructureKeys,
    kind: FrameKind,
    plaintext: &[u8],
    compression: Compression,
) -> Result<Prepared> {
    todo!()
}
