//! The local journal: every operation is here, sealed and in order, before anything else may happen to it.
//!
//! ```text
//!  operations ──append──▶ queue ──flusher thread──▶ segment 7 │ segment 8 │ segment 9 ◀─ written now
//!                                                   ▲ freed by the checkpoint that follows a fold
//! ```
//! One thread writes. It takes everything that is queued at once (group commit), seals it into frames that
//! each carry the digest of the frame before, and syncs the data packs that the transactions name before
//! the journal itself. A crash therefore loses at most a suffix of what was not synced.

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
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use coffre_format::crypto::key::Keyring;
use coffre_format::id::Digest;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::Transaction;
use coffre_format::transaction::encode_transaction;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::data_packs::DataPacks;

use segment::Segments;

/// Transactions reach the journal file at the latest after this time.
const LINGER: Duration = Duration::from_secs(1);
/// A queue this long is written at once, in bytes.
const WRITE_AT: usize = 1024 * 1024;

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

/// How far the journal is.
#[derive(Debug, Clone)]
struct Progress {
    synced: Lsn,
    failures: u64,
    error: Option<Error>,
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

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    since: Option<Instant>,
    wanted: Lsn,
    urgent: bool,
    stop: bool,
    /// Bytes in all segments, for the fold's trigger.
    size: u64,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end of a journal.
pub struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Creates the first segment of this session and starts the flusher.
    pub fn start(start: Start, ring: Arc<Keyring>, packs: Arc<DataPacks>) -> Result<Self> {
        let (lsn, unsynced_most) = (start.lsn, start.unsynced_most);
        let segments = Segments::create(start, ring)?;
        let (progress, _) = watch::channel(Progress {
            synced: lsn,
            failures: 0,
            error: None,
        });
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            progress,
        });
        let flusher = Flusher {
            shared: shared.clone(),
            segments,
            packs,
            written: lsn,
            unsynced_most,
        };
        let thread = std::thread::Builder::new()
            .name("coffre-journal".into())
            .spawn(move || flusher.run())
            .map_err(|source| Error::io("start the thread that writes", "journal", source))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a transaction. The caller holds the lock that orders operations.
    pub fn append(&self, transaction: &Transaction) {
        let lsn = transaction.lsn;
        let mut queue = self.shared.queue();
        let before = queue.bytes;
        let grown = match queue.items.back_mut() {
            Some(Item::Transactions { last, bytes, .. }) if bytes.len() < WRITE_AT => {
                let length = bytes.len();
                encode_transaction(transaction, bytes);
                *last = lsn;
                bytes.len() - length
            }
            _ => {
                let mut bytes = Vec::new();
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
            queue.since = Some(Instant::now());
            self.shared.wake.notify_one();
        } else if before < WRITE_AT && queue.bytes >= WRITE_AT {
            self.shared.wake.notify_one();
        }
    }

    /// Waits until everything up to `lsn` is on disk, data packs first.
    pub async fn sync(&self, lsn: Lsn) -> Result<()> {
        let mut progress = self.shared.progress.subscribe();
        let failures = progress.borrow().failures;
        {
            let mut queue = self.shared.queue();
            queue.wanted = queue.wanted.max(lsn);
            self.shared.wake.notify_one();
        }
        loop {
            {
                let now = progress.borrow_and_update();
                if now.failures > failures {
                    return Err(now
                        .error
                        .clone()
                        .expect("a failure is recorded with its error"));
                }
                if now.synced >= lsn {
                    return Ok(());
                }
            }
            if progress.changed().await.is_err() {
                return Err(stopped());
            }
        }
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

    /// Bytes that wait in memory for the flusher.
    pub fn backlog(&self) -> usize {
        self.shared.queue().bytes
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.shared.queue().size
    }

    /// Writes what is queued, syncs it and stops the thread.
    pub fn stop(&self) {
        self.shared.queue().stop = true;
        self.shared.wake.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the journal thread ended unexpectedly");
        }
    }

    fn push_urgent(&self, item: Item) {
        let mut queue = self.shared.queue();
        queue.items.push_back(item);
        queue.urgent = true;
        self.shared.wake.notify_one();
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

struct Flusher {
    shared: Arc<Shared>,
    segments: Segments,
    packs: Arc<DataPacks>,
    written: Lsn,
    unsynced_most: usize,
}

/// What the flusher took from the queue.
struct Taken {
    items: VecDeque<Item>,
    sync: bool,
    stop: bool,
}

impl Flusher {
    fn run(mut self) {
        loop {
            let taken = self.wait();
            let stop = taken.stop;
            self.write(taken);
            self.shared.queue().size = self.segments.size();
            if stop && self.shared.queue().items.is_empty() {
                return;
            }
        }
    }

    /// Sleeps until there is a reason to write.
    fn wait(&self) -> Taken {
        let mut queue = self.shared.queue();
        loop {
            let synced = self.shared.progress.borrow().synced;
            let sync = queue.wanted > synced || queue.stop;
            let linger = queue
                .since
                .map(|since| LINGER.saturating_sub(since.elapsed()));
            let due = linger.is_some_and(|left| left.is_zero());
            if sync || queue.urgent || due || queue.bytes >= WRITE_AT {
                queue.bytes = 0;
                queue.since = None;
                queue.urgent = false;
                return Taken {
                    items: std::mem::take(&mut queue.items),
                    sync,
                    stop: queue.stop,
                };
            }
            // After a sync with nothing new, a watermark frame follows, so that damage below it is told from a torn tail.
            let idle = if self.segments.owes_watermark() {
                Some(LINGER)
            } else {
                None
            };
            match linger.or(idle) {
                None => {
                    queue = self
                        .shared
                        .wake
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                Some(time) => {
                    let (back, timeout) = self
                        .shared
                        .wake
                        .wait_timeout(queue, time)
                        .unwrap_or_else(PoisonError::into_inner);
                    queue = back;
                    if timeout.timed_out()
                        && queue.items.is_empty()
                        && self.segments.owes_watermark()
                    {
                        return Taken {
                            items: VecDeque::new(),
                            sync: false,
                            stop: queue.stop,
                        };
                    }
                }
            }
        }
    }

    fn write(&mut self, taken: Taken) {
        fault::point("journal.taken");
        let idle = taken.items.is_empty() && !taken.sync;
        for item in taken.items {
            match item {
                Item::Transactions { first, last, bytes } => {
                    self.segments.write(first, last, bytes);
                    fault::point("journal.written");
                    self.written = last;
                }
                Item::Roll(done) => {
                    let result = self.sync_all().and_then(|()| self.segments.roll());
                    drop(done.send(result));
                }
                Item::Checkpoint {
                    checkpoint,
                    keep,
                    done,
                } => {
                    self.segments.write_checkpoint(*checkpoint);
                    fault::point("journal.checkpoint-written");
                    let result = self.sync_all().and_then(|()| {
                        fault::point("journal.checkpoint-synced");
                        self.segments.free_below(keep)
                    });
                    drop(done.send(result));
                }
            }
        }
        if taken.sync || self.segments.unsynced_bytes() > self.unsynced_most {
            // The error went to the waiters through the progress.
            let _ = self.sync_all();
        } else if idle {
            self.segments.write_watermark(self.written);
        }
    }

    /// fdatasync of the data packs, then of the journal: a frame never stands before what it names.
    fn sync_all(&mut self) -> Result<()> {
        let result = self.packs.sync().and_then(|pack| {
            fault::point("journal.data-synced");
            self.segments.sync(pack)
        });
        fault::point("journal.synced");
        let written = self.written;
        self.shared.progress.send_modify(|progress| match &result {
            Ok(()) => progress.synced = written,
            Err(error) => {
                progress.failures += 1;
                progress.error = Some(error.clone());
            }
        });
        if result.is_err() {
            // Nobody waits any more; the next fsync asks again.
            let mut queue = self.shared.queue();
            queue.wanted = self.shared.progress.borrow().synced;
        }
        result
    }
}
