//! An unlocked vault: its keys, its devices' chains of commits, and what this device remembers of them.
//! (Signatures; bodies follow.)
#![allow(unused_variables, missing_docs)]

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use coffre_format::commit::AddedPack;
use coffre_format::commit::Commit;
use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::DeviceId;
use coffre_format::id::Lsn;
use coffre_format::id::PackName;
use coffre_format::id::SessionPrefix;
use coffre_format::id::VaultId;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Secret;
use coffre_format::record::Child;

use crate::error::Result;
use crate::store::Store;
use crate::store::StoreUri;
use crate::tree::Nodes;

/// Whether a vault may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}
/// The folder of one vault on this machine (anchor, journal, outbox, socket), locked.
pub struct StateDir {
    in_work: (),
}
impl StateDir {
    /// `root`/<hash of the canonical URI>; `ReadOnly` takes the lock shared, `ReadWrite` exclusively (waits 30 s, then `Busy`).
    pub fn open(root: &Path, uri: &StoreUri, access: Access) -> Result<Self> {
        todo!()
    }
    /// The folder of a vault, without opening it (to find a control socket).
    pub fn locate(root: &Path, uri: &StoreUri) -> PathBuf {
        todo!()
    }
    pub fn path(&self) -> &Path {
        todo!()
    }
    pub fn anchor(&self) -> PathBuf {
        todo!()
    }
    pub fn journal(&self) -> PathBuf {
        todo!()
    }
    pub fn outbox(&self) -> PathBuf {
        todo!()
    }
    pub fn socket(&self) -> PathBuf {
        todo!()
    }
}
/// What `create` needs.
pub struct Setup {
    /** Secrets with their labels; each becomes a slot. */
    pub secrets: Vec<(Secret, String)>,
    pub kdf: KdfParams,
    /** Name of this device for people. */
    pub device_name: String,
    /** Owner of the root directory. */
    pub uid: u32,
    pub gid: u32,
}
/// A verified, opened commit and its place.
#[derive(Clone)]
pub struct Head {
    pub device: DeviceId,
    pub point: Point,
    pub commit: Commit,
}
/// Heads as found: the one to work on, and all.
#[derive(Clone)]
pub struct Heads {
    pub base: Head,
    pub all: Vec<Head>,
    /** Devices whose heads the base does not contain. */
    pub diverged: Vec<DeviceId>,
    pub warnings: Vec<String>,
}
/// What a commit is made of.
pub struct Draft {
    pub root: Child,
    pub merged: Vector,
    pub packs: Vec<AddedPack>,
    pub node_packs: Vec<PackName>,
    pub session: SessionPrefix,
    pub lsn: Lsn,
    pub label: String,
}
/// An unlocked vault. Clones share it.
#[derive(Clone)]
pub struct Vault {
    in_work: Arc<()>,
}
impl Vault {
    pub async fn create(store: Store, state: StateDir, setup: Setup) -> Result<Self> {
        todo!()
    }
    /// Unlocks, checks the anchor, lists and verifies the heads. Enrols nothing. With an anchor and no network it opens offline.
    pub async fn open(
        store: Store,
        state: StateDir,
        secret: &Secret,
        access: Access,
    ) -> Result<Self> {
        todo!()
    }
    pub fn id(&self) -> VaultId {
        todo!()
    }
    pub fn access(&self) -> Access {
        todo!()
    }
    pub fn store(&self) -> &Store {
        todo!()
    }
    pub fn state(&self) -> &StateDir {
        todo!()
    }
    pub fn ring(&self) -> Arc<Keyring> {
        todo!()
    }
    /// As of the last open or refresh; `None` before the first (offline start without a head).
    pub fn heads(&self) -> Heads {
        todo!()
    }
    /// Lists heads again. `Rollback` is sticky.
    pub async fn refresh(&self) -> Result<Heads> {
        todo!()
    }
    /// This device, once enrolled.
    pub fn device(&self) -> Option<DeviceId> {
        todo!()
    }
    /// Makes this state folder a device: generates and anchors its key. Returns the record to put under the tree's inode 0; it becomes known with the first publish.
    pub fn enrol(&self, name: &str) -> Result<(DeviceId, coffre_format::record::DeviceRecord)> {
        todo!()
    }
    /// Own last published commit.
    pub fn last(&self) -> Option<Point> {
        todo!()
    }
    /// Intent → PUT → read back → anchor. The packs are in the store already.
    pub async fn publish(&self, draft: Draft) -> Result<Point> {
        todo!()
    }
    /// Re-PUTs or confirms an intent of an earlier process.
    pub async fn settle_intent(&self) -> Result<Option<Point>> {
        todo!()
    }
}
/// How deep `check` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /** Objects, commits, nodes, records, links. */
    Structure,
    /** Every data frame as well. */
    Data,
}
