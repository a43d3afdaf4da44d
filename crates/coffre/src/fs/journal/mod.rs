//! The local journal: every operation is here, sealed and in order, before anything else may happen to it.
//!
//! ```text
//!  operations ──append──▶ queue ──flusher thread──▶ segment 7 │ segment 8 │ segment 9 ◀─ written now
//!                                                   ▲ freed by the checkpoint that follows a fold
//! ```
//! One flusher writes, at one time in one place: on a thread of its own, on its caller's runtime, or where somebody
//! waits for a sync and it is at rest. It takes everything that is queued at once (group commit), seals it into
//! frames that each carry the digest of the frame before, and syncs the data packs that the transactions name
//! before the journal itself. A crash therefore loses at most a suffix of what was not synced.
//!
//! A disk that takes nothing stops nobody at once: what is not synced stays in memory, whoever waits for a
//! sync is told, later changes are refused ([`Journal::trouble`]), and the flusher tries again by itself.

mod flusher;
pub mod recover;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use coffre_format::crypto::key::Keyring;
use coffre_format::id::Digest;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::Transaction;
use coffre_format::transaction::encode_transaction;
use tokio::sync::Notify;
use tokio::sync::oneshot;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;
use crate::fs::data_packs::DataPacks;
use crate::fs::types::Workers;

use flusher::Flusher;
use flusher::Here;
use flusher::Running;
use segment::Segments;

/// Transactions reach the journal file at the latest after this time.
const LINGER: Duration = Duration::from_secs(1);
/// A queue this long is written at once, in bytes.
const WRITE_AT: usize = 1024 * 1024;
/// Room for so many, and for the one that is too much, in bytes.
const ROOM: usize = WRITE_AT + WRITE_AT / 8;

/// Where a journal continues.
pub struct Start {
    /// The folder of segments.
    pub dir: PathBuf,
    /// Number of the first segment to create.
    pub segment: u64,
    /// Session that writes.
    pub session: SessionPrefix,
    /// Digest of the last frame before.
    pub previous: Digest,
    /// Last transaction that is in the journal.
    pub lsn: Lsn,
    /// Written bytes that may be kept in memory until they are synced.
    pub unsynced_most: usize,
}

enum Item {
    Transactions {
        first: Lsn,
        last: Lsn,
        bytes: Vec<u8>,
    },
    /// Later transactions go to a new segment; answers with its number.
    Roll(oneshot::Sender<Result<u64>>),
    /// Synced together with all before it; then segments below `keep` are removed.
    Checkpoint {
        checkpoint: Box<Checkpoint>,
        keep: u64,
        done: oneshot::Sender<Result<()>>,
    },
}

/// Told once, by whoever writes the journal.
type Waiter = Box<dyn FnOnce(Result<()>) + Send>;

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// What the next transactions are given room for: where it was needed last time they are not to be moved as they grow.
    room: usize,
    since: Option<Instant>,
    synced: Lsn,
    wanted: Lsn,
    /// The disk takes nothing: what was written after `synced` is in memory only.
    trouble: Option<Error>,
    /// Who waits until that is synced.
    waiters: Vec<(Lsn, Waiter)>,
    /// When the flusher's thread wakes by itself, if it sleeps.
    wakes_at: Option<Instant>,
    urgent: bool,
    stop: bool,
    /// Nobody takes anything from here any more.
    ended: bool,
    /// Bytes in all segments, for the fold's trigger.
    size: u64,
    /// Bytes that the flusher took and has not synced.
    held: usize,
}

/// What became of a wish for a sync.
#[derive(PartialEq, Eq)]
enum Word {
    Left,
    Answered,
}

/// What the flusher took from the queue.
struct Taken {
    items: VecDeque<Item>,
    sync: bool,
    /// The disk is to be tried again.
    retry: bool,
    stop: bool,
}

