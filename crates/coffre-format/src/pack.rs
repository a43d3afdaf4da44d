//! A pack: an object of frames under keys of its own; journal segments have the same shape.
use crate::crypto::key::Keyring;
use crate::error::Result;
use crate::frame::FrameKind;
use crate::frame::Prepared;
use crate::frame::Scanned;
use crate::id::Digest;
use crate::id::Epoch;
use crate::id::Salt;

/// Length of the preamble: magic 8, epoch u32, flags u32, salt 16.
pub const PREAMBLE: u32 = 32;
/// Length of a full data pack, in bytes; no pack is longer.
pub const PACK_FULL: u32 = 16 * 1024 * 1024;
/// No pack is shorter, in bytes.
pub const PACK_LEAST: u32 = 32 * 1024;
/// What the `end` frame takes, in bytes: a pack has room for a frame while `length + frame + END_FRAME <= PACK_FULL`.
pub const END_FRAME: u32 = crate::frame::FRAME_OVERHEAD + 12;

/// Which key a pack-shaped object stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An object of the store.
    Pack,
    /// A local journal segment.
    Journal,
}

/// The clear start of a pack or journal segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// Pack or journal (told by the magic).
    pub purpose: Purpose,
    /// Epoch of its key.
    pub epoch: Epoch,
    /// Its salt.
    pub salt: Salt,
}

/// The keys of one pack or segment.
#[derive(Clone)]
pub struct PackKeys {
    _in_work: (),
}

impl Preamble {
    /// The 32 bytes.
    pub fn encode(&self) -> [u8; PREAMBLE as usize] {
        todo!()
    }
    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        todo!()
    }
}

impl PackKeys {
    /// Derives them; `Forged` where the epoch is unknown.
    pub fn new(ring: &Keyring, preamble: &Preamble) -> Result<Self> {
        todo!()
    }
    /// Seals a prepared frame for `offset` into `out`, which has exactly [`Prepared::frame_length`] bytes.
    pub fn seal(&self, offset: u32, prepared: &Prepared, out: &mut [u8]) {
        todo!()
    }
    /// Opens the frame that a pointer pins: kind, offset and digest are known, and the nonce they lead to is compared first. `frame` is exactly the frame.
    pub fn open(
        &self,
        kind: FrameKind,
        offset: u32,
        frame: &[u8],
        digest: &Digest,
    ) -> Result<Vec<u8>> {
        todo!()
    }
    /// Opens whatever frame stands at the start of `bytes` (which may be longer) and recomputes its digest.
    /// `Truncated` where `bytes` ends inside it.
    pub fn scan(&self, offset: u32, bytes: &[u8]) -> Result<Scanned> {
        todo!()
    }
    /// Ends a pack that holds `frames` frames in `bytes` (preamble included): `end` frame and padding
    /// (exactly [`PACK_FULL`] if `full`, else Padmé's size, at least [`PACK_LEAST`]). Closing twice gives the same bytes.
    pub fn close(&self, bytes: &mut Vec<u8>, frames: u32, size: PackSize) -> Result<()> {
        todo!()
    }
    /// Checks what follows the last content frame: `end` frame and padding up to the end of the object. Used by `check`.
    pub fn verify_end(&self, offset: u32, rest: &[u8], frames: u32) -> Result<()> {
        todo!()
    }
}

/// How long a closed pack becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackSize {
    /// Exactly 16 MiB.
    Full,
    /// Padmé's size.
    Padded,
}
