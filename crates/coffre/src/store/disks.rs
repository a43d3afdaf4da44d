//! Disks of this machine: which file systems they are, and what is said to the system about files on them.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;

use rustix::fs::Advice;

/// What goes past the system's memory of files begins and ends at multiples of this, in bytes: no disk has larger sectors.
pub(crate) const SECTOR: u64 = 4096;

/// File systems of local disks and memory, by the number that statfs tells. One that waits for a network may wait for ever.
const DISKS: [u64; 12] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xca45_1a4e, // bcachefs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlay
    0x4d44,      // vfat
    0x2011_bab0, // exfat
    0x7366_746e, // ntfs3
    0x5265_4973, // reiserfs
];

/// Whether this folder or file is on a disk of this machine.
pub(super) fn is_on_disk(root: &Path) -> bool {
    rustix::fs::statfs(root).is_ok_and(|found| DISKS.contains(&(found.f_type as u64)))
}

/// FUSE, by the number that statfs tells.
const FUSE: u64 = 0x6573_5546;

/// Whether what is written past the system's memory of files and what is written through it never undo each other here: the
/// system writes back what it holds of a range before, and forgets it after. SMB did not before Linux 6.10: a page of zeros
/// around a few bytes went over what was written past it.
pub(super) fn is_coherent(file: &Path) -> bool {
    let found = rustix::fs::statfs(file).map(|found| found.f_type as u64);
    found.is_ok_and(|kind| kind == FUSE || DISKS.contains(&kind))
}

/// Tells the system what becomes of a range of a file. Advice that is not taken costs nothing.
pub(crate) fn advise(file: &File, start: u64, length: u64, advice: Advice) {
    if let Some(length) = NonZeroU64::new(length) {
        let _ = rustix::fs::fadvise(file, start, Some(length), advice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_disk_is_left_to_the_ordinary_way() {
        assert!(!is_on_disk(Path::new("/proc")));
        assert!(is_on_disk(Path::new("/")));
        assert!(!is_on_disk(Path::new("/nowhere/at/all")));
        assert!(!is_coherent(Path::new("/proc")));
        assert!(is_coherent(Path::new("/")));
    }
}
