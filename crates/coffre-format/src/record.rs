//! What the tree holds: keys, and the records that stand under them.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::id::DeviceId;
use crate::id::Digest;
use crate::id::Epoch;
use crate::id::Inode;
use crate::id::LogicalHash;
use crate::id::PackName;
use crate::id::PublicKey;
use crate::id::Salt;

/// Bytes of file content that one Block record covers.
pub const BLOCK: u32 = 128 * 1024;
/// Pieces a stored Block record may have.
pub const PIECES: usize = 16;
/// Content of a small file that its Block record may hold itself, in bytes.
pub const INLINE: usize = 512;
/// A longer encoded value is spilled into a data frame, in bytes.
pub const SPILL: usize = 4096;

/// Tags of records, in tree order.
pub mod tag {
    /// Inode record.
    pub const INODE: u8 = 0x10;
    /// Way back to a name of the inode.
    pub const LINK: u8 = 0x20;
    /// Extended attribute.
    pub const XATTR: u8 = 0x30;
    /// Directory entry.
    pub const ENTRY: u8 = 0x40;
    /// Content of one aligned block.
    pub const BLOCK: u8 = 0x50;
    /// Inode 0: a pack some commit added.
    pub const PACK: u8 = 0x01;
    /// Inode 0: an inode without a name that a device still has open.
    pub const ORPHAN: u8 = 0x02;
    /// Inode 0: a snapshot.
    pub const SNAPSHOT: u8 = 0x03;
    /// Inode 0: a session prefix that is taken.
    pub const SESSION: u8 = 0x04;
    /// Inode 0: a setting.
    pub const SETTING: u8 = 0x05;
    /// Inode 0: a key slot.
    pub const SLOT: u8 = 0x06;
    /// Inode 0: a device.
    pub const DEVICE: u8 = 0x07;
}

/// Bytes of keys that lie where they are compared, without an allocation of their own: those of all but long names.
const KEY_INLINE: usize = 40;

/// An ordered key of the tree: inode u64 BE ‖ tag ‖ rest. Also an end of a range of keys.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Key(SmallVec<[u8; KEY_INLINE]>);

impl Clone for Key {
    /// All at once: [`SmallVec`] itself clones byte by byte.
    fn clone(&self) -> Self {
        Self::from_bytes(&self.0)
    }
}

/// What a checked key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedKey<'a> {
    /// Inode it stands under.
    pub inode: Inode,
    /// Its tag.
    pub tag: u8,
    /// What follows the tag.
    pub rest: &'a [u8],
}

impl Key {
    /// A key or range end from its bytes. (Decoders check it with [`Key::parse`].)
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
    /// The bytes that sort.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// `inode ‖ tag ‖ rest`.
    pub fn new(inode: Inode, tag: u8, rest: &[u8]) -> Self {
        let mut bytes = SmallVec::with_capacity(9 + rest.len());
        bytes.extend_from_slice(&inode.0.to_be_bytes());
        bytes.push(tag);
        bytes.extend_from_slice(rest);
        Self(bytes)
    }
    /// Key of the inode's own record.
    pub fn inode(inode: Inode) -> Self {
        Self::new(inode, tag::INODE, &[])
    }
    /// Key of the link from `inode` back to `name` in `parent`.
    pub fn link(inode: Inode, parent: Inode, name: &[u8]) -> Self {
        let mut key = Self::new(inode, tag::LINK, &parent.0.to_be_bytes());
        key.0.extend_from_slice(name);
        key
    }
    /// Key of an extended attribute.
    pub fn xattr(inode: Inode, name: &[u8]) -> Self {
        Self::new(inode, tag::XATTR, name)
    }
    /// Key of a directory entry.
    pub fn entry(directory: Inode, name: &[u8]) -> Self {
        Self::new(directory, tag::ENTRY, name)
    }
    /// Key of the block with this index.
    pub fn block(inode: Inode, index: u64) -> Self {
        Self::new(inode, tag::BLOCK, &index.to_be_bytes())
    }
    /// Start (inclusive) and end (exclusive) of everything under one inode.
    pub fn all_of(inode: Inode) -> (Self, Self) {
        (
            Self::new(inode, 0, &[]),
            Self::new(Inode(inode.0 + 1), 0, &[]),
        )
    }
    /// Start (inclusive) and end (exclusive) of one tag under one inode.
    pub fn tagged(inode: Inode, tag: u8) -> (Self, Self) {
        (Self::new(inode, tag, &[]), Self::new(inode, tag + 1, &[]))
    }
    /// The least key that is greater than this one.
    pub fn successor(&self) -> Self {
        let mut next = self.clone();
        next.0.push(0);
        next
    }
    /// The inode, if there are enough bytes for one.
    pub fn inode_of(&self) -> Option<Inode> {
        let bytes = self.0.first_chunk::<8>()?;
        Some(Inode(u64::from_be_bytes(*bytes)))
    }
    /// The tag.
    pub fn tag(&self) -> Option<u8> {
        self.0.get(8).copied()
    }
    /// What follows the tag (a name, a block index).
    pub fn rest(&self) -> &[u8] {
        self.0.get(9..).unwrap_or(&[])
    }
}

