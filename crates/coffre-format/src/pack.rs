//! A pack: an object of frames under keys of its own; journal segments have the same shape.
//!
//! ```text
//!  preamble 32 ‖ frame ‖ frame ‖ … ‖ end frame ‖ padding
//! ```

use bytes::Bytes;
use zeroize::Zeroize;
use zeroize::ZeroizeOnDrop;

use crate::crypto::hash::context;
use crate::crypto::hash::derive;
use crate::crypto::hash::keyed_short;
use crate::crypto::key::Keyring;
use crate::crypto::key::StructureKeys;
use crate::crypto::seal::Label;
use crate::crypto::seal::NONCE;
use crate::crypto::seal::TAG;
use crate::crypto::seal::open_in_place;
use crate::crypto::seal::seal_in_place;
use crate::error::FormatError;
use crate::error::Result;
use crate::frame::Compression;
use crate::frame::FLAG_ZSTD;
use crate::frame::FRAME_OVERHEAD;
use crate::frame::FrameHeader;
use crate::frame::FrameKind;
use crate::frame::HEADER;
use crate::frame::Prepared;
use crate::frame::Scanned;
use crate::frame::prepare;
use crate::frame::unpack;
use crate::id::Digest;
use crate::id::Epoch;
use crate::id::Salt;
use crate::id::VaultId;

/// Length of the preamble: magic 8, epoch u32, flags u32, salt 16.
pub const PREAMBLE: u32 = 32;
/// Length of a full data pack, in bytes; no pack is longer.
pub const PACK_FULL: u32 = 16 * 1024 * 1024;
/// No pack is shorter, in bytes.
pub const PACK_LEAST: u32 = 32 * 1024;
/// Plaintext of the `end` frame: frame count u32 ‖ payload length u64.
const END_PLAIN: u32 = 12;
/// What the `end` frame takes, in bytes: a pack has room for a frame while
/// `length + frame + END_FRAME <= PACK_FULL`.
pub const END_FRAME: u32 = FRAME_OVERHEAD + END_PLAIN;

const MAGIC_PACK: [u8; 8] = *b"coffreP1";
const MAGIC_JOURNAL: [u8; 8] = *b"coffreJ1";
/// Label 16, vault id 16, epoch 4, salt 16, offset 8, header 12.
const AAD: usize = 16 + 16 + 4 + 16 + 8 + HEADER;
const FRAME: &str = "frame";
const PACK: &str = "pack";

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

/// How long a closed pack becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackSize {
    /// Exactly 16 MiB.
    Full,
    /// Padmé's size.
    Padded,
}

/// The 128 bytes of keys of one pack or segment, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Secrets {
    encryption: [u8; 32],
    nonce: [u8; 32],
    mask: [u8; 32],
    padding: [u8; 32],
}

/// The keys of one pack or segment.
#[derive(Clone)]
pub struct PackKeys {
    secrets: Secrets,
    structure: StructureKeys,
    /// Associated data with offset and header still to be filled in.
    aad: [u8; AAD],
}

impl Preamble {
    /// The 32 bytes.
    pub fn encode(&self) -> [u8; PREAMBLE as usize] {
        let magic = match self.purpose {
            Purpose::Pack => MAGIC_PACK,
            Purpose::Journal => MAGIC_JOURNAL,
        };
        let mut bytes = [0; PREAMBLE as usize];
        bytes[..8].copy_from_slice(&magic);
        bytes[8..12].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.salt.0);
        bytes
    }

    /// Reads them; what follows is ignored.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let what = "pack preamble";
        let truncated = FormatError::Truncated { what };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(truncated.clone())?;
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(truncated.clone())?;
        let (flags, rest) = rest.split_first_chunk::<4>().ok_or(truncated.clone())?;
        let (salt, _) = rest.split_first_chunk::<16>().ok_or(truncated)?;
        let purpose = match *magic {
            MAGIC_PACK => Purpose::Pack,
            MAGIC_JOURNAL => Purpose::Journal,
            _ => {
                return Err(FormatError::Malformed {
                    what,
                    why: "the magic is not a pack's",
                });
            }
        };
        if *flags != [0; 4] {
            return Err(FormatError::Unsupported {
                what: "pack flags",
                version: u32::from_le_bytes(*flags),
            });
        }
        Ok(Self {
            purpose,
            epoch: Epoch(u32::from_le_bytes(*epoch)),
            salt: Salt(*salt),
        })
    }
}

