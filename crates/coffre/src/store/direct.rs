//! A store that is a folder on a disk of this machine is read directly: on the way through OpenDAL each read changes
//! threads several times, which takes longer than the read.
//!
//! Only what succeeds comes this way. Whatever is missing, short or strange is asked for again in the ordinary way, which
//! knows what to make of it.

use std::fs::File;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use coffre_format::name::ObjectName;
use rustix::fs::Advice;
use rustix::fs::OFlags;

use crate::store::backend::Store;
use crate::store::disks::Place;
use crate::store::disks::SECTOR;
use crate::store::disks::advise;

/// Shorter reads gain nothing by going past the system's memory, in bytes.
const PAST_FROM: u64 = 32 * 1024;
/// What is read ahead around short reads that come close together, in bytes.
const AROUND: u64 = 256 * 1024;
/// Places that are remembered as read; with frames of 32 KiB, those of 4 GiB.
const MET: usize = 128 * 1024;

impl Store {
    /// Exactly this range, where that takes no more than a read of a disk here.
    pub(super) fn read_here(&self, name: &ObjectName, range: &Range<u64>) -> Option<Bytes> {
        let file = self.open_here(name)?;
        let length = range.end.checked_sub(range.start)?;
        if length < PAST_FROM {
            self.look_around(&file, name, range.start);
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut bytes, range.start).ok()?;
        self.counters.get(bytes.len());
        Some(bytes.into())
    }

    /// Nodes and small files that belong together lie together, but each is asked for by itself, and the system sees no order
    /// in that: the second read of a neighbourhood has all of it read ahead.
    fn look_around(&self, file: &File, name: &ObjectName, at: u64) {
        let around = at / AROUND;
        let second = !self.met.is_new(&(name, around, Visit::First));
        if second && self.met.is_new(&(name, around, Visit::Second)) {
            advise(file, around * AROUND, AROUND, Advice::WillNeed);
        }
    }

    /// The same for somebody who reads here and there. The system needs as long to put 128 KiB into its memory of files as a
    /// disk to read them, so that what is read for the first time goes past it; whoever comes again will come more often,
    /// and finds it there from then on.
    pub(super) fn read_here_and_there(
        &self,
        name: &ObjectName,
        range: &Range<u64>,
    ) -> Option<Bytes> {
        let long = range.end.checked_sub(range.start)? >= PAST_FROM;
        if long && self.is_on_disk() && self.met.is_new(&(name, range)) {
            let past = self.read_past(name, range);
            if past.is_some() {
                return past;
            }
        }
        self.read_here(name, range)
    }

    fn read_past(&self, name: &ObjectName, range: &Range<u64>) -> Option<Bytes> {
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(self.uri().local_path()?.join(name.to_string()))
            .ok()?;
        let start = range.start / SECTOR * SECTOR;
        let length = usize::try_from(range.end.next_multiple_of(SECTOR) - start).ok()?;
        let mut bytes = vec![0; length + SECTOR as usize];
        let aligned = bytes.as_ptr().align_offset(SECTOR as usize);
        let sectors = bytes.get_mut(aligned..aligned + length)?;
        // The last sector of a file is short.
        let read = file.read_at(sectors, start).ok()?;
        let wanted = (range.start - start) as usize..(range.end - start) as usize;
        if read < wanted.end {
            return None;
        }
        self.counters.get(wanted.len());
        Some(Bytes::from(bytes).slice(aligned + wanted.start..aligned + wanted.end))
    }

    /// Has the system read this range ahead, without waiting for it.
    pub(super) fn will_need(&self, name: &ObjectName, range: &Range<u64>) {
        if let Some(file) = self.open_here(name) {
            let length = range.end.saturating_sub(range.start);
            advise(&file, range.start, length, Advice::WillNeed);
        }
    }

    /// Whether it is a folder on a disk of this machine.
    pub(crate) fn is_on_disk(&self) -> bool {
        let root = self.uri().local_path().filter(|_| self.is_bare);
        root.is_some_and(|root| *self.on_disk.get_or_init(|| Place::of(root) == Place::Disk))
    }

    /// Not kept open: whoever takes the disk away is not kept from it.
    fn open_here(&self, name: &ObjectName) -> Option<File> {
        let root = self.uri().local_path().filter(|_| self.is_on_disk())?;
        File::open(root.join(name.to_string())).ok()
    }
}

#[derive(Hash)]
enum Visit {
    First,
    Second,
}

/// Which places were read already; forgets the old ones, and takes one in four thousand million for another.
#[derive(Default)]
pub(super) struct Met {
    hasher: RandomState,
    /// Only a store that is read here needs them.
    slots: OnceLock<Box<[AtomicU32]>>,
}

impl std::fmt::Debug for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Met").finish_non_exhaustive()
    }
}

impl Met {
    /// Whether this place was not read before, as far as that is remembered.
    fn is_new(&self, place: &impl std::hash::Hash) -> bool {
        let hash = self.hasher.hash_one(place);
        let (slot, mark) = (hash as usize % MET, (hash >> 32) as u32);
        self.slots
            .get_or_init(|| (0..MET).map(|_| AtomicU32::new(0)).collect())
            .get(slot)
            .is_some_and(|slot| slot.swap(mark, Ordering::Relaxed) != mark)
    }
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

    #[tokio::test]
    async fn what_is_read_here_and_there_is_the_same_the_first_time_and_later() {
        let dir = tempfile::tempdir().unwrap();
        let uri = StoreUri::parse(&dir.path().to_string_lossy()).unwrap();
        let store = Store::open(&uri).unwrap();
        let name = ObjectName::Pack(PackName([3; 16]));
        let content: Vec<u8> = (0..300_001u32).map(|at| (at / 3) as u8).collect();
        store.put(&name, content.clone().into()).await.unwrap();
        for range in [
            0..32_768,
            0..65_536,
            1..131_073,
            4096..135_168,
            200_000..300_001,
        ] {
            let expected = &content[range.start as usize..range.end as usize];
            assert_eq!(store.read_past(&name, &range).unwrap(), expected);
            for _ in 0..2 {
                let read = store.read_here_and_there(&name, &range);
                assert_eq!(read.unwrap(), expected);
            }
        }
        assert_eq!(store.read_past(&name, &(200_000..300_002)), None);
        assert_eq!(store.read_here_and_there(&name, &(200_000..300_002)), None);
    }

    #[test]
    fn a_place_is_new_once() {
        let met = Met::default();
        let places = 0..1000u64;
        assert!(places.clone().all(|place| met.is_new(&place)));
        let again = places.filter(|place| met.is_new(place)).count();
        assert!(again < 100, "{again}");
    }
}
