//! Files of this machine beside their content: times, extended attributes, holes, special files.

use std::ffi::OsStr;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coffre::fs::SetAttributes;
use coffre::fs::SetTime;
use coffre_format::record::FileKind;
use coffre_format::record::Timestamp;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::SeekFrom;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Whether this process may give files to other users and make devices.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What kind of file it is.
pub fn kind(metadata: &Metadata) -> FileKind {
    let kind = metadata.file_type();
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else if kind.is_fifo() {
        FileKind::Fifo
    } else if kind.is_socket() {
        FileKind::Socket
    } else if kind.is_char_device() {
        FileKind::CharDevice
    } else if kind.is_block_device() {
        FileKind::BlockDevice
    } else {
        FileKind::Regular
    }
}

/// Mode and times as a vault keeps them. (A symlink's mode cannot be set.)
pub fn attributes(metadata: &Metadata) -> SetAttributes {
    let time = |seconds, nanos: i64| {
        SetTime::At(Timestamp {
            seconds,
            nanos: u32::try_from(nanos).unwrap_or(0),
        })
    };
    SetAttributes {
        mode: (!metadata.is_symlink()).then_some(metadata.mode() & 0o7777),
        atime: Some(time(metadata.atime(), metadata.atime_nsec())),
        mtime: Some(time(metadata.mtime(), metadata.mtime_nsec())),
        ..SetAttributes::default()
    }
}

/// Extended attributes that a user may see and set again; those of the system only as root.
pub fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match read_growing(|room| rustix::fs::llistxattr(path, room)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let value = read_growing(|room| rustix::fs::lgetxattr(path, OsStr::from_bytes(name), room));
        match value {
            Ok(value) => xattrs.push((name.to_vec(), value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(xattrs)
}

fn is_kept(name: &[u8]) -> bool {
    let acl = name.starts_with(b"system.posix_acl_");
    let privileged = name.starts_with(b"security.capability") || name.starts_with(b"trusted.");
    name.starts_with(b"user.") || acl || (privileged && is_root())
}

/// Calls until the room is enough.
fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut room = vec![0; 1024];
    loop {
        match read(&mut room) {
            Ok(length) => {
                room.truncate(length);
                return Ok(room);
            }
            Err(Errno::RANGE) if room.len() < 1 << 20 => room.resize(room.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}

/// Sets an extended attribute; false where this file system or user cannot.
pub fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> io::Result<bool> {
    match rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The next stretch of data at or after `offset`: where it begins and ends. `None`: only a hole is left.
pub fn next_data(file: &File, offset: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let begin = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
        Err(error) => return Err(error.into()),
    };
    let end = match rustix::fs::seek(file, SeekFrom::Hole(begin)) {
        Ok(end) => end,
        Err(Errno::INVAL | Errno::OPNOTSUPP) => size,
        Err(error) => return Err(error.into()),
    };
    Ok((begin < size).then_some((begin, end.min(size))))
}

/// Times of a vault on an open file or folder of this machine.
pub fn set_times(file: impl AsFd, atime: Timestamp, mtime: Timestamp) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(atime, mtime))?)
}

/// Times of a symlink or special file itself.
pub fn set_times_of(path: &Path, atime: Timestamp, mtime: Timestamp) -> io::Result<()> {
    let times = times(atime, mtime);
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn times(atime: Timestamp, mtime: Timestamp) -> Timestamps {
    let spec = |time: Timestamp| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: spec(atime),
        last_modification: spec(mtime),
    }
}

/// Gives a path (not what it points to) to its owner in the vault; root only.
pub fn give_to(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(
        CWD,
        path,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Makes a fifo, socket or device node; false where only root may.
pub fn make_special(path: &Path, kind: FileKind, mode: u32, rdev: u32) -> io::Result<bool> {
    let kind = match kind {
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharacterDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    match rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode), rdev.into()) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
