//! The file system: POSIX operations over the tree, durable in the journal, published in the background.
//!
//! ```text
//!  FUSE, CLI, programs ─▶ Volume ─▶ namespace (pure) ─▶ edits ─▶ journal + overlay
//!                                                            fold ─▶ outbox ─▶ publish ─▶ store
//! ```

pub mod blocks;
pub mod namespace;
pub mod types;

mod allocator;
mod background;
mod core;
mod crowded;
mod data_packs;
mod directory;
mod fold;
mod fold_sink;
mod handle;
mod inner;
mod journal;
mod keys;
mod metadata;
mod named;
mod open;
mod operations;
mod path;
mod pressure;
mod publish;
mod read;
mod room;
mod shares;
mod stale;
mod status;
mod trouble;
mod write;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Refusal;
use crate::error::Result;
use crate::fs::handle::Opened;
use crate::fs::inner::Inner;
use crate::fs::namespace::Times;
use crate::fs::operations::Held;
use crate::fs::stale::Origin;
use crate::vault::Vault;

pub use coffre_format::id::Inode;
pub use coffre_format::record::FileKind;
pub use coffre_format::record::Timestamp;
pub use types::*;

/// An open file system. Clones share it; the last one to be dropped stops the background work.
#[derive(Clone)]
pub struct Volume {
    inner: Arc<Inner>,
    origin: Origin,
}

/// A handle that nobody has been given yet; closed where that does not happen.
struct Opening<'a> {
    volume: &'a Volume,
    handle: Option<Handle>,
}

impl Opening<'_> {
    fn done(mut self, handle: Handle) -> Handle {
        self.handle = None;
        handle
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            // What lost its last name meanwhile goes when the device starts anew.
            self.volume.inner.core().handles.close(handle);
        }
    }
}

impl Volume {
    /// Recovers the journal, takes the newest state and starts background work.
    pub async fn open(vault: Vault, options: Options) -> Result<Self> {
        let inner = Arc::new(open::open(vault, options).await?);
        if inner.writer.is_some() {
            background::spawn(&inner);
        }
        Ok(Self {
            inner,
            origin: Origin::Library,
        })
    }

    /// The same file system for a kernel that mounts it: what is changed through any other clone is told through
    /// [`Volume::invalidations`], because the kernel caches what it has seen.
    #[must_use]
    pub fn for_kernel(&self) -> Self {
        self.inner.stale.listen();
        Self {
            inner: self.inner.clone(),
            origin: Origin::Kernel,
        }
    }

    /// Publishes everything and stops. Where that fails nothing has changed. Where it succeeds, what is still open is closed
    /// as far as the vault is concerned, and that goes on if the future is dropped.
    pub async fn close(&self) -> Result<()> {
        if self.inner.writer.is_some() {
            self.inner.publish().await?;
        }
        let volume = self.clone();
        let ended = tokio::spawn(async move {
            if volume.inner.writer.is_some()
                && let Err(error) = volume.inner.publish_without_unnamed().await
            {
                // Everything that has a name is in the store; the next session of this device removes the rest.
                log::warn!("removing what has no name: {}", error.without_path());
            }
            volume.stop();
            volume.ended().await;
        });
        match ended.await {
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            _ => Ok(()),
        }
    }

    /// Makes everything durable locally and stops; what is unpublished is sent the next time.
    pub async fn close_now(&self) -> Result<Status> {
        if self.inner.writer.is_some() {
            self.fsync_local().await?;
        }
        let status = self.status();
        self.stop();
        self.ended().await;
        Ok(status)
    }

    /// Waits until nothing of it goes on in the background.
    async fn ended(&self) {
        // Each task there listens for the end as long as it lives.
        self.inner.closing.closed().await;
    }

    fn stop(&self) {
        self.inner.closing.send_replace(true);
        self.inner.stale.close();
        if let Some(writer) = &self.inner.writer {
            writer.journal.stop();
        }
    }

    /// Requests of a kernel that the bound of memory lets wait at a time.
    pub fn requests_most(&self) -> usize {
        self.inner.shares.requests
    }

    /// Ends as a kill would: what is only in memory is gone, nothing more is begun.
    #[cfg(feature = "faults")]
    pub fn crash(&self) {
        if let Some(writer) = &self.inner.writer {
            writer.journal.crash();
        }
        self.inner.closing.send_replace(true);
    }

    /// The vault below.
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// Nodes of the tree, for `check` and other readers of the whole tree.
    pub fn nodes(&self) -> &crate::tree::Nodes {
        &self.inner.nodes
    }

    /// The folded tree (without what is still in the overlay).
    pub fn root(&self) -> coffre_format::record::Child {
        self.inner.core().root
    }

    /// Opens a file; `O_TRUNC` is a `set_attributes` of its own.
    pub async fn open_file(&self, inode: Inode, mode: OpenMode) -> Result<Handle> {
        if mode == OpenMode::Write {
            self.inner.writer()?;
        }
        // Open before it is looked at: from then on it stays, whoever takes its last name.
        let handle = self.inner.core().handles.open_file(inode, mode);
        let opening = Opening {
            volume: self,
            handle: Some(handle),
        };
        let attributes = self.attributes(inode).await?;
        if attributes.kind == coffre_format::record::FileKind::Directory {
            return Err(Refusal::IsDirectory.into());
        }
        Ok(opening.done(handle))
    }

    /// Opens a directory for listing.
    pub async fn open_directory(&self, inode: Inode) -> Result<Handle> {
        let attributes = self.attributes(inode).await?;
        if attributes.kind != coffre_format::record::FileKind::Directory {
            return Err(Refusal::NotDirectory.into());
        }
        Ok(self.inner.core().handles.open_directory(inode))
    }