impl PackKeys {
    /// Derives them; `Forged` where the epoch is unknown.
    pub fn new(ring: &Keyring, preamble: &Preamble) -> Result<Self> {
        let epoch = ring.epoch(preamble.epoch)?;
        let (source, context, label) = match preamble.purpose {
            Purpose::Pack => (&epoch.data, context::PACK, Label::PACK_FRAME),
            Purpose::Journal => (&epoch.journal, context::SEGMENT, Label::JOURNAL_FRAME),
        };
        let okm = derive::<128>(
            context,
            &[&source.encryption, &source.nonce, &preamble.salt.0],
        );
        let key = |index: usize| {
            let mut key = [0; 32];
            key.copy_from_slice(&okm[index * 32..(index + 1) * 32]);
            key
        };
        let secrets = Secrets {
            encryption: key(0),
            nonce: key(1),
            mask: key(2),
            padding: key(3),
        };
        let mut aad = [0; AAD];
        aad[..16].copy_from_slice(&label.0);
        aad[16..32].copy_from_slice(&ring.vault().0);
        aad[32..36].copy_from_slice(&preamble.epoch.0.to_le_bytes());
        aad[36..52].copy_from_slice(&preamble.salt.0);
        Ok(Self {
            secrets,
            structure: ring.structure().clone(),
            aad,
        })
    }

    /// A new pack or segment: what it begins with, and its keys. The salt is fresh, so that no other bytes are ever sealed
    /// at the same offsets under the same keys.
    pub fn fresh(ring: &Keyring, purpose: Purpose) -> Result<(Preamble, Self)> {
        let preamble = Preamble {
            purpose,
            epoch: ring.current().epoch,
            salt: Salt::random()?,
        };
        Ok((preamble, Self::new(ring, &preamble)?))
    }

    /// The vault these keys belong to.
    pub fn vault(&self) -> VaultId {
        let mut vault = [0; 16];
        vault.copy_from_slice(&self.aad[16..32]);
        VaultId(vault)
    }

