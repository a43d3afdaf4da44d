//! Device keys: Ed25519 signatures (RFC 8032) under a fixed context.

use ed25519_dalek::Signature;
use ed25519_dalek::Signer;
use ed25519_dalek::SigningKey;
use ed25519_dalek::VerifyingKey;
use zeroize::Zeroizing;

use crate::crypto::hash::context;
use crate::crypto::hash::derive;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::CommitHash;
use crate::id::DeviceId;
use crate::id::PublicKey;
use crate::id::VaultId;
use crate::random;

/// What a signature of a commit begins with, padded with zeros to 16 bytes.
const CONTEXT: [u8; 16] = *b"coffre1 commit\0\0";

/// Signs one device's commits. Never printed; wiped when dropped.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// A fresh one.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        random::fill(seed.as_mut())?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Id of the device: H(device, vault id ‖ public key)[..16].
    pub fn device(&self, vault: VaultId) -> DeviceId {
        device_id(vault, &self.public())
    }

    /// Signs a commit.
    pub fn sign(&self, hash: &CommitHash) -> [u8; 64] {
        self.0.sign(&message(hash)).to_bytes()
    }

    /// The secret seed, for the anchor.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// One that is known already, by its seed.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }
}

/// Id of the device with this key.
pub fn device_id(vault: VaultId, public_key: &PublicKey) -> DeviceId {
    DeviceId(*derive::<16>(context::DEVICE, &[&vault.0, &public_key.0]))
}

/// Checks a commit's signature (strictly: no weak keys, no malleable forms).
pub fn verify(public_key: &PublicKey, hash: &CommitHash, signature: &[u8; 64]) -> Result<()> {
    let forged = FormatError::Forged {
        what: "commit signature",
    };
    let key = VerifyingKey::from_bytes(&public_key.0).map_err(|_| forged.clone())?;
    key.verify_strict(&message(hash), &Signature::from_bytes(signature))
        .map_err(|_| forged)
}

fn message(hash: &CommitHash) -> [u8; 48] {
    let mut message = [0; 48];
    message[..16].copy_from_slice(&CONTEXT);
    message[16..].copy_from_slice(&hash.0);
    message
}
