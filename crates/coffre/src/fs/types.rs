//! The words of the file system's interface: attributes, modes, listings, status.

use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use coffre_format::record::Timestamp;

pub use crate::fs::namespace::Privileges;

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
    /// How much may wait for its upload.
    pub queue: Queue,
    /// Where work runs that waits for the local disk.
    pub workers: Workers,
    /// What a journal is to one who only reads, if the disk has lost a part of it.
    pub damage: Damage,
}

impl Options {
    /// The least bound of memory that is kept, in bytes.
    pub const MEMORY_LEAST: u64 = 96 << 20;
    /// The usual bound of memory, in bytes.
    pub const MEMORY: u64 = 512 << 20;
    /// The usual bound of the local cache, in bytes.
    pub const CACHE: u64 = 10 << 30;

    /// The usual settings. A vault in a local folder needs no cache.
    #[doc(hidden)]
    pub fn new(access: crate::vault::Access, cache_dir: std::path::PathBuf, local: bool) -> Self {
        Self {
            memory: Self::MEMORY,
            cache: if local { 0 } else { Self::CACHE },
            cache_dir,
            access,
            fsync: Fsync::Local,
            publish_after: std::time::Duration::from_secs(5),
            queue: Queue::Disk,
            workers: Workers::Threads,
            damage: Damage::Refuse,
        }
    }
}
/// How much of what is not uploaded yet may lie on the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// What the disk of the state folder has, less a reserve for everything else on it.
    Disk,
    /// At most these bytes, at least 64 MiB, and never more than the disk has.
    Bytes(u64),
}
/// Where work runs that waits for the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    /// On threads beside the runtime, which never waits for them.
    #[default]
    Threads,
    /// On the runtime itself, between its other tasks. On a runtime of one thread everything then happens in an order
    /// that a seed decides.
    Runtime,
}
/// What opening does where the disk has lost what it had promised to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Says so, and opens nothing.
    Refuse,
    /// Shows what was before, for reading only; the status tells what is lost.
    ShowBefore,
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
    /// Another number after each change of content or attributes, whatever its times say; in no order.
    pub version: u64,
}
impl Attributes {
    /// Whether it is a folder.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// assert!(files.metadata("/").await?.is_dir());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Whether it is a regular file.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// assert!(files.metadata("/notes.txt").await?.is_file());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::Regular
    }

    /// Last change of content.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let changed = files.metadata("/notes.txt").await?.modified();
    /// # Ok(())
    /// # }
    /// ```
    pub fn modified(&self) -> std::time::SystemTime {
        self.mtime.into()
    }
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
    /// What a new size does to set-id bits.
    pub privileges: Privileges,
}
impl SetAttributes {
    /// Whether anything but the size is set.
    pub(crate) fn is_more_than_size(&self) -> bool {
        self.sets_owner_or_mode()
            || self.atime.is_some()
            || self.mtime.is_some()
            || self.ctime.is_some()
    }

    pub(crate) fn sets_owner_or_mode(&self) -> bool {
        self.mode.is_some() || self.uid.is_some() || self.gid.is_some()
    }
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
    /// Permission bits as asked for.
    pub mode: u32,
    /// Bits of them that are not granted, unless the directory's default access list says who may do what.
    pub umask: u32,
}
/// What becomes of a name that is taken already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfTaken {
    /// Who has it loses it.
    Replace,
    /// Who has it keeps it, and the operation is refused.
    Refuse,
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
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
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
    /// Bytes of content that files use.
    pub used_bytes: u64,
    /// Heads of all devices.
    pub devices: Vec<DeviceStatus>,
    /// Bytes on the local disk that wait for their upload, journal included.
    pub local_bytes: u64,
    /// How many may; writers are slowed down from half of it on.
    pub local_limit: u64,
    /// Last failure of a publish, if the last one failed.
    pub last_error: Option<String>,
    /// Seconds since the store was first found not to answer or to refuse, if it still does.
    pub away_seconds: Option<u64>,
    /// What the last request met while it does.
    pub away_error: Option<String>,
    /// What the user can do about it, if anything.
    pub advice: Option<String>,
    /// Devices that have diverged from this one.
    pub diverged: Vec<String>,
    /// Warnings (a disk that takes no changes, withheld heads, read-only slot, …).
    pub warnings: Vec<String>,
}
/// One device, for `status`.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
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
/// Whether the last component of a path is followed if it is a symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Yes.
    Yes,
    /// No.
    No,
}
