//! The file system: POSIX operations over the tree, durable in the journal, published in the background.
//! (Signatures; see the contract.)

use bytes::Bytes;
use coffre_format::id::Inode;

use crate::error::Result;
use crate::vault::Vault;

pub mod blocks;
pub mod namespace;
pub mod types;

pub use types::Allocate;
pub use types::Attributes;
pub use types::DeviceStatus;
pub use types::Follow;
pub use types::Fsync;
pub use types::Handle;
pub use types::Invalidation;
pub use types::Listed;
pub use types::Make;
pub use types::OpenMode;
pub use types::Options;
pub use types::Owner;
pub use types::RenameMode;
pub use types::Seek;
pub use types::SetAttributes;
pub use types::SetTime;
pub use types::Space;
pub use types::Status;
pub use types::XattrMode;

/// An open file system. Clones share it.
#[derive(Clone)]
pub struct Filesystem {
    // in work
}

#[allow(unused_variables, missing_docs)]
impl Filesystem {
    /// Recovers the journal, takes the newest state and starts background work.
    pub async fn open(vault: Vault, options: Options) -> Result<Self> {
        todo!()
    }
    /// Publishes everything and stops. Handles must be released.
    pub async fn close(&self) -> Result<()> {
        todo!()
    }
    /// Makes everything durable locally and stops; what is unpublished stays for the next time.
    pub async fn close_now(&self) -> Result<Status> {
        todo!()
    }
    pub fn vault(&self) -> &Vault {
        todo!()
    }
    pub async fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attributes> {
        todo!()
    }
    pub async fn attributes(&self, inode: Inode) -> Result<Attributes> {
        todo!()
    }
    pub async fn set_attributes(&self, inode: Inode, set: SetAttributes) -> Result<Attributes> {
        todo!()
    }
    pub async fn make(
        &self,
        parent: Inode,
        name: &[u8],
        make: Make,
        owner: Owner,
    ) -> Result<Attributes> {
        todo!()
    }
    /// Makes a regular file and opens it, in one operation.
    pub async fn create(
        &self,
        parent: Inode,
        name: &[u8],
        owner: Owner,
    ) -> Result<(Attributes, Handle)> {
        todo!()
    }
    pub async fn link(&self, inode: Inode, parent: Inode, name: &[u8]) -> Result<Attributes> {
        todo!()
    }
    pub async fn unlink(&self, parent: Inode, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub async fn remove_directory(&self, parent: Inode, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub async fn rename(
        &self,
        from: (Inode, &[u8]),
        to: (Inode, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
        todo!()
    }
    pub async fn read_link(&self, inode: Inode) -> Result<Vec<u8>> {
        todo!()
    }
    pub async fn open_file(&self, inode: Inode, mode: OpenMode) -> Result<Handle> {
        todo!()
    }
    pub async fn open_directory(&self, inode: Inode) -> Result<Handle> {
        todo!()
    }
    /// Never fails for a handle that is open; reaps an unlinked file with its last handle.
    pub async fn release(&self, handle: Handle) -> Result<()> {
        todo!()
    }
    /// At most `size` bytes; fewer only at the end of the file.
    pub async fn read(&self, handle: Handle, offset: u64, size: u32) -> Result<Bytes> {
        todo!()
    }
    /// All of `data` or nothing of each 128 KiB block.
    pub async fn write(&self, handle: Handle, offset: u64, data: Bytes) -> Result<()> {
        todo!()
    }
    /// As [`Filesystem::write`], but clears suid, sgid and security.capability as well.
    pub async fn write_kill_privileges(
        &self,
        handle: Handle,
        offset: u64,
        data: Bytes,
    ) -> Result<()> {
        todo!()
    }
    /// Everything acknowledged so far is durable (locally or in the store, by option).
    pub async fn fsync(&self) -> Result<()> {
        todo!()
    }
    pub async fn allocate(
        &self,
        handle: Handle,
        mode: Allocate,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        todo!()
    }
    pub async fn seek(&self, handle: Handle, what: Seek, offset: u64) -> Result<u64> {
        todo!()
    }
    /// Reflinks; returns bytes copied.
    pub async fn copy_range(
        &self,
        from: (Handle, u64),
        to: (Handle, u64),
        length: u64,
    ) -> Result<u64> {
        todo!()
    }
    /// Entries after `cookie` (0 from the start, `.` and `..` included), at most `limit`.
    pub async fn read_directory(
        &self,
        handle: Handle,
        cookie: u64,
        limit: usize,
        with_attributes: bool,
    ) -> Result<Vec<Listed>> {
        todo!()
    }
    pub async fn xattr(&self, inode: Inode, name: &[u8]) -> Result<Bytes> {
        todo!()
    }
    pub async fn set_xattr(
        &self,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        todo!()
    }
    pub async fn list_xattrs(&self, inode: Inode) -> Result<Vec<Vec<u8>>> {
        todo!()
    }
    pub async fn remove_xattr(&self, inode: Inode, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub async fn space(&self) -> Result<Space> {
        todo!()
    }
    /// Publishes now and waits until the store has everything acknowledged so far.
    pub async fn publish(&self) -> Result<()> {
        todo!()
    }
    pub fn status(&self) -> Status {
        todo!()
    }
    /// What other devices' changes made stale; one receiver, to be asked in a loop.
    pub async fn invalidations(&self) -> Option<Vec<Invalidation>> {
        todo!()
    }
    /// Resolves a path from the root (`/a/b`, `.` and `..` allowed), following symlinks if asked.
    pub async fn resolve(&self, path: &[u8], follow: Follow) -> Result<Attributes> {
        todo!()
    }
}
