//! Names, modes and lengths in memory: inodes in a table that only grows, each folder behind a lock of its own.
//!
//! ```text
//!  number ─▶ chunk of 4096 inodes ─▶ inode: mode and length, atomic
//!                                      └── folder, if it is one: name ─▶ place ─▶ name, number
//! ```
//! Nothing is given back: an inode without a name stays, as files do that are open when they are unlinked.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Inodes that are made at a time.
const CHUNK: u64 = 4096;
/// Room for 64 million inodes.
const CHUNKS: usize = 16384;
/// The number of the root.
pub const ROOT: u64 = 1;

/// All inodes.
pub struct Tree {
    chunks: Box<[OnceLock<Box<[Inode]>>]>,
    next: AtomicU64,
}

/// A file or a folder.
#[derive(Default)]
pub struct Inode {
    pub permissions: AtomicU16,
    pub length: AtomicU64,
    folder: OnceLock<Box<RwLock<Folder>>>,
}

/// The names in a folder.
#[derive(Default)]
pub struct Folder {
    places: HashMap<Arc<OsStr>, usize>,
    /// In the order in which they came; a name that has gone leaves its place empty, so that a listing may go on.
    entries: Vec<Option<(Arc<OsStr>, u64)>>,
}

impl Tree {
    /// An empty root.
    pub fn new(permissions: u16) -> Self {
        let tree = Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            next: AtomicU64::new(ROOT),
        };
        tree.make_folder(permissions);
        tree
    }

    pub fn inode(&self, number: u64) -> &Inode {
        let chunk = &self.chunks[(number / CHUNK) as usize];
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Inode::default()).collect());
        &chunk[(number % CHUNK) as usize]
    }

    pub fn make_file(&self, permissions: u16) -> u64 {
        let number = self.next.fetch_add(1, Relaxed);
        self.inode(number).permissions.store(permissions, Relaxed);
        number
    }

    pub fn make_folder(&self, permissions: u16) -> u64 {
        let number = self.make_file(permissions);
        self.inode(number).folder.get_or_init(Box::default);
        number
    }
}

impl Inode {
    pub fn is_folder(&self) -> bool {
        self.folder.get().is_some()
    }

    /// The names in it; `None` for a file.
    pub fn names(&self) -> Option<RwLockReadGuard<'_, Folder>> {
        let folder = self.folder.get()?;
        Some(folder.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, to change them.
    pub fn names_mut(&self) -> Option<RwLockWriteGuard<'_, Folder>> {
        let folder = self.folder.get()?;
        Some(folder.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Folder {
    pub fn find(&self, name: &OsStr) -> Option<u64> {
        let entry = self.entries.get(*self.places.get(name)?)?;
        entry.as_ref().map(|(_, number)| *number)
    }

    /// Names a number, in place of what had the name.
    pub fn insert(&mut self, name: Arc<OsStr>, number: u64) {
        match self.places.get(&name) {
            Some(place) => self.entries[*place] = Some((name, number)),
            None => {
                self.places.insert(name.clone(), self.entries.len());
                self.entries.push(Some((name, number)));
            }
        }
    }

    pub fn remove(&mut self, name: &OsStr) -> Option<u64> {
        let place = self.places.remove(name)?;
        let (_, number) = self.entries[place].take()?;
        if self.places.is_empty() {
            self.entries.clear();
        }
        Some(number)
    }

    /// From a place on: names, numbers, and where the listing goes on after each.
    pub fn listed(&self, from: u64) -> impl Iterator<Item = (&OsStr, u64, u64)> {
        let rest = self.entries.iter().skip(from as usize);
        rest.zip(from + 1..).filter_map(|(entry, next)| {
            let (name, number) = entry.as_ref()?;
            Some((&**name, *number, next))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_goes_on_where_it_was_whatever_is_removed_meanwhile() {
        let tree = Tree::new(0o755);
        let mut names = tree.inode(ROOT).names_mut().expect("the root is a folder");
        for name in ["a", "b", "c"] {
            names.insert(OsStr::new(name).into(), tree.make_file(0o644));
        }
        let (_, _, next) = names.listed(0).next().expect("three names");
        names.remove(OsStr::new("a"));
        names.insert(OsStr::new("b").into(), 9);
        let rest: Vec<_> = names
            .listed(next)
            .map(|(name, number, _)| (name, number))
            .collect();
        assert_eq!(rest, [(OsStr::new("b"), 9), (OsStr::new("c"), 4)]);
    }
}
