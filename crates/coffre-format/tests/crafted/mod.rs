//! Seals and signs as docs/FORMAT.md says, so that what no encoder makes can be put where only a key holder could.
//!
//! Nothing here uses the crate's own sealing: a good object made here that a decoder accepts is a second
//! witness of the format.
#![allow(dead_code, clippy::unwrap_used)]

pub mod local;
pub mod store;
pub mod tree;

use chacha20poly1305::KeyInit;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::AeadInOut;
use coffre_format::crypto::sign::DeviceKey;
use coffre_format::id::CommitHash;
use coffre_format::name::ObjectName;

use crate::decoders::*;

/// One vector in the making: decoder, what it shows, input, what the decoder needs beside it, expectation.
pub struct Made {
    pub decoder: &'static str,
    pub what: String,
    pub input: Vec<u8>,
    pub with: String,
    pub expect: &'static str,
}

/// Vectors in the order in which they are numbered.
#[derive(Default)]
pub struct Shelf(pub Vec<Made>);

impl Shelf {
    pub fn add(&mut self, decoder: &'static str, what: &str, input: &[u8], expect: &'static str) {
        self.add_with(decoder, what, input, "", expect);
    }

    pub fn add_with(
        &mut self,
        decoder: &'static str,
        what: &str,
        input: &[u8],
        with: &str,
        expect: &'static str,
    ) {
        self.0.push(Made {
            decoder,
            what: what.to_owned(),
            input: input.to_vec(),
            with: with.to_owned(),
            expect,
        });
    }
}

/// `H(label, x)[n]`.
pub fn h<const N: usize>(label: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("coffre v1 {label}"));
    for part in parts {
        hasher.update(part);
    }
    let mut out = [0; N];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// `K(key, x)`.
pub fn k(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    *blake3::keyed_hash(key.try_into().unwrap(), &parts.concat()).as_bytes()
}

/// A 64-byte key of epoch 1.
pub fn purpose(label: &str) -> [u8; 64] {
    h(label, &[&ROOT, &VAULT.0, &1u32.to_le_bytes()])
}

/// A label as it stands in associated data.
pub fn label(text: &str) -> [u8; 16] {
    let mut label = [0; 16];
    label[..text.len()].copy_from_slice(text.as_bytes());
    label
}

/// XChaCha20-Poly1305 under a nonce that is known.
fn encrypt(key: &[u8], nonce: &[u8; 24], aad: &[u8], message: &[u8]) -> Vec<u8> {
    let key: [u8; 32] = key.try_into().unwrap();
    let mut body = message.to_vec();
    let tag = XChaCha20Poly1305::new(&key.into())
        .encrypt_inout_detached(nonce.into(), aad, body.as_mut_slice().into())
        .unwrap();
    body.extend_from_slice(&tag);
    body
}

/// `seal(key, label, aad, m)`.
pub fn seal(key: &[u8; 64], text: &str, aad: &[u8], message: &[u8]) -> Vec<u8> {
    let aad = [&label(text)[..], aad].concat();
    let digest = blake3::hash(message);
    let nonce = k(&key[32..], &[&aad, digest.as_bytes()]);
    let nonce: [u8; 24] = nonce[..24].try_into().unwrap();
    [&nonce[..], &encrypt(&key[..32], &nonce, &aad, message)].concat()
}

/// The clear form of a frame's header.
#[derive(Clone, Copy)]
pub struct Head {
    pub kind: u8,
    pub flags: u8,
    pub zero: u16,
    pub stored: u32,
    pub raw: u32,
}

impl Head {
    /// Of a frame that stores `stored` as it is.
    pub fn plain(kind: u8, stored: &[u8]) -> Self {
        let length = stored.len() as u32;
        Self {
            kind,
            flags: 0,
            zero: 0,
            stored: length,
            raw: length,
        }
    }

    /// Of a data frame whose content is compressed and has `raw` bytes, it says.
    pub fn zstd(stored: &[u8], raw: u32) -> Self {
        Self {
            flags: 1,
            raw,
            ..Self::plain(1, stored)
        }
    }
}

