//! Where a root key lies: in a page of its own, out of swap and core dumps, wiped when it is let go.
//!
//! A key in a plain array is copied whenever its owner moves, and every copy stays behind. Here only a pointer
//! moves. The system may refuse to lock a page (RLIMIT_MEMLOCK) or to have one at all; the key is then used
//! where it can be: a vault that does not open protects nobody.

use std::hint::black_box;
use std::ops::Deref;
use std::ops::DerefMut;

use memmap2::Advice;
use memmap2::MmapMut;
use zeroize::Zeroize;

/// Length of a key, in bytes.
const LENGTH: usize = 32;

/// 32 bytes that stay where they are.
pub(crate) struct Locked(Place);

enum Place {
    Page(MmapMut),
    /// There was no page to be had.
    Heap(Box<[u8; LENGTH]>),
}

impl Locked {
    /// Zeros, to be filled in place.
    pub(crate) fn zeros() -> Self {
        let Ok(page) = MmapMut::map_anon(LENGTH) else {
            return Self(Place::Heap(Box::new([0; LENGTH])));
        };
        // Either may be refused, and the key is needed all the same.
        let _ = page.lock();
        let _ = page.advise(Advice::DontDump);
        Self(Place::Page(page))
    }

    /// A copy of `bytes`, which the caller wipes.
    pub(crate) fn copy_of(bytes: &[u8; LENGTH]) -> Self {
        let mut key = Self::zeros();
        key.copy_from_slice(bytes);
        key
    }
}

impl Deref for Locked {
    type Target = [u8; LENGTH];

    fn deref(&self) -> &[u8; LENGTH] {
        match &self.0 {
            Place::Page(page) => page.first_chunk().expect("it was mapped with this length"),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut [u8; LENGTH] {
        match &mut self.0 {
            Place::Page(page) => page
                .first_chunk_mut()
                .expect("it was mapped with this length"),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl Clone for Locked {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.deref_mut().zeroize();
    }
}

/// Overwrites the stack below the caller, where functions that have returned left what they worked with.
/// Deriving from a key leaves its copies in hash states that nobody names any more.
#[inline(never)]
pub(crate) fn wipe_stack<const DEPTH: usize>() {
    let mut space = [0_u8; DEPTH];
    space.zeroize();
    black_box(&mut space);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_move_with_its_owner() {
        let key = Locked::copy_of(&[7; LENGTH]);
        let place = key.as_ptr();
        let moved = Box::new(key);
        assert_eq!(moved.as_ptr(), place);
        assert_eq!(moved.as_slice(), [7; LENGTH]);
        let copy = moved.clone();
        assert_ne!(copy.as_ptr(), place);
        drop(moved);
        assert_eq!(copy.as_slice(), [7; LENGTH]);
    }

    #[test]
    fn its_page_is_locked_and_left_out_of_dumps() {
        let key = Locked::copy_of(&[7; LENGTH]);
        let Place::Page(_) = &key.0 else {
            panic!("this system maps no memory");
        };
        let flags = flags_at(key.as_ptr() as usize);
        assert!(flags.contains(&"dd".to_owned()), "{flags:?}");
        assert!(flags.contains(&"lo".to_owned()), "{flags:?}");
    }

    /// What the kernel says of the mapping at an address.
    fn flags_at(address: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let mut within = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let ends = range.map(|(from, to)| {
                (
                    usize::from_str_radix(from, 16),
                    usize::from_str_radix(to, 16),
                )
            });
            if let Some((Ok(from), Ok(to))) = ends {
                within = (from..to).contains(&address);
            } else if let (true, Some(flags)) = (within, line.strip_prefix("VmFlags:")) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }
}
