//! BLAKE3 in its two roles: deriving keys under hard-coded contexts, and keyed hashing.

use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::crypto::locked::wipe_stack;

/// Stack that a derivation uses, generously, in bytes.
const HASHING: usize = 16 * 1024;

/// Contexts of key derivation: `coffre v1 <label>`, one for each purpose. Variable data never goes into them.
pub(crate) mod context {
    pub(crate) const COMMIT: &str = "coffre v1 commit";
    pub(crate) const JOURNAL: &str = "coffre v1 journal";
    pub(crate) const ANCHOR: &str = "coffre v1 anchor";
    pub(crate) const DEVICE_KEY: &str = "coffre v1 device key";
    pub(crate) const DATA: &str = "coffre v1 data";
    pub(crate) const FRAME_HASH: &str = "coffre v1 frame hash";
    pub(crate) const BOUNDARY: &str = "coffre v1 boundary";
    pub(crate) const NODE_HASH: &str = "coffre v1 node hash";
    pub(crate) const CONFLICT: &str = "coffre v1 conflict";
    pub(crate) const PACK: &str = "coffre v1 pack";
    pub(crate) const SEGMENT: &str = "coffre v1 journal segment";
    pub(crate) const SLOT: &str = "coffre v1 slot";
    pub(crate) const DEVICE: &str = "coffre v1 device";
    pub(crate) const COMMIT_HASH: &str = "coffre v1 commit hash";
    pub(crate) const CHECKPOINT: &str = "coffre v1 checkpoint";
}

/// `H(label, parts)`: `N` bytes of BLAKE3 `derive_key` over the joined parts.
pub(crate) fn derive<const N: usize>(context: &'static str, parts: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let out = expand(context, parts);
    wipe_stack::<HASHING>();
    out
}

#[inline(never)]
fn expand<const N: usize>(context: &'static str, parts: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut out = Zeroizing::new([0; N]);
    // Both hold what was hashed, up to a block.
    let mut reader = hasher.finalize_xof();
    reader.fill(out.as_mut());
    reader.zeroize();
    hasher.zeroize();
    out
}

/// `K(key, parts)`: keyed BLAKE3 over the joined parts.
pub(crate) fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The first bytes of `K(key, parts)`, as a nonce or mask.
pub(crate) fn keyed_short<const N: usize>(key: &[u8; 32], parts: &[&[u8]]) -> [u8; N] {
    let hash = keyed(key, parts);
    std::array::from_fn(|index| hash.get(index).copied().unwrap_or(0))
}