/// D of stored bytes.
pub fn digest(head: Head, stored: &[u8]) -> [u8; 32] {
    let key: [u8; 32] = h("frame hash", &[&STRUCTURE, &VAULT.0]);
    k(&key, &[&[head.kind, head.flags], stored])
}

/// A frame of the vectors' pack at [`OFFSET`], and its D.
pub fn frame(head: Head, stored: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let keys = h("pack", &[&purpose("data"), &OWN.salt.0]);
    let digest = digest(head, stored);
    (
        frame_under(&keys, "coffre1 frame", head, stored, &digest),
        digest,
    )
}

/// The same in a journal segment.
pub fn journal_frame(head: Head, stored: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let keys = h("journal segment", &[&purpose("journal"), &OWN.salt.0]);
    let digest = digest(head, stored);
    (
        frame_under(&keys, "coffre1 journal", head, stored, &digest),
        digest,
    )
}

/// A frame under any keys, whose nonce is made from any D.
pub fn frame_under(
    keys: &[u8; 128],
    text: &str,
    head: Head,
    stored: &[u8],
    digest: &[u8; 32],
) -> Vec<u8> {
    let header = [
        &[head.kind, head.flags][..],
        &head.zero.to_le_bytes(),
        &head.stored.to_le_bytes(),
        &head.raw.to_le_bytes(),
    ]
    .concat();
    let aad = [
        &label(text)[..],
        &VAULT.0,
        &1u32.to_le_bytes(),
        &OWN.salt.0,
        &u64::from(OFFSET).to_le_bytes(),
        &header,
    ]
    .concat();
    let nonce: [u8; 24] = k(&keys[32..64], &[&aad, digest])[..24].try_into().unwrap();
    let mask = k(&keys[64..96], &[&nonce]);
    let masked: Vec<u8> = header.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    [
        &nonce[..],
        &masked,
        &encrypt(&keys[..32], &nonce, &aad, stored),
    ]
    .concat()
}

/// The device of the vectors.
pub fn device() -> DeviceKey {
    DeviceKey::from_bytes(&DEVICE)
}

/// `length ‖ body ‖ zeros`, up to a power of two of at least 4096.
pub fn padded(body: &[u8]) -> Vec<u8> {
    let mut out = [&(body.len() as u32).to_le_bytes()[..], body].concat();
    out.resize(out.len().next_power_of_two().max(4096), 0);
    out
}

/// A commit with this clear part and this padded body, signed by the vectors' device, and its name.
pub fn commit(clear: &[u8], padded: &[u8]) -> (Vec<u8>, String) {
    sign(
        [
            clear,
            &seal(&purpose("commit"), "coffre1 commit", clear, padded),
        ]
        .concat(),
    )
}

/// Signs a commit as the vectors' device; the name is what its bytes say.
pub fn sign(mut bytes: Vec<u8>) -> (Vec<u8>, String) {
    let hash: [u8; 32] = h("commit hash", &[&bytes]);
    let name = name_of(&bytes, &hash);
    bytes.extend_from_slice(&device().sign(&CommitHash(hash)));
    (bytes, name)
}

/// Where a commit's device id and sequence number stand.
pub const DEVICE_AT: usize = 44;
pub const KEY_AT: usize = 60;
pub const SEQ_AT: usize = 92;

fn name_of(bytes: &[u8], hash: &[u8; 32]) -> String {
    let field = |at: usize, length| bytes[at..at + length].to_vec();
    ObjectName::Commit {
        device: coffre_format::id::DeviceId(field(DEVICE_AT, 16).try_into().unwrap()),
        seq: coffre_format::id::Seq(u64::from_le_bytes(field(SEQ_AT, 8).try_into().unwrap())),
        hash: hash[..16].try_into().unwrap(),
    }
    .to_string()
}

/// Postcard of a value.
pub fn post<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

/// A versioned value.
pub fn versioned<T: serde::Serialize>(value: &T) -> Vec<u8> {
    [vec![1], post(value)].concat()
}

/// LEB128.
pub fn leb(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}