    /// Seals a prepared frame for `offset` and appends it to `out`: [`Prepared::frame_length`] bytes.
    pub fn seal(&self, offset: u32, prepared: &Prepared, out: &mut Vec<u8>) {
        let header = prepared.header.encode();
        let aad = self.frame_aad(offset, &header);
        let nonce = self.frame_nonce(&aad, &prepared.digest);
        let masked = mask(&self.secrets.mask, &nonce, &header);
        out.reserve(prepared.frame_length() as usize);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&masked);
        let start = out.len();
        out.extend_from_slice(&prepared.stored);
        let (_, body) = out.split_at_mut(start);
        let tag = seal_in_place(&self.secrets.encryption, &nonce, &aad, body);
        out.extend_from_slice(&tag);
    }

    /// Opens the frame that a pointer pins: kind, offset and digest are known, and the nonce they lead to is
    /// compared first. `frame` is exactly the frame.
    pub fn open(
        &self,
        kind: FrameKind,
        offset: u32,
        frame: &[u8],
        digest: &Digest,
    ) -> Result<Vec<u8>> {
        let (header, aad) = self.check(kind, offset, frame, digest)?;
        self.finish(&header, &aad, frame)
    }

    /// The same in the memory of the frame, if nobody else has it and nothing has to be unpacked.
    pub fn open_owned(
        &self,
        kind: FrameKind,
        offset: u32,
        frame: Bytes,
        digest: &Digest,
    ) -> Result<Bytes> {
        let (header, aad) = self.check(kind, offset, &frame, digest)?;
        let is_packed = header.flags & FLAG_ZSTD != 0;
        let mut frame = match frame.try_into_mut() {
            Ok(frame) if !is_packed => frame,
            Ok(frame) => return self.finish(&header, &aad, &frame).map(Bytes::from),
            Err(frame) => return self.finish(&header, &aad, &frame).map(Bytes::from),
        };
        let content = NONCE + HEADER..NONCE + HEADER + header.stored as usize;
        let (head, rest) = frame.split_at_mut(content.start);
        let (stored, tag) = rest.split_at_mut(content.len());
        let (Some(nonce), Some(tag)) = (head.first_chunk::<NONCE>(), tag.first_chunk::<TAG>())
        else {
            return Err(FormatError::Truncated { what: FRAME });
        };
        let key = &self.secrets.encryption;
        open_in_place(key, nonce, &aad, stored, tag, FRAME)?;
        Ok(frame.freeze().slice(content))
    }

    /// Header and associated data of a frame that has the kind, the length and the nonce that it must have.
    fn check(
        &self,
        kind: FrameKind,
        offset: u32,
        frame: &[u8],
        digest: &Digest,
    ) -> Result<(FrameHeader, [u8; AAD])> {
        let forged = FormatError::Forged { what: FRAME };
        let parts = Parts::split(frame)?;
        let header_bytes = mask(&self.secrets.mask, parts.nonce, parts.masked);
        // A flipped header is a forgery, whatever it decodes to.
        let header = FrameHeader::decode(&header_bytes).map_err(|_| forged.clone())?;
        let aad = self.frame_aad(offset, &header_bytes);
        if header.kind != kind
            || header.stored as usize != parts.rest.len().saturating_sub(TAG)
            || self.frame_nonce(&aad, digest) != *parts.nonce
        {
            return Err(forged);
        }
        Ok((header, aad))
    }

    /// Opens whatever frame stands at the start of `bytes` (which may be longer) and recomputes its digest.
    /// `Truncated` where `bytes` ends inside it.
    pub fn scan(&self, offset: u32, bytes: &[u8]) -> Result<Scanned> {
        let parts = Parts::split(bytes)?;
        let header_bytes = mask(&self.secrets.mask, parts.nonce, parts.masked);
        let header =
            FrameHeader::decode(&header_bytes).map_err(|_| FormatError::Forged { what: FRAME })?;
        let length = (FRAME_OVERHEAD + header.stored) as usize;
        let frame = bytes
            .get(..length)
            .ok_or(FormatError::Truncated { what: FRAME })?;
        let parts = Parts::split(frame)?;
        let aad = self.frame_aad(offset, &header_bytes);
        let stored = self.decrypt(&aad, &parts)?;
        let digest = self
            .structure
            .digest(header.kind as u8, header.flags, &stored);
        if self.frame_nonce(&aad, &digest) != *parts.nonce {
            return Err(FormatError::Forged { what: FRAME });
        }
        Ok(Scanned {
            kind: header.kind,
            plaintext: unpack(&header, stored)?,
            digest,
            stored: header.stored,
            length: FRAME_OVERHEAD + header.stored,
        })
    }

    /// Ends a pack that holds `frames` frames in `bytes` (preamble included): `end` frame and padding
    /// (exactly [`PACK_FULL`] if `Full`, else Padmé's size, at least [`PACK_LEAST`]). Closing twice gives the
    /// same bytes.
    pub fn close(&self, bytes: &mut Vec<u8>, frames: u32, size: PackSize) -> Result<()> {
        let offset = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        bytes.extend_from_slice(&self.ending(offset, frames, size)?);
        Ok(())
    }

    /// What [`PackKeys::close`] adds to a pack whose content ends at `offset`.
    pub fn ending(&self, offset: u32, frames: u32, size: PackSize) -> Result<Vec<u8>> {
        let mut bytes = self.end_frame(offset, frames)?;
        let length = u32::try_from(bytes.len())
            .ok()
            .and_then(|end| offset.checked_add(end))
            .filter(|length| *length <= PACK_FULL)
            .ok_or_else(too_large)?;
        let whole = match size {
            PackSize::Full => PACK_FULL,
            PackSize::Padded => padme(length).clamp(PACK_LEAST, PACK_FULL),
        };
        bytes.extend_from_slice(&self.padding((whole - length) as usize));
        Ok(bytes)
    }

    /// Checks what follows the last content frame at `offset`: `end` frame and padding up to the end of the
    /// object.
    pub fn verify_end(&self, offset: u32, rest: &[u8], frames: u32) -> Result<()> {
        let end = self.end_frame(offset, frames)?;
        let padding = rest
            .strip_prefix(end.as_slice())
            .ok_or(FormatError::Forged {
                what: "end of a pack",
            })?;
        if padding != self.padding(padding.len()).as_slice() {
            return Err(FormatError::Forged {
                what: "padding of a pack",
            });
        }
        Ok(())
    }

    fn end_frame(&self, offset: u32, frames: u32) -> Result<Vec<u8>> {
        let mut plaintext = frames.to_le_bytes().to_vec();
        plaintext.extend_from_slice(&u64::from(offset).to_le_bytes());
        let prepared = prepare(
            &self.structure,
            FrameKind::End,
            &plaintext,
            Compression::Off,
        )?;
        let mut end = Vec::new();
        self.seal(offset, &prepared, &mut end);
        Ok(end)
    }

    fn padding(&self, length: usize) -> Vec<u8> {
        let mut padding = vec![0; length];
        blake3::Hasher::new_keyed(&self.secrets.padding)
            .finalize_xof()
            .fill(&mut padding);
        padding
    }

    fn frame_aad(&self, offset: u32, header: &[u8; HEADER]) -> [u8; AAD] {
        let mut aad = self.aad;
        aad[52..60].copy_from_slice(&u64::from(offset).to_le_bytes());
        aad[60..].copy_from_slice(header);
        aad
    }

    fn frame_nonce(&self, aad: &[u8; AAD], digest: &Digest) -> [u8; NONCE] {
        keyed_short(&self.secrets.nonce, &[aad, &digest.0])
    }

    fn decrypt(&self, aad: &[u8; AAD], parts: &Parts<'_>) -> Result<Vec<u8>> {
        let (body, tag) = parts
            .rest
            .split_last_chunk::<TAG>()
            .ok_or(FormatError::Truncated { what: FRAME })?;
        let mut stored = body.to_vec();
        open_in_place(
            &self.secrets.encryption,
            parts.nonce,
            aad,
            &mut stored,
            tag,
            FRAME,
        )?;
        Ok(stored)
    }

    fn finish(&self, header: &FrameHeader, aad: &[u8; AAD], frame: &[u8]) -> Result<Vec<u8>> {
        let stored = self.decrypt(aad, &Parts::split(frame)?)?;
        unpack(header, stored)
    }
}

