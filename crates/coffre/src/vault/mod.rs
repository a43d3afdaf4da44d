//! An unlocked vault: its keys, its devices' chains of commits, and what this device remembers of them.
//!
//! ```text
//!  secret ──unlock──▶ keyring ──opens──▶ anchor (what this device has accepted)
//!                                          │ compared with
//!  store ──list──▶ commits ──verify──▶ heads ──choose──▶ base ──▶ the tree
//!                     ▲
//!  draft ──intent──▶ PUT, read back ──▶ anchor: `last`            (publish)
//! ```

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use bytes::Bytes;
use coffre_format::anchor::Anchor;
use coffre_format::commit::AddedPack;
use coffre_format::commit::Commit;
use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::DeviceId;
use coffre_format::id::Lsn;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::SessionPrefix;
use coffre_format::id::SlotId;
use coffre_format::id::VaultId;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Secret;
use coffre_format::record::Child;

use crate::error::Error;
use crate::error::Result;
use crate::store::Store;
use crate::tree::Nodes;

mod anchor;
mod base;
mod chain;
mod check;
mod checkpoint;
mod commits;
pub mod copy;
mod create;
mod device;
mod heads;
mod kept;
mod keys;
mod pack_sink;
mod publish;
mod state;
mod unlock;

pub use check::CheckProgress;
pub use check::CheckReport;
pub use check::Damage;
pub use check::Depth;
pub use check::Problem;
pub use check::Stored;
pub use check::check;
pub use check::stored;
pub use keys::SlotInfo;
pub use pack_sink::FrozenPack;
pub use pack_sink::PackSink;
pub use pack_sink::Sealed;
pub use pack_sink::Settled;
pub use state::StateDir;

/// Whether a vault may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing is written to the store.
    ReadOnly,
    /// This process is the vault's only writer on this machine.
    ReadWrite,
}
/// What `create` needs.
pub struct Setup {
    /// Secrets with their labels; each becomes a slot.
    pub secrets: Vec<(Secret, String)>,
    /// Cost of their key derivation.
    pub kdf: KdfParams,
    /// Name of this device for people.
    pub device_name: String,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

/// A verified, opened commit and its place.
#[derive(Clone)]
pub struct Head {
    /// Whose chain it ends.
    pub device: DeviceId,
    /// Where it stands in it.
    pub point: Point,
    /// What it says.
    pub commit: Commit,
    /// The object, as it was fetched.
    sealed: Bytes,
}

/// Heads as found: the one to work on, and all.
#[derive(Clone)]
pub struct Heads {
    /// The one to work on.
    pub base: Head,
    /// All of them, by device; a device that was cloned may have two.
    pub all: Vec<Head>,
    /// Devices whose heads the base does not contain.
    pub diverged: Vec<DeviceId>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// What a commit is made of.
pub struct Draft {
    /// The tree; everything it reaches is in the store.
    pub root: Child,
    /// Commits that went into the tree. The own predecessor is added by `publish`.
    pub merged: Vector,
    /// Packs that no commit of this chain has named yet.
    pub packs: Vec<AddedPack>,
    /// Packs that hold the root and the path just changed.
    pub node_packs: Vec<PackName>,
    /// Session of the journal.
    pub session: SessionPrefix,
    /// Last transaction that the tree contains.
    pub lsn: Lsn,
    /// For people.
    pub label: String,
}

/// An unlocked vault. Clones share it.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    state: StateDir,
    access: Access,
    id: VaultId,
    /// For the few records that opening needs; the file system reads through its own.
    nodes: Nodes,
    /// Held while the store's heads and the own chain are compared or moved on, so that a
    /// listing never meets a commit of our own that the anchor does not know yet.
    /// Taken before `memory`, never after.
    turn: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
}

struct Memory {
    ring: Arc<Keyring>,
    anchor: Anchor,
    /// Hash of the anchor file that `anchor` was read from or saved as; a reader that finds
    /// another one leaves it alone.
    basis: Option<ObjectHash>,
    heads: Heads,
    /// Heads as this folder had accepted them before it was opened; the state that its journal goes on from is
    /// one of them, unless something was not published.
    before: Vec<Head>,
    /// The slot that opened the vault, and whether the tree lists it (`None`: not looked yet).
    slot: SlotId,
    listed: Option<bool>,
    /// What was wrong with the store's heads; sticky for this process.
    rollback: Option<Error>,
    /// The store could not be reached when the heads were last looked for.
    offline: bool,
    /// Warnings about this session, beside those about the heads.
    notices: Vec<String>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.inner.id)
    }
}

