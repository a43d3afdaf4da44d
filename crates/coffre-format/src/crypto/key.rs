//! One key for each purpose, derived from a vault's root keys.

use crate::error::FormatError;
use crate::error::Result;
use crate::id::DeviceId;
use crate::id::Digest;
use crate::id::Epoch;
use crate::id::Inode;
use crate::id::Seq;
use crate::id::VaultId;

/// Root of all keys of one epoch. Never printed; wiped when dropped.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct RootKey(pub(crate) [u8; 32]);

/// Shapes the tree for the whole life of the vault. Never printed; wiped when dropped.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct StructureKey(pub(crate) [u8; 32]);

/// A key for one purpose: encryption ‖ nonce.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct PurposeKey {
    pub(crate) encryption: [u8; 32],
    pub(crate) nonce: [u8; 32],
}

/// The purposes of one epoch.
#[derive(Clone)]
pub struct EpochKeys {
    /// The epoch.
    pub epoch: Epoch,
    /// Seals commits.
    pub commit: PurposeKey,
    /// Source of journal segments' keys.
    pub journal: PurposeKey,
    /// Seals the anchor.
    pub anchor: PurposeKey,
    /// Seals the device key.
    pub device_key: PurposeKey,
    /// Source of packs' keys.
    pub data: PurposeKey,
}

/// The purposes that outlive rotation.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct StructureKeys {
    pub(crate) frame_hash: [u8; 32],
    pub(crate) boundary: [u8; 32],
    pub(crate) node_hash: [u8; 32],
    pub(crate) conflict: [u8; 32],
}

/// All keys that an unlocked vault holds: the structure keys and each epoch known so far.
pub struct Keyring {
    vault: VaultId,
    structure_key: StructureKey,
    structure: StructureKeys,
    epochs: std::collections::BTreeMap<Epoch, (RootKey, EpochKeys)>,
}

impl RootKey {
    /// A fresh one.
    pub fn random() -> Result<Self> {
        todo!()
    }
}
impl StructureKey {
    /// A fresh one.
    pub fn random() -> Result<Self> {
        todo!()
    }
}
impl Keyring {
    /// Of a vault whose current epoch has this root key.
    pub fn new(vault: VaultId, epoch: Epoch, root: RootKey, structure: StructureKey) -> Self {
        todo!()
    }
    /// The vault.
    pub fn vault(&self) -> VaultId {
        self.vault
    }
    /// The newest epoch.
    pub fn current(&self) -> &EpochKeys {
        todo!()
    }
    /// Keys of an epoch, or `Forged` ("epoch") where none is known.
    pub fn epoch(&self, epoch: Epoch) -> Result<&EpochKeys> {
        todo!()
    }
    /// Adds an older epoch's root key, as a commit's keyring names it.
    pub fn add(&mut self, epoch: Epoch, root: RootKey) {
        todo!()
    }
    /// The structure keys.
    pub fn structure(&self) -> &StructureKeys {
        &self.structure
    }
    /// For writing a key slot of the current epoch.
    pub fn secrets(&self) -> (Epoch, &RootKey, &StructureKey) {
        todo!()
    }
    /// Older epochs with their root keys, for a commit's keyring.
    pub fn older(&self) -> impl Iterator<Item = (Epoch, &RootKey)> {
        self.epochs.iter().map(|(e, (r, _))| (*e, r))
    }
}
impl StructureKeys {
    /// D of a frame: K(frame hash key, kind ‖ flags ‖ stored bytes).
    pub fn digest(&self, kind: u8, flags: u8, stored: &[u8]) -> Digest {
        todo!()
    }
    /// Leading zero bits of K(boundary, key), counted from the top bit of byte 0.
    pub fn boundary_zeros(&self, key: &[u8]) -> u32 {
        todo!()
    }
    /// A keyed hasher for logical node hashes.
    pub fn node_hasher(&self) -> blake3::Hasher {
        todo!()
    }
    /// Inode of a conflict copy.
    pub fn conflict_inode(&self, inode: Inode, loser: DeviceId, seq: Seq) -> Inode {
        todo!()
    }
}