/// A pack as pointers name it: enough to derive its keys and read a frame.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct PackRef {
    /// Name of the object.
    pub name: PackName,
    /// Salt of its preamble.
    pub salt: Salt,
    /// Epoch of its data key.
    pub epoch: Epoch,
}

/// Where a frame is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Place {
    /// In a pack of this device that is not frozen yet (or, inside a node, in the node's own pack).
    Open {
        /// Salt of that pack.
        salt: Salt,
        /// Offset of the frame in it, in bytes.
        offset: u32,
    },
    /// In a frozen pack.
    Pack {
        /// That pack.
        pack: PackRef,
        /// Offset of the frame in it, in bytes.
        offset: u32,
    },
}

/// Everything needed to read a frame with one GET and to know that it is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Pointer {
    /// Where it is.
    pub place: Place,
    /// Length of its ciphertext without tag, in bytes.
    pub stored: u32,
    /// Digest of its stored bytes.
    pub digest: Digest,
}

/// Bytes of a block, or the way to them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Content {
    /// In a data frame.
    Frame(Pointer),
    /// Here: not settled yet (overlay, transactions), or the inline content of a small file.
    Bytes(Bytes),
}

/// A run of bytes in a block. A gap between pieces is a hole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Piece {
    /// Where the run begins in the block, in bytes.
    pub at: u32,
    /// Its length, in bytes; at + len ≤ 128 KiB.
    pub len: u32,
    /// Bytes of the content that come before the run.
    pub skip: u32,
    /// What holds it.
    pub content: Content,
}

/// Content of one aligned 128 KiB block: disjoint pieces in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// The pieces.
    pub pieces: Vec<Piece>,
}

/// A point in time, independent of zone: seconds since 1970 and nanoseconds below 10⁹.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

impl From<Timestamp> for std::time::SystemTime {
    /// The time, or 1970 where the system cannot count so far.
    fn from(time: Timestamp) -> Self {
        let epoch = Self::UNIX_EPOCH;
        let seconds = std::time::Duration::from_secs(time.seconds.unsigned_abs());
        let whole = match time.seconds < 0 {
            true => epoch.checked_sub(seconds),
            false => epoch.checked_add(seconds),
        };
        let nanos = std::time::Duration::from_nanos(u64::from(time.nanos));
        let exact = whole.and_then(|whole| whole.checked_add(nanos));
        exact.unwrap_or(epoch)
    }
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// Orders changes of one inode made on different devices.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Stamp {
    /// Lamport clock of the change.
    pub lamport: u64,
    /// Device that made it.
    pub device: DeviceId,
}