#[doc(hidden)]
impl Vault {
    /// Its id.
    pub fn id(&self) -> VaultId {
        self.inner.id
    }

    /// What this session may do: read-only as well if its key slot turned out not to be listed, or
    /// if the vault uses a feature that this program can only read.
    pub fn access(&self) -> Access {
        let memory = self.memory();
        let newer = memory.heads.base.commit.clear.features.read_only != 0;
        match memory.listed {
            Some(false) => Access::ReadOnly,
            _ if newer => Access::ReadOnly,
            _ => self.inner.access,
        }
    }

    /// The nodes that opening has read.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.inner.nodes
    }

    /// Where its objects are.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Its folder on this machine.
    pub fn state(&self) -> &StateDir {
        &self.inner.state
    }

    /// Its keys.
    pub fn ring(&self) -> Arc<Keyring> {
        self.memory().ring.clone()
    }

    /// As of the last open, refresh or publish.
    pub fn heads(&self) -> Heads {
        let memory = self.memory();
        let mut heads = memory.heads.clone();
        heads.warnings.extend(memory.notices.iter().cloned());
        heads
    }

    /// Whether the heads are those of an earlier time because the store could not be reached.
    pub fn is_offline(&self) -> bool {
        self.memory().offline
    }

    /// This device, once enrolled.
    pub fn device(&self) -> Option<DeviceId> {
        self.memory().device(self.inner.id)
    }

    /// Ids under which this state folder published before.
    pub fn retired(&self) -> Vec<DeviceId> {
        self.memory().anchor.retired.clone()
    }

    /// Own last published commit.
    pub fn last(&self) -> Option<Point> {
        self.memory().anchor.last
    }

    /// The heads that this folder had accepted before it was opened.
    pub(crate) fn heads_before(&self) -> Vec<Head> {
        self.memory().before.clone()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves no half-made change here: each is one assignment.
        self.inner
            .memory
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes the anchor if it says something new, and may be written (by a reader only when alone).
    fn save(&self, memory: &mut Memory) -> Result<()> {
        let state = &self.inner.state;
        let heads = &memory.heads.all;
        let bytes = anchor::seal(state, &memory.anchor, &memory.ring)?;
        let hash = ObjectHash::of(&bytes);
        if memory.basis == Some(hash) && kept::has(state, heads) {
            return Ok(());
        }
        let saved = state.alone(|| {
            let there = anchor::load(state)?.map(|bytes| ObjectHash::of(&bytes));
            if there != memory.basis && state.access() == Access::ReadOnly {
                return Ok(false);
            }
            // The heads first: an anchor that names a commit finds its bytes when there is no network.
            kept::add(state, heads)?;
            anchor::replace(&state.anchor(), &bytes)?;
            kept::prune(state, heads);
            Ok(true)
        });
        match saved {
            Ok(Some(true)) => memory.basis = Some(hash),
            Ok(_) => {}
            // Reading goes on; only what was learned of the vault is forgotten with this process.
            Err(error) if state.access() == Access::ReadOnly => memory.notice(format!(
                "a rollback of the store to before today would not be noticed the next time: {error}"
            )),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Memory {
    fn notice(&mut self, what: String) {
        if !self.notices.contains(&what) {
            self.notices.push(what);
        }
    }

    fn device(&self, vault: VaultId) -> Option<DeviceId> {
        let key = self.anchor.device_key.as_ref()?;
        Some(key.device(vault))
    }
}

/// The same keys again: a keyring is not cloned by accident.
fn copy_ring(ring: &Keyring) -> Keyring {
    let (epoch, root, structure) = ring.secrets();
    let mut copy = Keyring::new(ring.vault(), epoch, root.clone(), structure.clone());
    for (older, root) in ring.older() {
        copy.add(older, root.clone());
    }
    copy
}

#[cfg(test)]
mod tests;
