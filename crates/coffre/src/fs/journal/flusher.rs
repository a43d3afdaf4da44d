//! The flusher: takes what is queued, writes and syncs it, and tells who waits. Where it runs is its starter's choice.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;

use coffre_format::id::Lsn;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::data_packs::DataPacks;
use crate::fs::trouble::Trouble;
use crate::fs::types::Workers;

use super::Due;
use super::Item;
use super::LINGER;
use super::Shared;
use super::Taken;
use super::Waiter;
use super::segment::Segments;

/// Writes one journal.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    segments: Segments,
    packs: Arc<DataPacks>,
    written: Lsn,
    /// Written bytes that may be kept in memory until they are synced.
    unsynced_most: usize,
    /// When a sync ended after which nothing was written that could tell of it.
    idle_since: Option<Instant>,
    /// Since the disk takes nothing.
    trouble: Option<Trouble>,
    told: Vec<(Waiter, Result<()>)>,
}

/// What a step leaves to be done once the flusher is free for the next: whoever is told may run at once, on this very core,
/// and come back.
#[must_use]
struct Stepped {
    last: bool,
    told: Vec<(Waiter, Result<()>)>,
}

impl Stepped {
    /// Tells those who waited. True when it was the last step.
    fn tell(self) -> bool {
        for (tell, result) in self.told {
            tell(result);
        }
        self.last
    }
}

/// A flusher at work.
pub(super) enum Running {
    Thread(JoinHandle<()>),
    Task(Arc<Mutex<Flusher>>, tokio::task::JoinHandle<()>),
}

impl Flusher {
    pub(super) fn new(
        shared: Arc<Shared>,
        segments: Segments,
        packs: Arc<DataPacks>,
        written: Lsn,
        unsynced_most: usize,
    ) -> Self {
        Self {
            shared,
            segments,
            packs,
            written,
            unsynced_most,
            idle_since: None,
            trouble: None,
            told: Vec::new(),
        }
    }

    /// Puts it to work; answers where else it may be stepped, if anywhere.
    pub(super) fn start(self, workers: Workers) -> Result<(Running, Option<Here>)> {
        let shared = self.shared.clone();
        let flusher = Arc::new(Mutex::new(self));
        let worker = flusher.clone();
        match workers {
            Workers::Threads => std::thread::Builder::new()
                .name("coffre-journal".into())
                .spawn(move || run_as_thread(&worker, &shared))
                .map(|thread| (Running::Thread(thread), Some(Here(flusher))))
                .map_err(|source| Error::io("start the thread that writes", "journal", source)),
            Workers::Runtime => {
                let task = tokio::spawn(run_as_task(worker, shared));
                Ok((Running::Task(flusher, task), None))
            }
        }
    }

    fn due(&self) -> Due {
        self.shared
            .queue()
            .due(self.watermark_at(), self.retry_at())
    }

    /// After a sync with nothing new, a watermark frame follows, so that damage below it is told from a torn tail.
    fn watermark_at(&self) -> Option<Instant> {
        let owed = self.trouble.is_none() && self.segments.owes_watermark();
        let since = self.idle_since.filter(|_| owed)?;
        Some(since + LINGER)
    }

    /// A disk that failed is tried again by itself.
    fn retry_at(&self) -> Option<Instant> {
        let pause = match &self.trouble {
            Some(trouble) => Some(trouble.pause()),
            None => self.packs.pause(),
        };
        pause.map(|pause| Instant::now() + pause)
    }

    /// Writes what was taken.
    fn step(&mut self, taken: Taken) -> Stepped {
        let stop = taken.stop;
        self.write(taken);
        let mut queue = self.shared.queue();
        queue.size = self.segments.size();
        queue.held = self.segments.unsynced_bytes();
        let last = stop && queue.items.is_empty();
        drop(queue);
        if last {
            self.segments.end();
        }
        Stepped {
            last,
            told: std::mem::take(&mut self.told),
        }
    }

