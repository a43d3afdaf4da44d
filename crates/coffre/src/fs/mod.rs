//! The file system: POSIX operations over the tree, durable in the journal, published in the background.
//! (Signatures; see the contract.)

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use coffre_format::record::Timestamp;

use crate::error::Result;
use crate::vault::Vault;

pub mod namespace;

/// Settings of an open file system.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bound of resident memory, in bytes.
    pub memory: u64,
    /// Bound of the local cache, in bytes; 0 is none.
    pub cache: u64,
    /// Where the cache is.
    pub cache_dir: std::path::PathBuf,
    /// Whether the tree may be changed.
    pub access: crate::vault::Access,
    /// What fsync waits for.
    pub fsync: Fsync,
    /// Seconds after the last change until a publish.
    pub publish_after: std::time::Duration,
}
/// What fsync waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// The local journal.
    Local,
    /// A commit in the store.
    Remote,
}
/// Attributes of an inode as `stat` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Number.
    pub inode: Inode,
    /// Kind.
    pub kind: FileKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that are not holes.
    pub allocated: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// Device number.
    pub rdev: u32,
}
/// Attributes to change; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Last change of attributes (the kernel's write-back cache sets it).
    pub ctime: Option<Timestamp>,
}
/// A time to set.
#[derive(Debug, Clone, Copy)]
pub enum SetTime {
    /// The time of the call.
    Now,
    /// That time.
    At(Timestamp),
}
/// What to make.
#[derive(Debug, Clone)]
pub enum Make {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// Fifo, socket or device node.
    Special(FileKind, u32),
}
/// Owner and mode of something new.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group (a set-gid parent directory overrides it).
    pub gid: u32,
    /// Permission bits, umask applied already.
    pub mode: u32,
}
/// What rename does with an existing target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// Refuses.
    NoReplace,
    /// Swaps both.
    Exchange,
}
/// What fallocate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocate {
    /// Only grows the size (space is not reserved).
    Extend,
    /// Does nothing but check (KEEP_SIZE).
    KeepSize,
    /// Makes a hole; size stays.
    Punch,
    /// Makes the range read as zeros; may extend.
    ZeroExtend,
    /// The same, size stays.
    ZeroKeepSize,
}
/// What setxattr requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Creates or replaces.
    Set,
    /// Must not exist.
    Create,
    /// Must exist.
    Replace,
}
/// What lseek looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next hole (the end of the file counts).
    Hole,
}
/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}
/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);
/// One entry of a directory listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Where the next listing continues.
    pub cookie: u64,
    /// Name.
    pub name: Vec<u8>,
    /// Inode.
    pub inode: Inode,
    /// Kind.
    pub kind: FileKind,
    /// Attributes, where asked for.
    pub attributes: Option<Attributes>,
}
/// What statfs shows.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Bytes of content.
    pub used: u64,
    /// Bytes that may still be written (a large constant: stores have no end).
    pub free: u64,
    /// Inodes.
    pub inodes: u64,
}
/// What the kernel must forget because another device changed it.
#[derive(Debug, Clone)]
pub enum Invalidation {
    /// The entry `name` of this directory.
    Entry(Inode, Vec<u8>),
    /// Attributes and content of this inode.
    Inode(Inode),
}
/// State of the queue, for `status`.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Status {
    /// Bytes in the journal and outbox that no commit in the store contains.
    pub unpublished_bytes: u64,
    /// Operations that no commit in the store contains.
    pub unpublished_operations: u64,
    /// Seconds since the oldest of them, 0 if none.
    pub unpublished_seconds: u64,
    /// Packs waiting for upload.
    pub queue: u64,
    /// Bytes per second of the last upload.
    pub speed: u64,
    /// Own last commit (sequence number), 0 if none.
    pub last_commit: u64,
    /// When it was made, seconds since 1970.
    pub last_commit_time: i64,
    /// Bytes of the local cache in use.
    pub cache_bytes: u64,
    /// Bytes of packs in the store, as known.
    pub stored_bytes: u64,
    /// Bytes of content that files use.
    pub used_bytes: u64,
    /// Heads of all devices.
    pub devices: Vec<DeviceStatus>,
    /// Last failure of a publish, if the last one failed.
    pub last_error: Option<String>,
    /// Devices that have diverged from this one.
    pub diverged: Vec<String>,
    /// Warnings (withheld heads, read-only slot, …).
    pub warnings: Vec<String>,
}
/// One device, for `status`.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct DeviceStatus {
    /// Id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Whether it is this one.
    pub this: bool,
    /// Its newest commit.
    pub seq: u64,
    /// When that was made (its clock), seconds since 1970.
    pub time: i64,
}

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
/// Whether the last component of a path is followed if it is a symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Yes.
    Yes,
    /// No.
    No,
}