/// Whether there is a reason to write.
enum Due {
    Now(Taken),
    At(Instant),
    Never,
}

impl Queue {
    /// `idle` is when a watermark frame is owed, if nothing else comes; `retry` when a disk that failed is tried again.
    fn due(&mut self, idle: Option<Instant>, retry: Option<Instant>) -> Due {
        let now = Instant::now();
        let sync = self.wanted > self.synced || self.stop;
        let linger = self.since.map(|since| since + LINGER);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let full = self.urgent || self.bytes >= WRITE_AT;
        if sync || full || is_due(linger) || is_due(idle) || is_due(retry) {
            self.room = if self.bytes >= WRITE_AT { ROOM } else { 0 };
            self.bytes = 0;
            self.since = None;
            self.urgent = false;
            return Due::Now(Taken {
                items: std::mem::take(&mut self.items),
                sync,
                retry: is_due(retry),
                stop: self.stop,
            });
        }
        let next = [linger.or(idle), retry].into_iter().flatten().min();
        next.map_or(Due::Never, Due::At)
    }

    /// Whether the flusher's thread, left alone, sees within the time it has for that what became due at `now`.
    fn wakes_in_time(&self, now: Instant) -> bool {
        self.wakes_at.is_some_and(|at| at <= now + LINGER)
    }
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Wake,
}

/// Reaches the flusher wherever it runs.
#[derive(Default)]
struct Wake {
    thread: Condvar,
    task: Notify,
}

impl Wake {
    fn notify(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody writes any more: whoever still waits, or comes, waits for nothing.
    fn end(&self) {
        let waiters = {
            let mut queue = self.queue();
            queue.ended = true;
            std::mem::take(&mut queue.waiters)
        };
        for (_, tell) in waiters {
            tell(Err(stopped()));
        }
    }
}

/// The writing end of a journal.
pub struct Journal {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
    here: Option<Here>,
}

impl Journal {
    /// Creates the first segment of this session and starts the flusher.
    pub fn start(
        start: Start,
        ring: Arc<Keyring>,
        packs: Arc<DataPacks>,
        workers: Workers,
    ) -> Result<Self> {
        let (lsn, unsynced_most) = (start.lsn, start.unsynced_most);
        let segments = Segments::create(start, ring)?;
        let queue = Queue {
            synced: lsn,
            ..Queue::default()
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Wake::default(),
        });
        let flusher = Flusher::new(shared.clone(), segments, packs, lsn, unsynced_most);
        let (running, here) = flusher.start(workers)?;
        Ok(Self {
            shared,
            running: Mutex::new(Some(running)),
            here,
        })
    }

    /// Queues a transaction. The caller holds the lock that orders operations.
    pub fn append(&self, transaction: &Transaction) -> Result<()> {
        let lsn = transaction.lsn;
        let mut queue = self.shared.queue();
        // Whoever ends the flusher waits for what was queued before, and for nothing that comes later.
        if queue.stop || queue.ended {
            return Err(stopped());
        }
        let before = queue.bytes;
        let room = match queue.items.back() {
            Some(Item::Transactions { .. }) => ROOM,
            _ => queue.room,
        };
        let grown = match queue.items.back_mut() {
            Some(Item::Transactions { last, bytes, .. }) if bytes.len() < WRITE_AT => {
                let length = bytes.len();
                encode_transaction(transaction, bytes);
                *last = lsn;
                bytes.len() - length
            }
            _ => {
                let mut bytes = Vec::with_capacity(room);
                encode_transaction(transaction, &mut bytes);
                let length = bytes.len();
                queue.items.push_back(Item::Transactions {
                    first: lsn,
                    last: lsn,
                    bytes,
                });
                length
            }
        };
        queue.bytes += grown;
        if queue.since.is_none() {
            let now = Instant::now();
            queue.since = Some(now);
            if !queue.wakes_in_time(now) {
                self.shared.wake.notify();
            }
        } else if before < WRITE_AT && queue.bytes >= WRITE_AT {
            self.shared.wake.notify();
        }
        Ok(())
    }