    /// Never fails for a handle that is open; removes an unlinked file with its last handle.
    pub async fn release(&self, handle: Handle) -> Result<()> {
        let closed = self.inner.core().handles.close(handle);
        if let Some(inode) = closed.changed {
            let again = vec![Invalidation::Inode(inode)];
            self.inner.tell_mount(again).await;
        }
        match closed.unnamed {
            Some(inode) => self.inner.reap(inode, Held::Spared).await,
            None => Ok(()),
        }
    }

    /// Whether somebody has it open for writing.
    pub fn is_open_for_writing(&self, inode: Inode) -> bool {
        self.inner.core().handles.is_open_for_writing(inode)
    }

    /// At most `size` bytes; fewer only at the end of the file.
    pub async fn read(&self, handle: Handle, offset: u64, size: u32) -> Result<Bytes> {
        let (inode, _, ahead) = self.inner.core().handles.file(handle)?;
        let range = offset..offset.saturating_add(u64::from(size));
        let pattern = self.inner.read_ahead(inode, &ahead, range);
        let read = self.inner.read_file(inode, offset, size, pattern);
        match self.inner.within(inner::answer_by(), read).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.inner.name(inode, error).await),
        }
    }

    /// Writes all of `data`.
    pub async fn write(&self, handle: Handle, offset: u64, data: Bytes) -> Result<()> {
        let inode = self.inner.core().handles.writable(handle)?;
        self.write_named(inode, offset, data, Privileges::KeepSetId, Times::Set)
            .await
    }

    /// As [`Volume::write`], for a kernel that held the content back: mtime and ctime stay, because it tells them itself,
    /// and may have told them before.
    pub async fn write_back(&self, handle: Handle, offset: u64, data: Bytes) -> Result<()> {
        let inode = self.inner.core().handles.writable(handle)?;
        self.write_named(inode, offset, data, Privileges::KeepSetId, Times::Kept)
            .await
    }

    /// As [`Volume::write`], but clears suid, sgid and `security.capability` as well.
    pub async fn write_kill_privileges(
        &self,
        handle: Handle,
        offset: u64,
        data: Bytes,
    ) -> Result<()> {
        let inode = self.inner.core().handles.writable(handle)?;
        self.write_named(inode, offset, data, Privileges::Clear, Times::Set)
            .await
    }

    async fn write_named(
        &self,
        inode: Inode,
        offset: u64,
        data: Bytes,
        privileges: Privileges,
        times: Times,
    ) -> Result<()> {
        let written = self
            .inner
            .write_file(self.origin, inode, offset, data, privileges, times)
            .await;
        match written {
            Err(error) if error.is_loss() => Err(self.inner.name(inode, error).await),
            written => written,
        }
    }

    /// Everything acknowledged so far is durable: locally, or in the store, as [`Options::fsync`] says.
    pub async fn fsync(&self) -> Result<()> {
        match self.inner.options.fsync {
            Fsync::Local => self.fsync_local().await,
            Fsync::Remote => self.inner.publish().await,
        }
    }

    /// As [`Volume::fsync`], for a thread that may block: it waits for the disk here, or not at all. `tell` is called
    /// from wherever that ends, and must not wait for anything.
    pub fn fsync_then(&self, tell: impl FnOnce(Result<()>) + Send + 'static) {
        match (&self.inner.writer, self.inner.options.fsync) {
            (Some(writer), Fsync::Local) => {
                let lsn = self.inner.core().lsn;
                writer.journal.sync_then(lsn, tell);
            }
            (None, Fsync::Local) => tell(Ok(())),
            (_, Fsync::Remote) => {
                let files = self.clone();
                tokio::spawn(async move { tell(files.fsync().await) });
            }
        }
    }

    async fn fsync_local(&self) -> Result<()> {
        let Some(writer) = &self.inner.writer else {
            return Ok(());
        };
        let lsn = self.inner.core().lsn;
        writer.journal.sync(lsn).await
    }

    /// Publishes now and waits until the store has everything acknowledged so far.
    pub async fn publish(&self) -> Result<()> {
        self.inner.publish().await
    }

    /// Entries after `cookie` (0 from the start, `.` and `..` included), at most `limit`; empty at the end.
    pub async fn read_directory(
        &self,
        handle: Handle,
        cookie: u64,
        limit: usize,
        with_attributes: bool,
    ) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        self.visit_directory(handle, cookie, with_attributes, |entry| {
            let more = listed.len() < limit;
            listed.extend(more.then(|| entry.clone()));
            more
        })
        .await?;
        Ok(listed)
    }

    /// The same without a limit known before: shows entries to `take` until it takes no more, or for the moment there are
    /// none. An end of the directory shows none at all.
    pub async fn visit_directory(
        &self,
        handle: Handle,
        cookie: u64,
        with_attributes: bool,
        take: impl FnMut(&Listed) -> bool,
    ) -> Result<()> {
        let opened = self.inner.core().handles.get(handle)?;
        match opened {
            Opened::Directory { inode, listing } => {
                self.inner
                    .list(inode, &listing, cookie, with_attributes, take)
                    .await
            }
            Opened::File { .. } => Err(Refusal::NotDirectory.into()),
        }
    }

    /// What the kernel must forget, because another device or the library changed it; `None` when the file
    /// system is closed. Asking again says that it was told.
    pub async fn invalidations(&self) -> Option<Vec<Invalidation>> {
        self.inner.stale.next().await
    }

    /// Waits until a mount beside shows what was changed through the library.
    pub async fn settle(&self) {
        self.inner.stale.settle().await;
    }

    /// Looks for other devices' commits now instead of within a minute.
    pub async fn refresh(&self) -> Result<()> {
        self.inner.look_for_heads().await
    }
}
