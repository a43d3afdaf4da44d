//! A store that is a folder on a disk of this machine is read directly: on the way through OpenDAL each read changes
//! threads several times, which takes longer than the read.
//!
//! Only what succeeds comes this way. Whatever is missing, short or strange is asked for again in the ordinary way, which
//! knows what to make of it.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use coffre_format::name::ObjectName;
use rustix::fs::Advice;

use crate::store::backend::Store;

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

impl Store {
    /// Exactly this range, where that takes no more than a read of a disk here.
    pub(super) fn read_here(&self, name: &ObjectName, range: &Range<u64>) -> Option<Bytes> {
        let file = self.open_here(name)?;
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        file.read_exact_at(&mut bytes, range.start).ok()?;
        self.counters.get(bytes.len());
        Some(bytes.into())
    }

    /// Has the system read this range ahead, without waiting for it.
    pub(super) fn will_need(&self, name: &ObjectName, range: &Range<u64>) {
        let length = NonZeroU64::new(range.end.saturating_sub(range.start));
        if let (Some(file), Some(length)) = (self.open_here(name), length) {
            // Advice that is not taken costs nothing.
            let _ = rustix::fs::fadvise(file, range.start, Some(length), Advice::WillNeed);
        }
    }

    /// Whether it is a folder on a disk of this machine.
    pub(crate) fn is_on_disk(&self) -> bool {
        let root = self.uri().local_path();
        root.is_some_and(|root| *self.on_disk.get_or_init(|| is_on_disk(root)))
    }

    /// Not kept open: whoever takes the disk away is not kept from it.
    fn open_here(&self, name: &ObjectName) -> Option<File> {
        let root = self.uri().local_path().filter(|_| self.is_on_disk())?;
        File::open(root.join(name.to_string())).ok()
    }
}

fn is_on_disk(root: &Path) -> bool {
    rustix::fs::statfs(root).is_ok_and(|found| DISKS.contains(&(found.f_type as u64)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use coffre_format::id::PackName;

    use super::*;
    use crate::store::StoreUri;

    #[tokio::test]
    async fn a_folder_is_read_directly_and_only_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let uri = StoreUri::parse(&dir.path().to_string_lossy()).unwrap();
        let store = Store::open(&uri).unwrap();
        let name = ObjectName::Pack(PackName([3; 16]));
        store.put(&name, "0123456789".into()).await.unwrap();
        assert_eq!(store.read_here(&name, &(2..5)).unwrap(), "234");
        assert_eq!(store.read_here(&name, &(5..11)), None);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 5..2;
        assert_eq!(store.read_here(&name, &reversed), None);
        let absent = ObjectName::Pack(PackName([4; 16]));
        assert_eq!(store.read_here(&absent, &(0..1)), None);
        assert_eq!(store.counts().gets, 1);
        assert_eq!(Store::memory().read_here(&name, &(2..5)), None);
    }

    #[test]
    fn what_is_no_disk_is_left_to_the_ordinary_way() {
        assert!(!is_on_disk(Path::new("/proc")));
        assert!(is_on_disk(Path::new("/")));
        assert!(!is_on_disk(Path::new("/nowhere/at/all")));
    }
}
