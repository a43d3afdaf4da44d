//! One key for each purpose, derived from a vault's root keys.

use std::collections::BTreeMap;

use zeroize::Zeroize;
use zeroize::ZeroizeOnDrop;

use crate::crypto::hash::context;
use crate::crypto::hash::derive;
use crate::crypto::hash::keyed;
use crate::crypto::locked::Locked;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::DeviceId;
use crate::id::Digest;
use crate::id::Epoch;
use crate::id::Inode;
use crate::id::Seq;
use crate::id::VaultId;
use crate::random;

/// Root of all keys of one epoch. Never printed; wiped when dropped.
#[derive(Clone)]
pub struct RootKey(pub(crate) Locked);

/// Shapes the tree for the whole life of the vault. Never printed; wiped when dropped.
#[derive(Clone)]
pub struct StructureKey(pub(crate) Locked);

/// A key for one purpose: encryption ‖ nonce.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
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
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StructureKeys {
    pub(crate) frame_hash: [u8; 32],
    pub(crate) boundary: [u8; 32],
    pub(crate) node_hash: [u8; 32],
    pub(crate) conflict: [u8; 32],
}

/// All keys that an unlocked vault holds: the structure keys and each epoch known so far.
#[derive(Clone)]
pub struct Keyring {
    vault: VaultId,
    structure_key: StructureKey,
    structure: StructureKeys,
    newest: EpochKeys,
    newest_root: RootKey,
    older: BTreeMap<Epoch, (RootKey, EpochKeys)>,
}

impl RootKey {
    /// One that is known already.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(Locked::copy_of(&bytes));
        bytes.zeroize();
        key
    }

    /// A fresh one.
    pub fn random() -> Result<Self> {
        fresh().map(Self)
    }
}

impl StructureKey {
    /// One that is known already.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(Locked::copy_of(&bytes));
        bytes.zeroize();
        key
    }

    /// A fresh one.
    pub fn random() -> Result<Self> {
        fresh().map(Self)
    }
}

fn fresh() -> Result<Locked> {
    let mut bytes = Locked::zeros();
    random::fill(bytes.as_mut())?;
    Ok(bytes)
}

impl PurposeKey {
    fn derive(context: &'static str, parts: &[&[u8]]) -> Self {
        let material = derive::<64>(context, parts);
        let mut key = Self {
            encryption: [0; 32],
            nonce: [0; 32],
        };
        let (encryption, nonce) = material.split_at(32);
        key.encryption.copy_from_slice(encryption);
        key.nonce.copy_from_slice(nonce);
        key
    }
}

impl EpochKeys {
    fn derive(root: &RootKey, vault: VaultId, epoch: Epoch) -> Self {
        let epoch_bytes = epoch.0.to_le_bytes();
        let parts: [&[u8]; 3] = [root.0.as_ref(), &vault.0, &epoch_bytes];
        Self {
            epoch,
            commit: PurposeKey::derive(context::COMMIT, &parts),
            journal: PurposeKey::derive(context::JOURNAL, &parts),
            anchor: PurposeKey::derive(context::ANCHOR, &parts),
            device_key: PurposeKey::derive(context::DEVICE_KEY, &parts),
            data: PurposeKey::derive(context::DATA, &parts),
        }
    }
}

impl Keyring {
    /// Of a vault whose current epoch has this root key.
    pub fn new(vault: VaultId, epoch: Epoch, root: RootKey, structure: StructureKey) -> Self {
        Self {
            vault,
            structure: StructureKeys::derive(&structure, vault),
            structure_key: structure,
            newest: EpochKeys::derive(&root, vault, epoch),
            newest_root: root,
            older: BTreeMap::new(),
        }
    }

    /// Fresh keys of a new vault, epoch 1.
    pub fn generate(vault: VaultId) -> Result<Self> {
        Ok(Self::new(
            vault,
            Epoch(1),
            RootKey::random()?,
            StructureKey::random()?,
        ))
    }

    /// The vault.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The newest epoch.
    pub fn current(&self) -> &EpochKeys {
        &self.newest
    }

    /// Keys of an epoch, or `Forged` where none is known.
    pub fn epoch(&self, epoch: Epoch) -> Result<&EpochKeys> {
        if epoch == self.newest.epoch {
            return Ok(&self.newest);
        }
        self.older
            .get(&epoch)
            .map(|(_, keys)| keys)
            .ok_or(FormatError::Forged { what: "epoch" })
    }

    /// Adds an older epoch's root key, as a commit's keyring names it.
    pub fn add(&mut self, epoch: Epoch, root: RootKey) {
        if epoch < self.newest.epoch {
            let keys = EpochKeys::derive(&root, self.vault, epoch);
            self.older.insert(epoch, (root, keys));
        }
    }

    /// The structure keys.
    pub fn structure(&self) -> &StructureKeys {
        &self.structure
    }

    /// For writing a key slot of the current epoch.
    pub fn secrets(&self) -> (Epoch, &RootKey, &StructureKey) {
        (self.newest.epoch, &self.newest_root, &self.structure_key)
    }

    /// Older epochs with their root keys, for a commit's keyring.
    pub fn older(&self) -> impl Iterator<Item = (Epoch, &RootKey)> {
        self.older.iter().map(|(epoch, (root, _))| (*epoch, root))
    }
}

impl StructureKeys {
    fn derive(key: &StructureKey, vault: VaultId) -> Self {
        let one = |context| *derive::<32>(context, &[key.0.as_ref(), &vault.0]);
        Self {
            frame_hash: one(context::FRAME_HASH),
            boundary: one(context::BOUNDARY),
            node_hash: one(context::NODE_HASH),
            conflict: one(context::CONFLICT),
        }
    }

    /// D of a frame: K(frame hash key, kind ‖ flags ‖ stored bytes).
    pub fn digest(&self, kind: u8, flags: u8, stored: &[u8]) -> Digest {
        Digest(keyed(&self.frame_hash, &[&[kind, flags], stored]))
    }

    /// Leading zero bits of K(boundary, key), counted from the top bit of byte 0.
    pub fn boundary_zeros(&self, key: &[u8]) -> u32 {
        let hash = keyed(&self.boundary, &[key]);
        let mut zeros = 0;
        for byte in hash {
            zeros += byte.leading_zeros();
            if byte != 0 {
                break;
            }
        }
        zeros
    }

    /// A keyed hasher for logical node hashes.
    pub fn node_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.node_hash)
    }

    /// Inode of a conflict copy: the first 8 bytes of K(conflict, inode ‖ loser ‖ seq), top bit set.
    pub fn conflict_inode(&self, inode: Inode, loser: DeviceId, seq: Seq) -> Inode {
        let parts: [&[u8]; 3] = [&inode.0.to_be_bytes(), &loser.0, &seq.0.to_le_bytes()];
        let hash = keyed(&self.conflict, &parts);
        let first: [u8; 8] = std::array::from_fn(|index| hash.get(index).copied().unwrap_or(0));
        Inode(u64::from_be_bytes(first) | 1 << 63)
    }
}
