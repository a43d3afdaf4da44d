//! Open files and directories.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;

use coffre_format::id::Inode;

use crate::error::Refusal;
use crate::fs::core::OpenCounts;
use crate::fs::directory::Stream;
use crate::fs::namespace::Fate;
use crate::fs::namespace::InodeOpen;
use crate::fs::namespace::Removed;
use crate::fs::types::Handle;
use crate::fs::types::OpenMode;

/// What a handle stands for.
#[derive(Clone)]
pub(crate) enum Opened {
    File {
        inode: Inode,
        mode: OpenMode,
        ahead: Arc<Mutex<ReadAhead>>,
    },
    Directory {
        inode: Inode,
        listing: Arc<tokio::sync::Mutex<Stream>>,
    },
}

/// Where a sequential reader is, and how much is fetched for it in advance.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// Where the next read begins if it is sequential.
    pub(crate) next: u64,
    /// Bytes fetched in advance now; 0 for random readers.
    pub(crate) window: u64,
    /// Up to where content has been asked for.
    pub(crate) until: u64,
}

/// The table of handles, under the core's lock.
#[derive(Default)]
pub(crate) struct Handles {
    next: u64,
    open: HashMap<Handle, Opened>,
    counts: OpenCounts,
    /// Open inodes without a name.
    orphans: HashSet<Inode>,
    /// Open inodes that somebody else than the kernel has changed.
    changed: HashSet<Inode>,
}

/// What became of an inode when its last handle was closed.
#[derive(Default)]
pub(crate) struct Closed {
    /// Nothing names or holds it any more.
    pub(crate) unnamed: Option<Inode>,
    /// It was changed from elsewhere, and the kernel, which had it open, believed in a length of its own meanwhile.
    pub(crate) changed: Option<Inode>,
}

impl Handles {
    pub(crate) fn open_file(&mut self, inode: Inode, mode: OpenMode) -> Handle {
        *self.counts.entry(inode).or_default() += 1;
        self.insert(Opened::File {
            inode,
            mode,
            ahead: Arc::default(),
        })
    }

    pub(crate) fn open_directory(&mut self, inode: Inode) -> Handle {
        *self.counts.entry(inode).or_default() += 1;
        self.insert(Opened::Directory {
            inode,
            listing: Arc::default(),
        })
    }

    pub(crate) fn get(&self, handle: Handle) -> Result<Opened, Refusal> {
        self.open.get(&handle).cloned().ok_or(Refusal::BadHandle)
    }

    /// The file behind a handle.
    pub(crate) fn file(
        &self,
        handle: Handle,
    ) -> Result<(Inode, OpenMode, Arc<Mutex<ReadAhead>>), Refusal> {
        match self.get(handle)? {
            Opened::File { inode, mode, ahead } => Ok((inode, mode, ahead)),
            Opened::Directory { .. } => Err(Refusal::IsDirectory),
        }
    }

    /// The file behind a handle that may be written.
    pub(crate) fn writable(&self, handle: Handle) -> Result<Inode, Refusal> {
        match self.file(handle)? {
            (inode, OpenMode::Write, _) => Ok(inode),
            (_, OpenMode::Read, _) => Err(Refusal::BadHandle),
        }
    }

    pub(crate) fn is_open(&self, inode: Inode) -> bool {
        self.counts.contains_key(&inode)
    }

    /// Whether an inode is open, in the namespace's words.
    pub(crate) fn state(&self, inode: Inode) -> InodeOpen {
        if self.is_open(inode) {
            InodeOpen::Yes
        } else {
            InodeOpen::No
        }
    }

    /// Whether a handle could write to it.
    pub(crate) fn is_open_for_writing(&self, inode: Inode) -> bool {
        self.is_open(inode)
            && self.open.values().any(|opened| {
                matches!(opened, Opened::File { inode: open, mode: OpenMode::Write, .. } if *open == inode)
            })
    }

    /// Remembers an open inode that lost its last name.
    pub(crate) fn note(&mut self, removed: Option<Removed>) {
        if let Some(removed) = removed
            && removed.fate == Fate::Orphan
        {
            self.orphans.insert(removed.inode);
        }
    }

    /// An inode without a name was opened again before it was removed.
    pub(crate) fn note_unnamed(&mut self, inode: Inode) {
        self.orphans.insert(inode);
    }

    /// Open inodes without a name.
    pub(crate) fn unnamed(&self) -> impl Iterator<Item = Inode> {
        self.orphans.iter().copied()
    }

    /// An inode that had no name has one.
    pub(crate) fn note_named(&mut self, inode: Inode) {
        self.orphans.remove(&inode);
    }

    /// Notes what somebody else than the kernel has changed, where it is open.
    pub(crate) fn note_changed(&mut self, inode: Inode) {
        if self.is_open(inode) {
            self.changed.insert(inode);
        }
    }

    pub(crate) fn close(&mut self, handle: Handle) -> Closed {
        let inode = match self.open.remove(&handle) {
            Some(Opened::File { inode, .. } | Opened::Directory { inode, .. }) => inode,
            None => return Closed::default(),
        };
        if let Some(count) = self.counts.get_mut(&inode) {
            *count -= 1;
            if *count > 0 {
                return Closed::default();
            }
        }
        self.counts.remove(&inode);
        Closed {
            unnamed: self.orphans.remove(&inode).then_some(inode),
            changed: self.changed.remove(&inode).then_some(inode),
        }
    }

    fn insert(&mut self, opened: Opened) -> Handle {
        self.next += 1;
        let handle = Handle(self.next);
        self.open.insert(handle, opened);
        handle
    }
}