    fn write(&mut self, taken: Taken) {
        fault::point("journal.taken");
        let idle = taken.items.is_empty() && !taken.sync && !taken.retry;
        if !taken.items.is_empty() {
            self.packs.write();
        }
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
                    let result = self.sync_all();
                    if result.is_ok() {
                        fault::point("journal.checkpoint-synced");
                        self.segments.free_below(keep);
                    }
                    drop(done.send(result));
                }
            }
        }
        let full = self.segments.unsynced_bytes() > self.unsynced_most;
        let condemned = self.segments.is_condemned() && self.trouble.is_none();
        if taken.stop {
            // There is no later.
            self.trouble = None;
        }
        if taken.sync || taken.retry || full || condemned {
            // The error went to the waiters.
            let _ = self.sync_all();
        } else if idle {
            self.segments.write_watermark(self.written);
        }
    }

    /// fdatasync of the data packs, then of the journal: a frame never stands before what it names.
    ///
    /// After a failure, which those who wait are told, everything is written to new files and synced at once;
    /// where that fails too, the disk is left alone for a while.
    fn sync_all(&mut self) -> Result<()> {
        if let Some(trouble) = &self.trouble
            && trouble.was_just_tried()
        {
            let error = trouble.error();
            return self.conclude(Err(error));
        }
        let first = self.try_sync();
        let result = self.conclude(first);
        let mut last = result.as_ref().err().cloned();
        if let (Some(error), None) = (&last, &self.trouble) {
            log::error!("{error}; what was not synced is written to new files");
            let again = self.try_sync();
            last = again.as_ref().err().cloned();
            if again.is_ok() {
                drop(self.conclude(again));
            }
        }
        self.trouble = Trouble::after(self.trouble.take(), last);
        self.shared.queue().trouble = self.trouble.as_ref().map(Trouble::error);
        result
    }

    fn try_sync(&mut self) -> Result<()> {
        let result = self.packs.sync().and_then(|pack| {
            fault::point("journal.data-synced");
            self.segments.sync(pack)
        });
        fault::point("journal.synced");
        self.idle_since = Some(Instant::now());
        result
    }

    /// Says who of those who wait is to be told.
    fn conclude(&mut self, result: Result<()>) -> Result<()> {
        let written = self.written;
        let mut queue = self.shared.queue();
        let waiters = std::mem::take(&mut queue.waiters);
        let (told, later) = match &result {
            Ok(()) => {
                queue.synced = written;
                waiters.into_iter().partition(|(lsn, _)| *lsn <= written)
            }
            // Whoever waits now is told; who comes later asks again.
            Err(_) => {
                queue.wanted = queue.synced;
                (waiters, Vec::new())
            }
        };
        queue.waiters = later;
        drop(queue);
        let told = told.into_iter().map(|(_, tell)| (tell, result.clone()));
        self.told.extend(told);
        result
    }
}

/// Whoever waits is told of the end.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The same, where it ends by a panic.
struct Panicking<'a>(&'a Shared);

impl Drop for Panicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// Sleeps until there is a reason to write, and writes.
fn run_as_thread(flusher: &Mutex<Flusher>, shared: &Shared) {
    // Also where it panics.
    let _end = Ending(shared);
    let wake = &shared.wake.thread;
    loop {
        let mut at_work = lock(flusher);
        let mut queue = shared.queue();
        if queue.ended {
            return;
        }
        match queue.due(at_work.watermark_at(), at_work.retry_at()) {
            Due::Now(taken) => {
                drop(queue);
                let stepped = at_work.step(taken);
                drop(at_work);
                if stepped.tell() {
                    return;
                }
            }
            Due::Never => {
                drop(at_work);
                queue.wakes_at = None;
                drop(wake.wait(queue));
            }
            Due::At(at) => {
                drop(at_work);
                queue.wakes_at = Some(at);
                let time = at.saturating_duration_since(Instant::now());
                drop(wake.wait_timeout(queue, time));
            }
        }
    }
}

/// The flusher of a thread, for whoever would only wait for that thread to wake.
pub(super) struct Here(Arc<Mutex<Flusher>>);

impl Here {
    /// Writes what is due, if nobody else does just now. False where the thread is to look by itself.
    pub(super) fn try_step(&self) -> bool {
        // Whoever has it, and looked before, does not know of what came since.
        let Ok(mut flusher) = self.0.try_lock() else {
            return false;
        };
        let shared = flusher.shared.clone();
        let _end = Panicking(&shared);
        let stepped = match flusher.due() {
            Due::Now(taken) => Some(flusher.step(taken)),
            Due::At(_) | Due::Never => None,
        };
        // Else the thread would oversleep the watermark that is owed by now, or what came meanwhile.
        let thread_looks = {
            let queue = shared.queue();
            queue.wakes_in_time(Instant::now()) && queue.wanted <= queue.synced && !queue.stop
        };
        drop(flusher);
        stepped.map(Stepped::tell);
        thread_looks
    }
}

/// The same on a runtime, between its other tasks.
async fn run_as_task(flusher: Arc<Mutex<Flusher>>, shared: Arc<Shared>) {
    loop {
        let woken = shared.wake.task.notified();
        let due = lock(&flusher).due();
        match due {
            Due::Now(taken) => {
                let stepped = lock(&flusher).step(taken);
                if stepped.tell() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            Due::At(at) => drop(tokio::time::timeout_at(at, woken).await),
            Due::Never => woken.await,
        }
    }
}

impl Running {
    /// Returns when everything is written. The queue says that it shall stop.
    pub(super) fn finish(self) {
        match self {
            Self::Thread(thread) => {
                if thread.join().is_err() {
                    log::error!("the journal thread ended unexpectedly");
                }
            }
            // Nothing here waits: what is left is written on the spot.
            Self::Task(flusher, task) => {
                task.abort();
                let mut flusher = lock(&flusher);
                while let Due::Now(taken) = flusher.due() {
                    if flusher.step(taken).tell() {
                        break;
                    }
                }
            }
        }
    }

    /// Lets go of it without a word. A thread goes on by itself: only a task can be ended so.
    #[cfg(feature = "faults")]
    pub(super) fn abandon(self) {
        if let Self::Task(_, task) = self {
            task.abort();
        }
    }
}

fn lock(flusher: &Mutex<Flusher>) -> MutexGuard<'_, Flusher> {
    flusher.lock().unwrap_or_else(PoisonError::into_inner)
}
