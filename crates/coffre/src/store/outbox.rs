//! Frozen packs that wait for upload: a folder of files named like their packs.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use coffre_format::id::PackName;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::store::open_files::OpenFiles;
use crate::store::past;

/// What a pack is called until it is complete.
const TEMPORARY: &str = "new";

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// Lengths.
    packs: RwLock<BTreeMap<PackName, u64>>,
    /// Their sum.
    bytes: AtomicU64,
    open_files: OpenFiles,
}

/// Frozen packs that wait for upload. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Inner>);

impl Outbox {
    /// Opens (creates) the folder and lists what is in it; what a crash left half-written is removed.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
        let failed = |source| Error::io("list", dir, source);
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == TEMPORARY)
            {
                std::fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))?;
            }
        }
        Self::look(dir)
    }

    /// What is in the folder, which may be absent; nothing in it is changed.
    pub fn look(dir: &Path) -> Result<Self> {
        let failed = |source| Error::io("list", dir, source);
        let mut packs = BTreeMap::new();
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(failed)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.parse().ok());
            if let Some(name) = name {
                packs.insert(name, length(&path)?);
            }
        }
        let bytes = packs.values().sum();
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            bytes: AtomicU64::new(bytes),
            packs: RwLock::new(packs),
            open_files: OpenFiles::default(),
        })))
    }

    /// Writes a pack under a temporary name, fdatasyncs and renames. The folder is synced by [`Outbox::sync`].
    pub fn add(&self, name: PackName, bytes: &[u8]) -> Result<()> {
        let temporary = self.path(name).with_extension(TEMPORARY);
        let written = past::write_new(&temporary, bytes);
        let written = written.map_err(|source| Error::io("write", &temporary, source));
        fault::point("outbox.written");
        written
            .and_then(|()| self.adopt(name, &temporary))
            .inspect_err(|_| {
                // On a full disk it would be in the way of the next attempt.
                drop(std::fs::remove_file(&temporary));
            })
    }

    /// Takes a complete, synced file over by renaming it.
    pub fn adopt(&self, name: PackName, file: &Path) -> Result<()> {
        if self.contains(name) {
            return Ok(());
        }
        // Looked at first: a file that was moved and cannot be read would be in neither place.
        let length = length(file)?;
        std::fs::rename(file, self.path(name))
            .map_err(|source| Error::io("rename", file, source))?;
        fault::point("outbox.renamed");
        let mut packs = self.0.packs.write().unwrap_or_else(PoisonError::into_inner);
        self.0.bytes.fetch_add(length, Ordering::Relaxed);
        if let Some(replaced) = packs.insert(name, length) {
            self.0.bytes.fetch_sub(replaced, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Undoes [`Outbox::adopt`]. Where even that fails the pack stays, and adopting it again finds it in place.
    pub fn give_back(&self, name: PackName, file: &Path) {
        if std::fs::rename(self.path(name), file).is_ok() {
            self.forget(name);
        }
    }

    /// fsyncs the folder.
    pub fn sync(&self) -> Result<()> {
        let sync = || File::open(&self.0.dir)?.sync_all();
        sync().map_err(|source| Error::io("sync", &self.0.dir, source))?;
        fault::point("outbox.synced");
        Ok(())
    }

    /// Whether a pack is here.
    pub fn contains(&self, name: PackName) -> bool {
        self.length(name).is_some()
    }

    /// A range of a pack, if it is here (it may leave for the store or the cache at any time).
    pub fn read(&self, name: PackName, range: Range<u64>) -> Option<Result<Bytes>> {
        let length = self.length(name)?;
        let object = || format!("{} (not uploaded yet)", self.path(name).display());
        if range.end > length || range.start > range.end {
            return Some(Err(Error::Truncated {
                object: object(),
                path: None,
            }));
        }
        let path = self.path(name);
        let read = || -> std::io::Result<Bytes> {
            let file = self.0.open_files.get(name, || File::open(&path))?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        };
        match read() {
            // It has just left.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            read => Some(read.map_err(|source| Error::io("read", &path, source))),
        }
    }

    /// Where a pack is, or would be.
    pub fn path(&self, name: PackName) -> PathBuf {
        self.0.dir.join(name.to_string())
    }

    /// Names and lengths.
    pub fn packs(&self) -> Vec<(PackName, u64)> {
        let packs = self.0.packs.read().unwrap_or_else(PoisonError::into_inner);
        packs
            .iter()
            .map(|(name, length)| (*name, *length))
            .collect()
    }

    /// Removes a pack that is in the store, or that nothing reaches.
    pub fn remove(&self, name: PackName) -> Result<()> {
        self.forget(name);
        let path = self.path(name);
        std::fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))
    }

    /// Forgets a pack whose file was taken over by the cache.
    pub fn forget(&self, name: PackName) {
        let mut packs = self.0.packs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = packs.remove(&name) {
            self.0.bytes.fetch_sub(gone, Ordering::Relaxed);
        }
        drop(packs);
        self.0.open_files.close(name);
    }

    /// Bytes of all packs.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn length(&self, name: PackName) -> Option<u64> {
        self.0
            .packs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .copied()
    }
}

fn length(path: &Path) -> Result<u64> {
    path.metadata()
        .map(|metadata| metadata.len())
        .map_err(|source| Error::io("look at", path, source))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn many_packs_need_few_open_files_and_one_that_has_left_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        for index in 0..=200u8 {
            outbox.add(PackName([index; 16]), &[index; 64]).unwrap();
        }
        for index in 0..=200u8 {
            let read = outbox.read(PackName([index; 16]), 0..64).unwrap().unwrap();
            assert_eq!(read, [index; 64].as_slice());
        }
        let here = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open = here
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|path| path.starts_with(dir.path()))
            .count();
        assert!((1..=40).contains(&open), "{open} files are open");
        // Taken over by the cache, and not forgotten yet.
        std::fs::remove_file(outbox.path(PackName([0; 16]))).unwrap();
        assert!(outbox.read(PackName([0; 16]), 0..64).is_none());
    }

    #[test]
    fn packs_survive_a_restart_and_half_written_ones_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let name = PackName([1; 16]);
        let outbox = Outbox::open(dir.path()).unwrap();
        outbox.add(name, b"content").unwrap();
        outbox.sync().unwrap();
        std::fs::write(
            dir.path()
                .join(format!("{}.{TEMPORARY}", PackName([2; 16]))),
            "half",
        )
        .unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        assert_eq!((outbox.packs(), outbox.bytes()), (vec![(name, 7)], 7));
        assert_eq!(outbox.read(name, 3..7).unwrap().unwrap(), "tent");
        assert!(outbox.read(name, 3..8).unwrap().is_err());
        outbox.remove(name).unwrap();
        assert!(outbox.read(name, 0..1).is_none());
        assert_eq!(outbox.bytes(), 0);
    }
}
