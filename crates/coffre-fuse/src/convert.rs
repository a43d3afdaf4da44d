//! Attributes, times and flags between the library's words and the kernel's.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use coffre::fs::Allocate;
use coffre::fs::Attributes;
use coffre::fs::FileKind;
use coffre::fs::SetTime;
use coffre::fs::Timestamp;
use fuser::FileAttr;
use fuser::FileType;
use fuser::INodeNo;
use fuser::TimeOrNow;

const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;

/// Attributes as the kernel takes them.
pub(crate) fn attributes(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.inode.0),
        size: attributes.size,
        blocks: attributes.allocated.div_ceil(512),
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.btime),
        kind: file_type(attributes.kind),
        perm: (attributes.mode & 0o7777) as u16,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: 128 * 1024,
        flags: 0,
    }
}

/// What a lookup answers for a name that does not exist, so that the kernel remembers it: inode 0.
pub(crate) fn nothing() -> FileAttr {
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// The kind in the kernel's words.
pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind that mknod's mode asks for.
pub(crate) fn kind_of_mode(mode: u32) -> Option<FileKind> {
    Some(match mode & 0o170_000 {
        0 | 0o100_000 => FileKind::Regular,
        0o010_000 => FileKind::Fifo,
        0o140_000 => FileKind::Socket,
        0o020_000 => FileKind::CharDevice,
        0o060_000 => FileKind::BlockDevice,
        _ => return None,
    })
}

fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let base = if time.seconds >= 0 {
        UNIX_EPOCH.checked_add(whole)
    } else {
        UNIX_EPOCH.checked_sub(whole)
    };
    base.and_then(|base| base.checked_add(nanos))
        .unwrap_or(UNIX_EPOCH)
}

/// A point in time that the kernel gave, as the library stores it: nanoseconds always count forward.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            seconds: seconds(after),
            nanos: after.subsec_nanos(),
        },
        // As it comes from the kernel: seconds count backward, nanoseconds forward.
        Err(before) => Timestamp {
            seconds: -seconds(before.duration()),
            nanos: before.duration().subsec_nanos(),
        },
    }
}

/// What utimens asks for.
pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
        TimeOrNow::Now => SetTime::Now,
    }
}

/// What fallocate's mode asks for; `None` where it cannot be had.
pub(crate) fn allocate(mode: i32) -> Option<Allocate> {
    Some(match mode {
        0 => Allocate::Extend,
        KEEP_SIZE => Allocate::KeepSize,
        mode if mode == PUNCH_HOLE | KEEP_SIZE => Allocate::Punch,
        ZERO_RANGE => Allocate::ZeroExtend,
        mode if mode == ZERO_RANGE | KEEP_SIZE => Allocate::ZeroKeepSize,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time as the library under the mount makes it of the kernel's numbers.
    fn from_kernel(seconds: i64, nanos: u32) -> SystemTime {
        let whole = Duration::new(seconds.unsigned_abs(), nanos);
        match seconds < 0 {
            true => UNIX_EPOCH - whole,
            false => UNIX_EPOCH + whole,
        }
    }

    #[test]
    fn times_survive_both_ways_even_before_1970() {
        for (seconds, nanos) in [
            (0, 0),
            (1, 999_999_999),
            (-1, 0),
            (-1, 1),
            (-2_000_000_000, 500_000_000),
        ] {
            let time = Timestamp { seconds, nanos };
            assert_eq!(timestamp(from_kernel(seconds, nanos)), time);
            // To the kernel it is the true time; what it makes of that is what it gave.
            let base = from_kernel(seconds, 0);
            let told = base + Duration::from_nanos(u64::from(nanos));
            assert_eq!(system_time(time), told);
        }
    }

    #[test]
    fn modes_of_fallocate() {
        assert_eq!(allocate(0), Some(Allocate::Extend));
        assert_eq!(allocate(3), Some(Allocate::Punch));
        assert_eq!(
            allocate(2),
            None,
            "punching without keeping the size does not exist"
        );
        assert_eq!(allocate(0x11), Some(Allocate::ZeroKeepSize));
        assert_eq!(allocate(0x08), None, "collapsing is not offered");
    }
}
