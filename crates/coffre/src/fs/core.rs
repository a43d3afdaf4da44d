//! What the short lock guards: the state every operation reads and changes, and the order of changes.
//!
//! ```text
//!  active changes   ◀── operations                 (journal: since the last fold)
//!  frozen changes   ◀── while a fold is under way
//!  folded tree      ◀── root, in packs of the outbox, cache and store
//! ```
//! Under the lock there is no await, no I/O, no sealing and no decoding.

use std::collections::HashMap;
use std::sync::Arc;

use coffre_format::commit::Vector;
use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Stamp;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;
use coffre_format::transaction::Transaction;

use crate::clock;
use crate::clock::Instant;
use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::allocator::Allocator;
use crate::fs::handle::Handles;
use crate::fs::journal::Journal;
use crate::fs::named::Named;
use crate::fs::namespace::Context;
use crate::fs::namespace::View;
use crate::fs::namespace::apply;
use crate::tree::Changes;
use crate::tree::Recent;
use crate::tree::Resident;

/// Times no device of this vault will reach by counting: a stamp beyond is an attack or a defect.
const LAMPORT_MOST: u64 = 1 << 62;

/// State under the lock.
pub(crate) struct Core {
    pub(crate) active: Changes,
    pub(crate) frozen: Option<Arc<Changes>>,
    /// What the transactions of `active` and those of `frozen` name.
    pub(crate) named: Named,
    pub(crate) named_frozen: Named,
    pub(crate) root: Child,
    /// Last transaction that was accepted.
    pub(crate) lsn: Lsn,
    /// Last transaction that the folded root contains.
    pub(crate) folded: Lsn,
    /// Last transaction that a commit in the store contains, and the root of that commit.
    pub(crate) published: (Lsn, Child),
    /// Commits that the root contains.
    pub(crate) merged: Vector,
    /// When the oldest unpublished change was made.
    pub(crate) dirty_since: Option<Instant>,
    /// When the newest change was made.
    pub(crate) changed: Option<Instant>,
    pub(crate) handles: Handles,
    pub(crate) allocator: Allocator,
    lamport: u64,
    device: Option<DeviceId>,
    session_recorded: bool,
    pub(crate) recent: Recent,
    /// Held by writes between sealing a block and naming it; a fold waits for the older ones.
    pub(crate) lease: Arc<()>,
}

/// What a core begins with.
pub(crate) struct Begin {
    pub(crate) root: Child,
    pub(crate) merged: Vector,
    pub(crate) lsn: Lsn,
    pub(crate) published: (Lsn, Child),
    pub(crate) device: Option<DeviceId>,
    pub(crate) session: SessionPrefix,
    pub(crate) lamport: u64,
}

impl Core {
    pub(crate) fn new(begin: Begin) -> Self {
        // What an earlier process folded and did not publish is as overdue as what it left in the journal.
        let unpublished = begin.root.hash != begin.published.1.hash;
        let began = unpublished.then(Instant::now);
        Self {
            active: Changes::default(),
            frozen: None,
            named: Named::default(),
            named_frozen: Named::default(),
            root: begin.root,
            lsn: begin.lsn,
            folded: begin.lsn,
            published: begin.published,
            merged: begin.merged,
            dirty_since: began,
            changed: began,
            handles: Handles::default(),
            allocator: Allocator::new(begin.session),
            lamport: begin.lamport,
            device: begin.device,
            session_recorded: false,
            recent: Recent::default(),
            lease: Arc::new(()),
        }
    }

    /// The tree as it stands now.
    pub(crate) fn view<'a, R: Resident>(&'a self, resident: &'a R) -> View<'a, R> {
        View {
            active: &self.active,
            frozen: self.frozen.as_deref(),
            root: &self.root,
            resident,
        }
    }

    /// Time and stamp for the next change.
    pub(crate) fn context(&self) -> Context {
        let device = self.device.unwrap_or(DeviceId([0; 16]));
        Context {
            now: clock::now(),
            stamp: Stamp {
                lamport: self.lamport + 1,
                device,
            },
        }
    }

    /// Goes on as another device.
    pub(crate) fn set_device(&mut self, device: DeviceId) {
        self.device = Some(device);
    }

    /// This device; only a device may change anything.
    pub(crate) fn device(&self) -> std::result::Result<DeviceId, Refusal> {
        self.device.ok_or(Refusal::ReadOnly)
    }

    /// Accepts the edits of one operation: into the overlay and, in the same order, into the journal.
    pub(crate) fn commit(&mut self, mut edits: Vec<Edit>, journal: &Journal) -> Result<Lsn> {
        if edits.is_empty() {
            return Ok(self.lsn);
        }
        let device = self.device()?;
        if !self.session_recorded && self.allocator.used() {
            self.session_recorded = true;
            let key = Key::new(
                Inode::VAULT,
                tag::SESSION,
                &self.allocator.prefix().0.to_be_bytes(),
            );
            edits.push(Edit::Put(key, Value::Record(Record::Session(device))));
        }
        let transaction = Transaction {
            lsn: Lsn(self.lsn.0 + 1),
            edits,
        };
        journal.append(&transaction)?;
        self.lamport = (self.lamport + 1).min(LAMPORT_MOST);
        self.lsn = transaction.lsn;
        self.apply(transaction)?;
        let now = Instant::now();
        self.dirty_since.get_or_insert(now);
        self.changed = Some(now);
        Ok(self.lsn)
    }

    /// Applies a transaction that is in the journal already (recovery), or is being put there.
    pub(crate) fn apply(&mut self, transaction: Transaction) -> Result<()> {
        for edit in transaction.edits {
            self.named.note(&edit);
            if let Edit::Put(_, Value::Record(Record::Inode(inode))) = &edit {
                self.lamport = self.lamport.max(inode.stamp.lamport.min(LAMPORT_MOST));
            }
            apply(&mut self.active, &edit).map_err(|misapplied| {
                let why = format!(
                    "it changes a block that is not there ({:?})",
                    misapplied.key
                );
                Error::Damaged {
                    file: "journal".into(),
                    offset: 0,
                    why,
                }
            })?;
        }
        Ok(())
    }

    /// Takes a recovered transaction.
    pub(crate) fn replay(&mut self, transaction: Transaction) -> Result<()> {
        self.lsn = transaction.lsn;
        let now = Instant::now();
        self.dirty_since.get_or_insert(now);
        self.changed.get_or_insert(now);
        self.apply(transaction)
    }

    /// Whether the store lacks anything.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.active.is_empty() || self.frozen.is_some() || self.root.hash != self.published.1.hash
    }

    /// Bytes that wait for a fold.
    pub(crate) fn overlay(&self) -> usize {
        self.active.weight() + self.frozen.as_ref().map_or(0, |frozen| frozen.weight())
    }
}

/// Counts of open handles, by inode.
pub(crate) type OpenCounts = HashMap<Inode, usize>;
