//! A commit: one signed, sealed state of the whole vault on one device's chain.
use std::collections::BTreeMap;

use crate::crypto::key::Keyring;
use crate::crypto::key::RootKey;
use crate::crypto::sign::DeviceKey;
use crate::error::Result;
use crate::id::*;
use crate::name::ObjectName;
use crate::record::Child;
use crate::record::Timestamp;

/// Largest commit object, in bytes.
pub const COMMIT_MAX: u64 = 1024 * 1024;
/// Packs one commit may add.
pub const PACKS_MAX: usize = 16_384;

/// Feature bits: what a reader must understand, may ignore when reading, may ignore altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Refuse the vault if one is unknown.
    pub required: u32,
    /// Refuse to write if one is unknown.
    pub read_only: u32,
    /// Harmless.
    pub ignorable: u32,
}
/// A pack that this commit is the first of its chain to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedPack {
    /// Its name.
    pub name: PackName,
    /// BLAKE3 of the object.
    pub hash: ObjectHash,
    /// Its length, in bytes.
    pub length: u64,
}
/// The part that anyone may read and verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// Features.
    pub features: Features,
    /// Vault.
    pub vault: VaultId,
    /// Epoch of the commit key.
    pub epoch: Epoch,
    /// Device.
    pub device: DeviceId,
    /// Its key.
    pub public_key: PublicKey,
    /// Place in the chain, from 1.
    pub seq: Seq,
    /// Commit before it; `NONE` for seq 1.
    pub previous: CommitHash,
    /// Hash of the inventory object if floor > 1.
    pub inventory: Option<ObjectHash>,
    /// Packs added.
    pub packs: Vec<AddedPack>,
}
/// A point of a chain.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Point {
    /// Place in the chain.
    pub seq: Seq,
    /// The commit there.
    pub hash: CommitHash,
}
/// Device → point.
pub type Vector = BTreeMap<DeviceId, Point>;
/// The sealed part.
#[derive(Clone)]
pub struct Body {
    /// The tree.
    pub root: Child,
    /// What this root contains.
    pub merged: Vector,
    /// What this device knows of; merged ≤ seen.
    pub seen: Vector,
    /// Oldest commit of this chain still kept.
    pub floor: Seq,
    /// Older epochs' root keys.
    pub keyring: Vec<(Epoch, RootKey)>,
    /// Packs that hold this root's own nodes (root and the path just changed).
    pub node_packs: Vec<PackName>,
    /// Session of the journal.
    pub session: SessionPrefix,
    /// Last transaction contained.
    pub lsn: Lsn,
    /// Packs whose condemnation this device acknowledges.
    pub acknowledged: Vec<PackName>,
    /// When (advisory).
    pub time: Timestamp,
    /// For people.
    pub label: String,
}
/// A whole commit.
#[derive(Clone)]
pub struct Commit {
    /// Clear part.
    pub clear: Clear,
    /// Sealed part.
    pub body: Body,
}
/// The bytes of a commit and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCommit {
    /// The whole object.
    pub bytes: Vec<u8>,
    /// Its commit hash.
    pub hash: CommitHash,
    /// Its name.
    pub name: ObjectName,
}
/// A commit whose name, device id and signature were checked, but that was not opened.
pub struct Verified {
    /// The clear part.
    pub clear: Clear,
    /// Its hash.
    pub hash: CommitHash,
    sealed: Vec<u8>,
}
impl Commit {
    /// Seals and signs.
    pub fn seal(&self, ring: &Keyring, device: &DeviceKey) -> Result<SealedCommit> {
        todo!()
    }
}
impl Verified {
    /// Checks, without keys: size, content against `name`, device id, signature, layout.
    pub fn check(bytes: &[u8], name: &ObjectName) -> Result<Self> {
        todo!()
    }
    /// Opens the sealed part.
    pub fn open(&self, ring: &Keyring) -> Result<Commit> {
        todo!()
    }
}