/// Attributes of an inode.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InodeRecord {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, set-id bits and sticky bit (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; length of the target for a symlink.
    pub size: u64,
    /// Last access that was set explicitly.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// Device number of a device node.
    pub rdev: u32,
    /// Reserved, 0.
    pub flags: u32,
    /// Where a symlink leads (1 to 4095 bytes); `None` for all else.
    pub target: Option<Vec<u8>>,
    /// Directories directly inside; nlink of a directory is 2 more.
    pub subdirectories: u32,
    /// When, in the vault's order, attributes last changed.
    pub stamp: Stamp,
}

/// A directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// The child.
    pub inode: Inode,
    /// What it is (it never changes).
    pub kind: FileKind,
}

/// State of a pack in the vault's own accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PackState {
    /// May be reachable.
    Live,
    /// Unreachable; may be deleted when every device agrees.
    Condemned,
}

/// A pack some commit added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PackRecord {
    /// Its name.
    pub name: PackName,
    /// Length of the object, in bytes.
    pub length: u64,
    /// Epoch of its key.
    pub epoch: Epoch,
    /// Live or condemned.
    pub state: PackState,
}

/// A key slot that the vault's owner made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SlotRecord {
    /// BLAKE3 of the 1024 bytes.
    pub hash: [u8; 32],
    /// Kind, as in the slot.
    pub kind: u8,
    /// The owner's name for it.
    pub label: String,
    /// When it was made (advisory).
    pub created: Timestamp,
}

/// Standing of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DeviceState {
    /// May publish.
    Active,
    /// Gave up its chain; what it published stays.
    Retired,
    /// Its commits after this sequence number are refused.
    Revoked {
        /// Last accepted commit.
        after: crate::id::Seq,
    },
}

/// A device that enrolled itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceRecord {
    /// Verifies its commits.
    pub public_key: PublicKey,
    /// Epoch it enrolled in.
    pub epoch: Epoch,
    /// Name for people (host name).
    pub name: String,
    /// Standing.
    pub state: DeviceState,
}

/// A named, kept state of the whole vault.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SnapshotRecord {
    /// The owner's name for it.
    pub label: String,
    /// When it was made (advisory).
    pub time: Timestamp,
    /// The tree at that time.
    pub root: Child,
}

/// Totals of a subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Sums {
    /// Inode records.
    pub inodes: u64,
    /// Σ piece lengths and inline bytes.
    pub bytes: u64,
}

/// A node as its parent (or a commit, checkpoint or snapshot) knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Child {
    /// Its frame.
    pub pointer: Pointer,
    /// Hash of its records.
    pub hash: LogicalHash,
    /// Totals below it.
    pub sums: Sums,
}

/// A record, in memory.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Record {
    /// Under [`tag::INODE`].
    Inode(InodeRecord),
    /// Under [`tag::LINK`].
    Link,
    /// Under [`tag::XATTR`].
    Xattr(Bytes),
    /// Under [`tag::ENTRY`].
    Entry(Entry),
    /// Under [`tag::BLOCK`].
    Block(Block),
    /// Under [`tag::PACK`]; rest = device ‖ seq u64 BE ‖ n u32 BE.
    Pack(PackRecord),
    /// Under [`tag::ORPHAN`]; rest = device ‖ inode u64 BE.
    Orphan,
    /// Under [`tag::SNAPSHOT`]; rest = time ‖ label hash, see FORMAT.
    Snapshot(SnapshotRecord),
    /// Under [`tag::SESSION`]; rest = prefix u32 BE.
    Session(DeviceId),
    /// Under [`tag::SETTING`]; rest = name.
    Setting(Bytes),
    /// Under [`tag::SLOT`]; rest = slot id.
    Slot(SlotRecord),
    /// Under [`tag::DEVICE`]; rest = device id.
    Device(DeviceRecord),
    /// Under a tag ≥ 128: kept unread.
    Unknown(Bytes),
}

/// What stands under a key: the record, or the frame that its encoding was spilled into.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Value {
    /// Here.
    Record(Record),
    /// Encoded value of `length` bytes (> 4 KiB) in a data frame.
    Spilled {
        /// Length of the encoding, in bytes.
        length: u32,
        /// The frame that holds it.
        pointer: Pointer,
    },
}
