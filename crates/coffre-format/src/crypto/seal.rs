//! The one function that seals: XChaCha20-Poly1305 with a nonce made from what is sealed.
//!
//! A frame over 4 KiB goes through HChaCha20 and the ChaCha20-Poly1305 of aws-lc-rs, which is twice as fast;
//! smaller ones, and the reference in the tests, through RustCrypto's XChaCha20-Poly1305. Both make the same
//! bytes (draft-irtf-cfrg-xchacha-03 defines one by the other).

use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::CHACHA20_POLY1305;
use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::UnboundKey;
use chacha20::R20;
use chacha20::hchacha;
use chacha20poly1305::KeyInit;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::AeadInOut;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::crypto::hash::keyed_short;
use crate::crypto::key::PurposeKey;
use crate::error::FormatError;
use crate::error::Result;

/// Length of a nonce, in bytes.
pub const NONCE: usize = 24;
/// Length of an authentication tag, in bytes.
pub const TAG: usize = 16;
/// From here on aws-lc-rs is faster, in bytes.
const LARGE: usize = 4096;

/// What is sealed: 16 bytes at the start of the associated data, so that nothing opens as anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(pub(crate) [u8; 16]);

impl Label {
    /// Sealed part of a commit.
    pub const COMMIT: Self = Self(*b"coffre1 commit\0\0");
    /// A frame of a pack.
    pub const PACK_FRAME: Self = Self(*b"coffre1 frame\0\0\0");
    /// A frame of a journal segment.
    pub const JOURNAL_FRAME: Self = Self(*b"coffre1 journal\0");
    /// The anchor.
    pub const ANCHOR: Self = Self(*b"coffre1 anchor\0\0");
    /// A device key inside the anchor.
    pub const DEVICE_KEY: Self = Self(*b"coffre1 devkey\0\0");
    /// Payload of a key slot.
    pub const SLOT: Self = Self(*b"coffre1 slot\0\0\0\0");
}

