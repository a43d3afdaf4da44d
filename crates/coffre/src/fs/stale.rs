//! What the kernel caches and must forget, because something else than the kernel changed it.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use coffre_format::record::Key;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;
use tokio::sync::watch;

use crate::fs::inner::Inner;
use crate::fs::namespace::LINKS;
use crate::fs::types::Invalidation;

/// Who asks for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The kernel, for a program on the mount: it knows what it asked for.
    Kernel,
    /// Anybody else: a mount beside must be told.
    Library,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Invalidation>,
    /// Numbers all invalidations so far.
    pushed: u64,
    /// The last one that was handed out.
    taken: u64,
    closed: bool,
}

/// Invalidations on their way to the mount. Without a mount nobody takes them, and none are kept.
pub(crate) struct Stale {
    queue: Mutex<Queue>,
    /// Set with the first listener.
    listening: std::sync::atomic::AtomicBool,
    changed: watch::Sender<()>,
    /// The last one that the kernel was told.
    told: watch::Sender<u64>,
}

impl Default for Stale {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            listening: std::sync::atomic::AtomicBool::new(false),
            changed: watch::Sender::new(()),
            told: watch::Sender::new(0),
        }
    }
}

impl Stale {
    /// Begins to keep invalidations.
    pub(crate) fn listen(&self) {
        self.listening
            .store(true, std::sync::atomic::Ordering::Release);
    }

    pub(crate) fn is_heard(&self) -> bool {
        self.listening.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(crate) fn push(&self, stale: Vec<Invalidation>) {
        if stale.is_empty() || !self.is_heard() {
            return;
        }
        let mut queue = self.queue();
        queue.pushed += stale.len() as u64;
        queue.waiting.extend(stale);
        drop(queue);
        self.changed.send_replace(());
    }

    /// The next ones; asking again says that the kernel was told of those before. `None` after the end.
    pub(crate) async fn next(&self) -> Option<Vec<Invalidation>> {
        self.listen();
        let mut changed = self.changed.subscribe();
        self.told.send_replace(self.queue().taken);
        loop {
            {
                let mut queue = self.queue();
                if !queue.waiting.is_empty() {
                    queue.taken = queue.pushed;
                    return Some(std::mem::take(&mut queue.waiting));
                }
                if queue.closed {
                    return None;
                }
            }
            changed.changed().await.ok()?;
        }
    }

    /// Waits until the kernel was told of everything so far.
    pub(crate) async fn settle(&self) {
        let wanted = self.queue().pushed;
        let mut told = self.told.subscribe();
        // The sender lives as long as `self`.
        let _ = told.wait_for(|told| *told >= wanted).await;
    }

    /// Nobody will be told any more, and nobody waits for it.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.told.send_replace(u64::MAX);
        self.changed.send_replace(());
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells the mount. With write-back caching the kernel believes its own size and times of a file for as long
    /// as it knows the file at all, so the names of changed files are forgotten as well; what is open it is told of again when it
    /// is closed.
    pub(crate) async fn tell_mount(&self, stale: Vec<Invalidation>) {
        if !self.stale.is_heard() {
            return;
        }
        let inodes: Vec<Inode> = stale
            .iter()
            .filter_map(|one| match one {
                Invalidation::Inode(inode) => Some(*inode),
                Invalidation::Entry(..) => None,
            })
            .collect();
        {
            let mut core = self.core();
            for inode in &inodes {
                core.handles.note_changed(*inode);
            }
        }
        // At once, because whoever waits for the rest may give up.
        self.stale.push(stale);
        let mut named = Vec::new();
        for inode in inodes {
            let names = self
                .query(|view, _| {
                    let is_folder = view.attributes(inode)?.kind == FileKind::Directory;
                    if is_folder {
                        Ok(Vec::new())
                    } else {
                        view.links(inode, LINKS)
                    }
                })
                .await;
            // What is gone has no names, and its old ones are among the changes.
            let names = names.unwrap_or_default().into_iter();
            named.extend(names.map(|(parent, name)| Invalidation::Entry(parent, name)));
        }
        self.stale.push(named);
    }
}

/// What the kernel must forget for changed records.
pub(crate) fn invalidations<'a>(keys: impl Iterator<Item = &'a Key>) -> Vec<Invalidation> {
    let mut stale = Vec::new();
    let mut last = None;
    for key in keys {
        let Some(inode) = key.inode_of().filter(|inode| inode.0 != 0) else {
            continue;
        };
        if key.tag() == Some(tag::ENTRY) {
            stale.push(Invalidation::Entry(inode, key.rest().to_vec()));
        }
        if last != Some(inode) {
            stale.push(Invalidation::Inode(inode));
            last = Some(inode);
        }
    }
    stale
}

/// The same for the edits of an operation.
pub(crate) fn of_edits(edits: &[Edit]) -> Vec<Invalidation> {
    invalidations(edits.iter().map(|edit| match edit {
        Edit::Put(key, _) | Edit::Delete(key) | Edit::DeleteRange(key, _) => key,
        Edit::Splice { key, .. } => key,
    }))
}
