//! A frame: one sealed piece of content, node or journal, bound to its place.
//!
//! ```text
//!  nonce 24 ‖ masked header 12 ‖ ciphertext ‖ tag 16
//!             kind 1, flags 1, 0 u16, stored length u32, raw length u32
//! ```

use std::borrow::Cow;
use std::cell::RefCell;

use crate::crypto::key::StructureKeys;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::Digest;

/// Bytes that a frame adds to what it stores: nonce 24, masked header 12, tag 16.
pub const FRAME_OVERHEAD: u32 = 52;
/// Plaintext bytes a frame holds at most.
pub const FRAME_MAX: u32 = 128 * 1024;
/// Flag: the stored bytes are zstd.
pub const FLAG_ZSTD: u8 = 1;
/// Length of the header, in bytes.
pub(crate) const HEADER: usize = 12;
/// Level of compression; not part of the format.
const ZSTD_LEVEL: i32 = 1;
/// Plaintext shorter than this is not worth trying, in bytes.
const COMPRESS_FROM: usize = 256;
/// Of long plaintext parts of this length are tried first, in bytes: most of what fills a disk is compressed already, and to find that
/// out costs as much as to seal it.
const SAMPLE: usize = 4096;
/// From this length on, in bytes.
const SAMPLE_FROM: usize = 8 * SAMPLE;

const WHAT: &str = "frame";

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

impl TryFrom<u8> for FrameKind {
    type Error = FormatError;

    fn try_from(kind: u8) -> Result<Self> {
        Ok(match kind {
            1 => Self::Data,
            2 => Self::Node,
            3 => Self::End,
            4 => Self::Transaction,
            5 => Self::Checkpoint,
            6 => Self::Watermark,
            _ => {
                return Err(FormatError::Unsupported {
                    what: "frame kind",
                    version: u32::from(kind),
                });
            }
        })
    }
}

/// Whether to try zstd (data frames only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Try, and keep the result where it pays.
    Try,
    /// Store as it is.
    Off,
}

/// The clear form of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let [s0, s1, s2, s3] = self.stored.to_le_bytes();
        let [r0, r1, r2, r3] = self.raw.to_le_bytes();
        [
            self.kind as u8,
            self.flags,
            0,
            0,
            s0,
            s1,
            s2,
            s3,
            r0,
            r1,
            r2,
            r3,
        ]
    }

    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Result<Self> {
        let [kind, flags, zero0, zero1, s0, s1, s2, s3, r0, r1, r2, r3] = *bytes;
        let header = Self {
            kind: FrameKind::try_from(kind)?,
            flags,
            stored: u32::from_le_bytes([s0, s1, s2, s3]),
            raw: u32::from_le_bytes([r0, r1, r2, r3]),
        };
        let malformed = |why| Err(FormatError::Malformed { what: WHAT, why });
        if (zero0, zero1) != (0, 0) || header.flags & !FLAG_ZSTD != 0 {
            return malformed("reserved bits are set");
        }
        if header.raw > FRAME_MAX || header.stored > FRAME_MAX {
            return Err(FormatError::TooLarge {
                what: WHAT,
                limit: u64::from(FRAME_MAX),
            });
        }
        let compressed = header.flags & FLAG_ZSTD != 0;
        if compressed && (header.kind != FrameKind::Data || header.stored >= header.raw) {
            return malformed("compressed without need");
        }
        if !compressed && header.stored != header.raw {
            return malformed("lengths differ without compression");
        }
        Ok(header)
    }
}

/// A frame before it has a place: compressed and hashed.
pub struct Prepared<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) stored: Cow<'a, [u8]>,
    pub(crate) digest: Digest,
}

impl Prepared<'_> {
    /// Length of the whole frame, in bytes.
    pub fn frame_length(&self) -> u32 {
        FRAME_OVERHEAD + self.header.stored
    }

    /// Length of the stored bytes, without tag.
    pub fn stored_length(&self) -> u32 {
        self.header.stored
    }

    /// Length of the plaintext, in bytes.
    pub fn raw_length(&self) -> u32 {
        self.header.raw
    }

    /// D.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A frame read without a pointer to it (recovery, `check`).