/// `nonce 24 ‖ ciphertext ‖ tag 16`; nonce = K(nonce key, label ‖ aad ‖ BLAKE3(bytes))[..24].
pub fn seal(key: &PurposeKey, label: Label, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let digest = blake3::hash(plaintext);
    let nonce: [u8; NONCE] = keyed_short(&key.nonce, &[&label.0, aad, digest.as_bytes()]);
    let full_aad = [label.0.as_slice(), aad].concat();
    let mut out = Vec::with_capacity(NONCE + plaintext.len() + TAG);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let (_, body) = out.split_at_mut(NONCE);
    let tag = seal_in_place(&key.encryption, &nonce, &full_aad, body);
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`seal`] made with the same key, label and associated data.
pub fn open(
    key: &PurposeKey,
    label: Label,
    aad: &[u8],
    sealed: &[u8],
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>> {
    let truncated = FormatError::Truncated { what };
    let (nonce, rest) = sealed
        .split_first_chunk::<NONCE>()
        .ok_or(truncated.clone())?;
    let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(truncated)?;
    let full_aad = [label.0.as_slice(), aad].concat();
    let mut plaintext = Zeroizing::new(body.to_vec());
    open_in_place(&key.encryption, nonce, &full_aad, &mut plaintext, tag, what)?;
    Ok(plaintext)
}

/// Encrypts `body` in place and answers the tag.
pub(crate) fn seal_in_place(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    aad: &[u8],
    body: &mut [u8],
) -> [u8; TAG] {
    if body.len() < LARGE {
        let cipher = XChaCha20Poly1305::new(key.into());
        let tag = cipher
            .encrypt_inout_detached(nonce.into(), aad, body.into())
            .expect("far below the cipher's limit of 256 GiB");
        return tag.into();
    }
    let (cipher, short) = subkey(key, nonce);
    let tag = cipher
        .seal_in_place_separate_tag(short, Aad::from(aad), body)
        .expect("far below the cipher's limit of 256 GiB");
    let mut out = [0; TAG];
    out.copy_from_slice(tag.as_ref());
    out
}

/// Authenticates and decrypts `body` in place.
pub(crate) fn open_in_place(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    aad: &[u8],
    body: &mut [u8],
    tag: &[u8; TAG],
    what: &'static str,
) -> Result<()> {
    let forged = FormatError::Forged { what };
    if body.len() < LARGE {
        let cipher = XChaCha20Poly1305::new(key.into());
        return cipher
            .decrypt_inout_detached(nonce.into(), aad, body.into(), tag.into())
            .map_err(|_| forged);
    }
    let (cipher, short) = subkey(key, nonce);
    cipher
        .open_in_place_separate_tag(short, Aad::from(aad), tag, body)
        .map(|_| ())
        .map_err(|_| forged)
}

/// The ChaCha20-Poly1305 key and nonce that XChaCha20-Poly1305 stands for (draft-irtf-cfrg-xchacha-03, 2.3).
fn subkey(key: &[u8; 32], nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
    let (first, last) = nonce.split_at(16);
    let mut input = [0; 16];
    input.copy_from_slice(first);
    let mut derived: [u8; 32] = hchacha::<R20>(key.into(), &input.into()).into();
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, &derived).expect("a subkey has 32 bytes");
    derived.zeroize();
    let mut short = [0; 12];
    short[4..].copy_from_slice(last);
    (
        LessSafeKey::new(unbound),
        Nonce::assume_unique_for_key(short),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(key: &[u8; 32], nonce: &[u8; NONCE], aad: &[u8], body: &mut [u8]) -> [u8; TAG] {
        XChaCha20Poly1305::new(key.into())
            .encrypt_inout_detached(nonce.into(), aad, body.into())
            .unwrap()
            .into()
    }

    #[test]
    fn the_draft_s_vector() {
        // draft-irtf-cfrg-xchacha-03, A.3.1
        let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
        let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + i as u8);
        let aad = [
            0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        ];
        let mut body = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.".to_vec();
        let tag = seal_in_place(&key, &nonce, &aad, &mut body);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&body[..16]),
            "bd6d179d3e83d43b9576579493c0e939"
        );
        assert_eq!(
            data_encoding::HEXLOWER.encode(&tag),
            "c0875924c1c7987947deafd8780acf49"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_implementations_make_the_same_bytes(
            key: [u8; 32],
            nonce: [u8; 24],
            aad in proptest::collection::vec(any::<u8>(), 0..80),
            body in proptest::collection::vec(any::<u8>(), LARGE..3 * LARGE),
        ) {
            let (mut ours, mut theirs) = (body.clone(), body.clone());
            let tag = seal_in_place(&key, &nonce, &aad, &mut ours);
            prop_assert_eq!(tag, reference(&key, &nonce, &aad, &mut theirs));
            prop_assert_eq!(&ours, &theirs);
            open_in_place(&key, &nonce, &aad, &mut ours, &tag, "test").unwrap();
            prop_assert_eq!(ours, body);
        }
    }

    #[test]
    fn nothing_opens_with_another_label_aad_or_a_flipped_bit() {
        let key = PurposeKey {
            encryption: [1; 32],
            nonce: [2; 32],
        };
        let sealed = seal(&key, Label::ANCHOR, b"aad", b"content");
        assert_eq!(
            open(&key, Label::ANCHOR, b"aad", &sealed, "t")
                .unwrap()
                .as_slice(),
            b"content"
        );
        assert!(open(&key, Label::COMMIT, b"aad", &sealed, "t").is_err());
        assert!(open(&key, Label::ANCHOR, b"axd", &sealed, "t").is_err());
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open(&key, Label::ANCHOR, b"aad", &flipped, "t").is_err(),
                "bit {bit}"
            );
        }
        for length in 0..sealed.len() {
            assert!(open(&key, Label::ANCHOR, b"aad", &sealed[..length], "t").is_err());
        }
    }
}
