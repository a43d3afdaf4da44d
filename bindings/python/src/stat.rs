//! What is known of a file, as plain numbers.

use coffre::FileKind;
use coffre::Metadata;
use coffre::Timestamp;
use rustix::fs::FileType;

/// `(mode with the file's type, inode, links, uid, gid, size, atime, mtime, ctime, btime, allocated, rdev)`: sizes in bytes,
/// times in nanoseconds since 1970.
pub(crate) type Stat = (
    u32,
    u64,
    u32,
    u32,
    u32,
    u64,
    i128,
    i128,
    i128,
    i128,
    u64,
    u32,
);

pub(crate) fn stat(found: &Metadata) -> Stat {
    (
        kind(found.kind).as_raw_mode() | found.mode,
        found.inode.0,
        found.nlink,
        found.uid,
        found.gid,
        found.size,
        nanoseconds(found.atime),
        nanoseconds(found.mtime),
        nanoseconds(found.ctime),
        nanoseconds(found.btime),
        found.allocated,
        found.rdev,
    )
}

fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharacterDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// `None` where a time is beyond what a vault can say.
pub(crate) fn timestamp(nanoseconds: i128) -> Option<Timestamp> {
    let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    let nanos = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?;
    Some(Timestamp { seconds, nanos })
}