#[derive(Debug)]
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
pub fn prepare<'a>(
    structure: &StructureKeys,
    kind: FrameKind,
    plaintext: impl Into<Cow<'a, [u8]>>,
    compression: Compression,
) -> Result<Prepared<'a>> {
    let plaintext = plaintext.into();
    let too_large = FormatError::TooLarge {
        what: WHAT,
        limit: u64::from(FRAME_MAX),
    };
    let raw = u32::try_from(plaintext.len()).map_err(|_| too_large.clone())?;
    if raw > FRAME_MAX {
        return Err(too_large);
    }
    let compressed = match compression {
        Compression::Try if plaintext.len() >= COMPRESS_FROM => compress(&plaintext),
        _ => None,
    };
    let (flags, stored) = match compressed {
        Some(compressed) => (FLAG_ZSTD, compressed.into()),
        None => (0, plaintext),
    };
    let digest = structure.digest(kind as u8, flags, &stored);
    let length = u32::try_from(stored.len()).map_err(|_| too_large)?;
    Ok(Prepared {
        header: FrameHeader {
            kind,
            flags,
            stored: length,
            raw,
        },
        stored,
        digest,
    })
}

/// The compressed form, where it saves at least a sixteenth.
fn compress(plaintext: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        /// Its tables are large: making them anew for each frame costs as much as the work itself.
        static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
            RefCell::new(zstd::bulk::Compressor::new(ZSTD_LEVEL).ok());
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = compressor.as_mut()?;
        let mut shorter = |bytes: &[u8]| {
            let compressed = compressor.compress(bytes).ok()?;
            (compressed.len() + bytes.len() / 16 <= bytes.len()).then_some(compressed)
        };
        if plaintext.len() >= SAMPLE_FROM && !samples(plaintext).any(|part| shorter(part).is_some())
        {
            return None;
        }
        shorter(plaintext)
    })
}

/// Its beginning, its middle and its end.
fn samples(plaintext: &[u8]) -> impl Iterator<Item = &[u8]> {
    let last = plaintext.len().saturating_sub(SAMPLE);
    [0, last / 2, last]
        .into_iter()
        .filter_map(move |at| plaintext.get(at..at + SAMPLE))
}

/// Stored bytes back to plaintext, never more than the header says.
pub(crate) fn unpack(header: &FrameHeader, stored: Vec<u8>) -> Result<Vec<u8>> {
    if header.flags & FLAG_ZSTD == 0 {
        return Ok(stored);
    }
    let malformed = FormatError::Malformed {
        what: WHAT,
        why: "it does not decompress to its length",
    };
    let raw = header.raw as usize;
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            RefCell::new(zstd::bulk::Decompressor::new().ok());
    }
    let plaintext = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let plaintext = decompressor.as_mut()?.decompress(&stored, raw);
        plaintext.ok()
    });
    let plaintext = plaintext.ok_or_else(|| malformed.clone())?;
    if plaintext.len() != raw {
        return Err(malformed);
    }
    Ok(plaintext)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_shrinks_anywhere_is_compressed_and_noise_is_not() {
        let noise: Vec<u8> = (0..FRAME_MAX / 4)
            .flat_map(|at| blake3::hash(&at.to_le_bytes()).as_bytes()[..4].to_vec())
            .collect();
        assert_eq!(noise.len(), FRAME_MAX as usize);
        for length in [COMPRESS_FROM, SAMPLE_FROM - 1, SAMPLE_FROM, noise.len()] {
            assert!(compress(&noise[..length]).is_none(), "{length}");
            assert!(compress(&vec![7; length]).is_some(), "{length}");
        }
        for zeros in [0..20_000, 50_000..80_000, 110_000..noise.len()] {
            let mut partly = noise.clone();
            partly[zeros.clone()].fill(0);
            let compressed = compress(&partly).unwrap();
            assert!(
                compressed.len() < noise.len() - zeros.len() / 2,
                "{zeros:?}"
            );
        }
    }
}