/// A frame taken apart.
struct Parts<'a> {
    nonce: &'a [u8; NONCE],
    masked: &'a [u8; HEADER],
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(frame: &'a [u8]) -> Result<Self> {
        let truncated = FormatError::Truncated { what: FRAME };
        let (nonce, rest) = frame
            .split_first_chunk::<NONCE>()
            .ok_or(truncated.clone())?;
        let (masked, rest) = rest.split_first_chunk::<HEADER>().ok_or(truncated)?;
        Ok(Self {
            nonce,
            masked,
            rest,
        })
    }
}

fn mask(key: &[u8; 32], nonce: &[u8; NONCE], header: &[u8; HEADER]) -> [u8; HEADER] {
    let mut masked: [u8; HEADER] = keyed_short(key, &[nonce]);
    for (byte, clear) in masked.iter_mut().zip(header) {
        *byte ^= clear;
    }
    masked
}

fn too_large() -> FormatError {
    FormatError::TooLarge {
        what: PACK,
        limit: u64::from(PACK_FULL),
    }
}

/// Padmé (Nikitin et al., PoPETs 2019): the size that keeps only O(log log length) bits.
pub fn padme(length: u32) -> u32 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let kept = exponent.max(1).ilog2() + 1;
    let mask = (1u64 << exponent.saturating_sub(kept)) - 1;
    let padded = (u64::from(length) + mask) & !mask;
    u32::try_from(padded).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> PackKeys {
        let ring = Keyring::generate(VaultId([7; 16])).unwrap();
        let preamble = Preamble {
            purpose: Purpose::Pack,
            epoch: Epoch(1),
            salt: Salt([9; 16]),
        };
        PackKeys::new(&ring, &preamble).unwrap()
    }

    fn sealed(keys: &PackKeys, offset: u32, plaintext: &[u8]) -> (Vec<u8>, Digest) {
        let prepared = prepare(
            &keys.structure,
            FrameKind::Data,
            plaintext,
            Compression::Try,
        )
        .unwrap();
        let mut out = Vec::new();
        keys.seal(offset, &prepared, &mut out);
        (out, prepared.digest())
    }

    #[test]
    fn a_frame_opens_at_its_place_with_its_digest_and_nothing_else_does() {
        let keys = keys();
        for plaintext in [
            b"small".to_vec(),
            vec![5; 100_000],
            (0..131_072u64).map(|i| ((i * i) >> 3) as u8).collect(),
        ] {
            let (frame, digest) = sealed(&keys, 32, &plaintext);
            assert_eq!(
                keys.open(FrameKind::Data, 32, &frame, &digest).unwrap(),
                plaintext
            );
            assert_eq!(keys.scan(32, &frame).unwrap().plaintext, plaintext);
            let owned =
                |frame: Bytes, offset| keys.open_owned(FrameKind::Data, offset, frame, &digest);
            let alone = Bytes::from(frame.clone());
            assert_eq!(owned(alone.clone(), 32).unwrap(), plaintext, "shared");
            assert_eq!(owned(alone, 32).unwrap(), plaintext, "alone");
            assert!(owned(frame.clone().into(), 33).is_err());
            for at in [frame.len() / 2, frame.len() - 1] {
                let mut flipped = frame.clone();
                flipped[at] ^= 1;
                let opened = owned(flipped.into(), 32);
                assert_eq!(opened.unwrap_err(), FormatError::Forged { what: FRAME });
            }
            assert!(keys.open(FrameKind::Data, 33, &frame, &digest).is_err());
            assert!(keys.open(FrameKind::Node, 32, &frame, &digest).is_err());
            assert!(
                keys.open(FrameKind::Data, 32, &frame, &Digest([1; 32]))
                    .is_err()
            );
            assert!(
                keys.open(FrameKind::Data, 32, &frame[..frame.len() - 1], &digest)
                    .is_err()
            );
        }
    }

    #[test]
    fn every_flipped_bit_of_a_small_frame_is_a_forgery() {
        let keys = keys();
        let (frame, digest) = sealed(&keys, 32, b"content");
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = keys
                .open(FrameKind::Data, 32, &flipped, &digest)
                .unwrap_err();
            assert_eq!(error, FormatError::Forged { what: FRAME }, "bit {bit}");
            assert!(keys.scan(32, &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn closing_pads_to_the_promised_size_and_the_end_is_checked() {
        let keys = keys();
        for (content, size, whole) in [
            (32, PackSize::Padded, PACK_LEAST),
            (40_000, PackSize::Padded, padme(40_000 + END_FRAME)),
            (1_000_000, PackSize::Full, PACK_FULL),
            (PACK_FULL - END_FRAME, PackSize::Padded, PACK_FULL),
        ] {
            let mut bytes = vec![3; content as usize];
            keys.close(&mut bytes, 5, size).unwrap();
            assert_eq!(bytes.len(), whole as usize);
            let rest = &bytes[content as usize..];
            keys.verify_end(content, rest, 5).unwrap();
            assert!(keys.verify_end(content, rest, 6).is_err());
            let mut again = vec![3; content as usize];
            keys.close(&mut again, 5, size).unwrap();
            assert_eq!(again, bytes, "closing is repeatable");
            if let Some(last) = bytes.last_mut().filter(|_| whole > content + END_FRAME) {
                *last ^= 1;
                assert!(
                    keys.verify_end(content, &bytes[content as usize..], 5)
                        .is_err()
                );
            }
        }
        assert!(
            keys.close(&mut vec![0; PACK_FULL as usize], 1, PackSize::Padded)
                .is_err()
        );
    }

    #[test]
    fn padme_never_shrinks_and_adds_at_most_an_eighth() {
        for length in (1..PACK_FULL).step_by(997) {
            let padded = padme(length);
            assert!(
                padded >= length && u64::from(padded) <= u64::from(length) * 9 / 8 + 1,
                "{length} -> {padded}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = keys();
            prop_assert!(keys.scan(32, &bytes).is_err());
            prop_assert!(keys.open(FrameKind::Data, 32, &bytes, &Digest([0; 32])).is_err());
            let _ = Preamble::decode(&bytes);
        }
    }
}
