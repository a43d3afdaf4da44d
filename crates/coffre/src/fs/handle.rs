//! Open files and directories.

use std::collections::HashMap;
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
    orphans: std::collections::HashSet<Inode>,
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

    /// Closes; answers an inode that nothing names or holds any more.
    pub(crate) fn close(&mut self, handle: Handle) -> Option<Inode> {
        let inode = match self.open.remove(&handle)? {
            Opened::File { inode, .. } | Opened::Directory { inode, .. } => inode,
        };
        let count = self.counts.get_mut(&inode)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.counts.remove(&inode);
        self.orphans.remove(&inode).then_some(inode)
    }

    fn insert(&mut self, opened: Opened) -> Handle {
        self.next += 1;
        let handle = Handle(self.next);
        self.open.insert(handle, opened);
        handle
    }
}
