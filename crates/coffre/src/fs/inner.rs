//! What all clones of a file system share, and how an operation runs on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::id::SessionPrefix;
use coffre_format::record::Place;
use coffre_format::record::Pointer;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::core::Core;
use crate::fs::crowded::Looked;
use crate::fs::crowded::crowded_frames;
use crate::fs::data_packs::DataPacks;
use crate::fs::fold::FoldTurn;
use crate::fs::journal::Journal;
use crate::fs::namespace::Context;
use crate::fs::namespace::Outcome;
use crate::fs::namespace::Step;
use crate::fs::namespace::Stop;
use crate::fs::namespace::View;
use crate::fs::pressure::Demand;
use crate::fs::pressure::Gauge;
use crate::fs::publish::Publishing;
use crate::fs::shares::Shares;
use crate::fs::stale;
use crate::fs::stale::Origin;
use crate::fs::stale::Stale;
use crate::fs::types::Options;
use crate::store::Outbox;
use crate::tree::Need;
use crate::tree::Nodes;
use crate::tree::Pinned;
use crate::tree::Pins;
use crate::vault::Vault;

/// Rounds of fetching after which an operation gives up: far more than the depth of any tree.
const ROUNDS: usize = 64;
/// Journal at which a fold begins, in bytes.
const JOURNAL_AT: u64 = 64 * 1024 * 1024;
/// The same while the queue is long: a journal holds twice what its fold leaves, in bytes.
const JOURNAL_PRESSED: u64 = 8 * 1024 * 1024;
/// What needs the store is waited for this long: the kernel cannot take a request back.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What an operation waits for before it runs again.
enum Wanted {
    Nodes(Need),
    /// Content that the fold will need because of it.
    Frames(Vec<Pointer>),
}

/// What only a writing session has.
pub(crate) struct Writer {
    pub(crate) journal: Journal,
    pub(crate) packs: Arc<DataPacks>,
    pub(crate) outbox: Outbox,
    pub(crate) session: SessionPrefix,
    /// One fold at a time.
    pub(crate) fold_turn: tokio::sync::Mutex<FoldTurn>,
    /// Set when the tree knows this device.
    pub(crate) begun: tokio::sync::OnceCell<()>,
    /// One publish at a time.
    pub(crate) publishing: tokio::sync::Mutex<Publishing>,
}

impl Writer {
    /// Why the local disk takes no changes, while it does not.
    pub(crate) fn trouble(&self) -> Option<Error> {
        self.journal.trouble().or_else(|| self.packs.trouble())
    }
}

/// Counters for `status`.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) speed: AtomicU64,
    pub(crate) queue: AtomicU64,
    pub(crate) last_error: Mutex<Option<Error>>,
    /// Why the last fold failed, if it did.
    pub(crate) unfolded: Mutex<Option<String>>,
}

/// Shared by all clones of a file system.
pub(crate) struct Inner {
    pub(crate) vault: Vault,
    pub(crate) options: Options,
    pub(crate) shares: Shares,
    pub(crate) nodes: Nodes,
    /// Packs without a name, which a reader finds as a writer left them.
    pub(crate) packs: Arc<DataPacks>,
    pub(crate) writer: Option<Writer>,
    core: Mutex<Core>,
    /// Wakes the background task.
    pub(crate) wake: tokio::sync::Notify,
    /// Told when the background has made room.
    pub(crate) room: tokio::sync::Notify,
    pub(crate) counters: Counters,
    /// How full the local disk is with what waits for the store.
    pub(crate) gauge: Gauge,
    /// What people call the devices, as far as their records were read.
    pub(crate) names: Mutex<BTreeMap<DeviceId, String>>,
    /// What a mount must be told.
    pub(crate) stale: Stale,
    pub(crate) closing: tokio::sync::watch::Sender<bool>,
    /// What opening met, for the status.
    pub(crate) notices: Vec<String>,
}

/// What an [`Inner`] is made of.
pub(crate) struct Parts {
    pub(crate) vault: Vault,
    pub(crate) options: Options,
    pub(crate) shares: Shares,
    pub(crate) nodes: Nodes,
    pub(crate) packs: Arc<DataPacks>,
    pub(crate) writer: Option<Writer>,
    pub(crate) core: Core,
    pub(crate) notices: Vec<String>,
}

impl Inner {
    pub(crate) fn new(parts: Parts) -> Self {
        let folder = parts.vault.state().path().to_owned();
        Self {
            gauge: Gauge::new(parts.options.queue, folder),
            vault: parts.vault,
            shares: parts.shares,
            options: parts.options,
            nodes: parts.nodes,
            packs: parts.packs,
            writer: parts.writer,
            core: Mutex::new(parts.core),
            wake: tokio::sync::Notify::new(),
            room: tokio::sync::Notify::new(),
            counters: Counters::default(),
            names: Mutex::default(),
            stale: Stale::default(),
            closing: tokio::sync::watch::Sender::new(false),
            notices: parts.notices,
        }
    }

