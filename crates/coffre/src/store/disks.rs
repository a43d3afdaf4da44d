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

/// FUSE, by the number that statfs tells.
const FUSE: u64 = 0x6573_5546;

/// Where a folder or file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On a disk of this machine.
    Disk,
    /// In a program.
    Fuse,
    /// Elsewhere, or nowhere.
    Other,
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        match rustix::fs::statfs(path).map(|found| found.f_type as u64) {
            Ok(kind) if DISKS.contains(&kind) => Self::Disk,
            Ok(FUSE) => Self::Fuse,
            _ => Self::Other,
        }
    }

    /// Whether what is written past the system's memory of files and what is written through it never undo each other here: the
    /// system writes back what it holds of a range before, and forgets it after. SMB did not before Linux 6.10: a page of zeros
    /// around a few bytes went over what was written past it.
    pub(super) fn is_coherent(self) -> bool {
        self != Self::Other
    }
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
        let of = |path: &str| Place::of(Path::new(path));
        assert_ne!(of("/proc"), Place::Disk);
        assert_eq!(of("/"), Place::Disk);
        assert_ne!(of("/nowhere/at/all"), Place::Disk);
        assert!(!of("/proc").is_coherent());
        assert!(of("/").is_coherent());
    }
}