    /// Waits until everything up to `lsn` is on disk, data packs first.
    pub async fn sync(&self, lsn: Lsn) -> Result<()> {
        let (told, synced) = oneshot::channel();
        let tell = Box::new(move |result| drop(told.send(result)));
        if self.leave_word(lsn, tell) == Word::Left {
            self.shared.wake.notify();
        }
        synced.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The same for a caller who may block: syncs here and now if nobody else is at it. Tells from wherever it is done.
    pub fn sync_then(&self, lsn: Lsn, tell: impl FnOnce(Result<()>) + Send + 'static) {
        if self.leave_word(lsn, Box::new(tell)) == Word::Answered {
            return;
        }
        if !self.here.as_ref().is_some_and(Here::try_step) {
            self.shared.wake.notify();
        }
    }

    /// Leaves word who waits for what, unless that can be answered.
    fn leave_word(&self, lsn: Lsn, tell: Waiter) -> Word {
        let mut queue = self.shared.queue();
        let told = if queue.synced >= lsn {
            Ok(())
        } else if queue.ended {
            Err(stopped())
        } else {
            queue.wanted = queue.wanted.max(lsn);
            queue.waiters.push((lsn, tell));
            return Word::Left;
        };
        drop(queue);
        tell(told);
        Word::Answered
    }

    /// Later transactions go to a new segment, whose number is answered. The caller holds the ordering lock.
    pub fn roll(&self) -> oneshot::Receiver<Result<u64>> {
        let (done, rolled) = oneshot::channel();
        self.push_urgent(Item::Roll(done));
        rolled
    }

    /// Writes and syncs a checkpoint, then frees the segments below `keep`.
    pub async fn checkpoint(&self, checkpoint: Checkpoint, keep: u64) -> Result<()> {
        let written = self.queue_checkpoint(checkpoint, keep);
        written.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Puts a checkpoint between the transactions before and after the call. The caller holds the ordering lock.
    pub fn queue_checkpoint(
        &self,
        checkpoint: Checkpoint,
        keep: u64,
    ) -> oneshot::Receiver<Result<()>> {
        let (done, written) = oneshot::channel();
        self.push_urgent(Item::Checkpoint {
            checkpoint: Box::new(checkpoint),
            keep,
            done,
        });
        written
    }

    /// Why nothing reaches the disk, while it does not.
    pub fn trouble(&self) -> Option<Error> {
        self.shared.queue().trouble.clone()
    }

    /// Lets the flusher see that the data packs are in trouble.
    pub fn nudge(&self) {
        self.shared.wake.notify();
    }

    /// Bytes that are in memory only because the disk takes nothing.
    pub fn held(&self) -> usize {
        let queue = self.shared.queue();
        queue.bytes + queue.held
    }

    /// Bytes that wait in memory for the flusher.
    pub fn backlog(&self) -> usize {
        self.shared.queue().bytes
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.shared.queue().size
    }

    /// Writes what is queued, syncs it and ends the flusher.
    pub fn stop(&self) {
        self.shared.queue().stop = true;
        self.shared.wake.notify();
        if let Some(running) = self.running().take() {
            running.finish();
            self.shared.end();
        }
    }

    /// Ends the flusher as a kill would: what is queued is gone.
    #[cfg(feature = "faults")]
    pub fn crash(&self) {
        if let Some(running) = self.running().take() {
            running.abandon();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_urgent(&self, item: Item) {
        let mut queue = self.shared.queue();
        if queue.stop {
            // Dropped unanswered, which tells whoever waits for it.
            return;
        }
        queue.items.push_back(item);
        queue.urgent = true;
        self.shared.wake.notify();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

fn stopped() -> Error {
    Error::Busy {
        what: "the file system is being closed".into(),
    }
}