    /// The short lock.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ring(&self) -> Arc<Keyring> {
        self.vault.ring()
    }

    pub(crate) fn writer(&self) -> Result<&Writer> {
        self.writer
            .as_ref()
            .ok_or(Error::Refused(Refusal::ReadOnly))
    }

    /// Runs a function that only reads, fetching what it needs.
    pub(crate) async fn query<T>(
        &self,
        mut ask: impl FnMut(&View<'_, Pinned<'_>>, &Core) -> Step<T>,
    ) -> Result<T> {
        let mut pins = Pins::default();
        let mut deadline = None;
        for _ in 0..ROUNDS {
            let need = {
                let core = self.core();
                let resident = Pinned {
                    recent: &core.recent,
                    pins: &pins,
                    nodes: &self.nodes,
                };
                match ask(&core.view(&resident), &core) {
                    Ok(value) => return Ok(value),
                    Err(Stop::Refused(refusal)) => return Err(refusal.into()),
                    Err(Stop::Need(need)) => need,
                }
            };
            // In a place of its own: what needs nothing is not to move about what this would hold.
            let fetched = Box::pin(self.nodes.fetch_all(&need, &mut pins));
            let deadline = *deadline.get_or_insert_with(answer_by);
            self.within(deadline, fetched).await?;
        }
        Err(endless())
    }

    /// Runs an operation, fetching what it needs, and accepts its edits as one transaction. `finish` runs under
    /// the same lock (handles, orphans).
    pub(crate) async fn operate<T, U>(
        &self,
        origin: Origin,
        demand: Demand,
        operation: impl FnMut(&View<'_, Pinned<'_>>, &Core, &Context) -> Step<Outcome<T>>,
        finish: impl FnOnce(&mut Core, T) -> U,
    ) -> Result<U> {
        self.admit(self.writer()?, demand).await?;
        self.run(origin, operation, finish).await
    }

    /// As [`Inner::operate`], for a caller that was admitted before it took a lease.
    pub(crate) async fn run<T, U>(
        &self,
        origin: Origin,
        mut operation: impl FnMut(&View<'_, Pinned<'_>>, &Core, &Context) -> Step<Outcome<T>>,
        finish: impl FnOnce(&mut Core, T) -> U,
    ) -> Result<U> {
        let writer = self.writer()?;
        let mut pins = Pins::default();
        let mut deadline = None;
        let mut rounds = 0..ROUNDS;
        let mut looked = Looked::default();
        let (value, stale) = loop {
            rounds.next().ok_or_else(endless)?;
            let wanted = {
                let mut core = self.core();
                let resident = Pinned {
                    recent: &core.recent,
                    pins: &pins,
                    nodes: &self.nodes,
                };
                let context = core.context();
                let view = core.view(&resident);
                let done = operation(&view, &core, &context);
                let done = done.map(|outcome| (crowded_frames(&view, &outcome.edits), outcome));
                match done {
                    Ok((crowded, _)) if crowded.iter().any(|frame| !looked.contains(frame)) => {
                        Wanted::Frames(crowded)
                    }
                    Ok((_, outcome)) => {
                        let was_clean = core.changed.is_none();
                        let tell = origin == Origin::Library && self.stale.is_heard();
                        let stale = tell.then(|| stale::of_edits(&outcome.edits));
                        core.commit(outcome.edits, &writer.journal)?;
                        let full = core.active.weight() >= self.shares.fold_at;
                        let value = finish(&mut core, outcome.value);
                        drop(core);
                        if was_clean || full {
                            self.wake.notify_one();
                        }
                        break (value, stale);
                    }
                    Err(Stop::Refused(refusal)) => return Err(refusal.into()),
                    Err(Stop::Need(need)) => Wanted::Nodes(need),
                }
            };
            let deadline = *deadline.get_or_insert_with(answer_by);
            match wanted {
                Wanted::Nodes(need) => {
                    let fetched = Box::pin(self.nodes.fetch_all(&need, &mut pins));
                    self.within(deadline, fetched).await?;
                }
                Wanted::Frames(frames) => {
                    Box::pin(self.look_at(frames, &mut looked, deadline)).await?;
                }
            }
        };
        if let Some(stale) = stale {
            Box::pin(self.tell_mount(stale)).await;
        }
        Ok(value)
    }

    /// The result of what may need the store, or that it did not come in time.
    pub(crate) async fn within<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let done = tokio::time::timeout_at(deadline, work).await;
        done.unwrap_or_else(|_| {
            let silent = Error::Unreachable {
                operation: "read",
                object: "what is not on this machine".into(),
                why: format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
            };
            // A line that swallows everything fails no request for a long time.
            self.vault.store().doubt(&silent);
            Err(silent)
        })
    }

    /// Number of a new child of `directory`.
    pub(crate) fn allocate(&self, directory: Inode) -> Result<Inode> {
        Ok(self.core().allocator.allocate(directory)?)
    }

    /// The plaintext of a data frame, wherever it is.
    pub(crate) async fn frame(&self, pointer: &Pointer) -> Result<Bytes> {
        let Place::Open { salt, offset } = pointer.place else {
            return self.nodes.data(pointer).await;
        };
        if let Some(read) = self.packs.read(pointer) {
            return read;
        }
        match self.packs.frozen(salt) {
            Some(frozen) => {
                let place = Place::Pack {
                    pack: frozen.pack,
                    offset,
                };
                self.nodes.data(&Pointer { place, ..*pointer }).await
            }
            None => Err(Error::Missing {
                object: format!("open pack {salt}"),
                path: None,
            }),
        }
    }

    /// Whether the overlay or the journal has grown so far that it should be folded.
    pub(crate) fn should_fold(&self) -> bool {
        let Some(writer) = &self.writer else {
            return false;
        };
        let journal = writer.journal.size();
        self.core().active.weight() >= self.shares.fold_at
            || journal >= JOURNAL_AT
            || (journal >= JOURNAL_PRESSED && self.should_hurry(writer))
    }
}

/// When what is asked now must be answered.
pub(crate) fn answer_by() -> Instant {
    Instant::now() + ANSWER_WITHIN
}

fn endless() -> Error {
    Error::Forged {
        object: "tree".into(),
        path: None,
        why: "it is deeper than a tree can be".into(),
    }
}
