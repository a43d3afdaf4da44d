//! What goes on by itself: folding, publishing, uploading early, and looking for other devices' commits.

use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use coffre_format::transaction::Checkpoint;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::inner::Inner;
use crate::fs::stale;
use crate::tree;

/// How often other devices' heads are looked for.
const REFRESH: Duration = Duration::from_secs(60);
/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(500);
/// What users ask for goes first: metadata that nobody asked for follows after this time.
const SETTLE: Duration = Duration::from_secs(5);
/// How often what was deleted is looked for while the queue is full.
const ROOM: Duration = Duration::from_secs(5);
/// Wait after a publish that failed; doubles up to five minutes.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// The same for a fold, which needs nothing but this machine's disk.
const FOLD_RETRY_LONGEST: Duration = Duration::from_secs(16);
/// Changed records beyond which the kernel is told to forget whole inodes it may know, in any case.
const DIFF_MOST: usize = 1_000_000;

/// Folding and publishing run side by side: a long upload never keeps the journal from being folded.
/// Both run until the file system is closed or dropped.
pub(crate) fn spawn(inner: &Arc<Inner>) {
    spawn_until_closed(inner, run_folds(Arc::downgrade(inner)));
    spawn_until_closed(inner, run_publishes(Arc::downgrade(inner)));
    spawn_until_closed(inner, run_metadata(Arc::downgrade(inner)));
}

fn spawn_until_closed(inner: &Arc<Inner>, work: impl Future<Output = ()> + Send + 'static) {
    let mut closing = inner.closing.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            // In this order: what is closed does not begin anything more.
            biased;
            _ = closing.wait_for(|closing| *closing) => {}
            () = work => {}
        }
    });
}

async fn run_folds(weak: Weak<Inner>) {
    let mut retry = Retry::up_to(FOLD_RETRY_LONGEST);
    let mut looked = Instant::now();
    loop {
        let Some(inner) = weak.upgrade() else { return };
        if let Some(writer) = &inner.writer
            && writer.packs.trouble().is_some()
        {
            writer.journal.nudge();
        }
        if looked.elapsed() >= ROOM && inner.is_brimful() && retry.may() {
            retry.note("make room", inner.make_room().await);
            looked = Instant::now();
        }
        if inner.should_fold() && retry.may() {
            retry.note("fold the journal", inner.fold().await);
            inner.room.notify_waiters();
        }
        sleep_unless(&inner.wake).await;
    }
}

async fn run_publishes(weak: Weak<Inner>) {
    let mut refreshed = Instant::now();
    let mut retry = Retry::up_to(RETRY_LONGEST);
    let mut began = false;
    let mut returns = 0;
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let store = inner.vault.store();
        if store.returns() != returns {
            returns = store.returns();
            retry = Retry::up_to(RETRY_LONGEST);
        }
        // While the store is away the asking is left to its probe.
        if store.is_away() {
            drop(inner);
            tokio::time::sleep(TICK).await;
            continue;
        }
        if !began && retry.may() {
            let result = inner.begin_session().await;
            began = result.is_ok();
            retry.note("begin the session", result);
        }
        if inner.writer.is_some() && retry.may() {
            retry.note("publish", inner.publish_if_due().await);
        }
        if refreshed.elapsed() >= REFRESH {
            refreshed = Instant::now();
            if let Err(error) = inner.look_for_heads().await {
                log::warn!("{error}");
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Whenever the tree is another one that was made elsewhere; what is made here is here.
async fn run_metadata(weak: Weak<Inner>) {
    let mut complete = None;
    loop {
        tokio::time::sleep(SETTLE).await;
        let Some(inner) = weak.upgrade() else { return };
        let root = inner.core().published.1;
        if complete == Some(root.hash) || inner.vault.store().outage().is_some() {
            continue;
        }
        match inner.fetch_metadata(&root).await {
            Ok(()) => complete = Some(root.hash),
            Err(error) => log::debug!("metadata is not all here yet: {error}"),
        }
    }
}

async fn sleep_unless(wake: &tokio::sync::Notify) {
    drop(tokio::time::timeout(TICK, wake.notified()).await);
}

/// Spacing of attempts while the store or the disk is away.
struct Retry {
    longest: Duration,
    wait: Duration,
    failed: Option<Instant>,
    /// What the log has heard of it.
    told: String,
}

impl Retry {
    fn up_to(longest: Duration) -> Self {
        Self {
            longest,
            wait: Duration::ZERO,
            failed: None,
            told: String::new(),
        }
    }

    fn may(&self) -> bool {
        self.failed
            .is_none_or(|failed| failed.elapsed() >= self.wait)
    }

    fn note(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => *self = Self::up_to(self.longest),
            Err(error) => {
                let told = format!("cannot {what}: {error}");
                if self.told == told {
                    log::debug!("still {told}");
                } else {
                    log::warn!("{told}");
                    self.told = told;
                }
                self.failed = Some(Instant::now());
                self.wait = (self.wait * 2).clamp(RETRY, self.longest);
            }
        }
    }
}

impl Inner {
    async fn publish_if_due(&self) -> Result<()> {
        if self.sends_early(self.writer()?) {
            self.upload_early().await?;
        }
        let (since, changed) = {
            let core = self.core();
            match (core.dirty_since, core.changed) {
                (Some(since), Some(changed)) => (since, changed),
                _ => return Ok(()),
            }
        };
        let due = {
            let publishing = self.writer()?.publishing.lock().await;
            publishing.due(self.options.publish_after, since, changed)
        };
        if Instant::now() < due && !self.should_hurry(self.writer()?) {
            return Ok(());
        }
        self.publish().await
    }

    /// Fast-forwards to a head that contains this device's own, if nothing here is unpublished.
    pub(crate) async fn look_for_heads(&self) -> Result<()> {
        let heads = self.vault.refresh().await?;
        let head = &heads.base;
        let (old, clean) = {
            let core = self.core();
            (core.root, !core.is_dirty())
        };
        let new = head.commit.body.root;
        if !clean || new.hash == old.hash || self.is_contained(head) {
            return Ok(());
        }
        for pack in &head.commit.clear.packs {
            self.nodes.reader().learn(pack.name, pack.length);
        }
        let changes = tree::diff(&old, &new, &self.nodes, DIFF_MOST).await?;
        let noted = {
            let mut core = self.core();
            if core.is_dirty() || core.root.hash != old.hash {
                return Ok(());
            }
            core.root = new;
            core.published.1 = new;
            core.merged = head.commit.body.merged.clone();
            core.merged.insert(head.device, head.point);
            // What is done from here on is done to the new tree: recovery must begin with it.
            let checkpoint = Checkpoint {
                root: new,
                lsn: core.lsn,
                merged: core.merged.clone(),
            };
            let writer = self.writer.as_ref();
            writer.map(|writer| writer.journal.queue_checkpoint(checkpoint, 0))
        };
        fault::point("heads.forwarded");
        if let Some(noted) = noted {
            // A journal that cannot take it fails every fsync as well, and says so there.
            drop(noted.await);
        }
        let stale = match changes {
            Some(changes) => stale::invalidations(changes.iter().map(|(key, _, _)| key)),
            None => {
                return Err(Error::Diverged(
                    "too much changed at once; remount to see all of it".into(),
                ));
            }
        };
        self.tell_mount(stale).await;
        Ok(())
    }

    /// Whether what a head offers is in our root already.
    fn is_contained(&self, head: &crate::vault::Head) -> bool {
        let core = self.core();
        core.merged
            .get(&head.device)
            .is_some_and(|point| point.seq >= head.point.seq)
    }
}
