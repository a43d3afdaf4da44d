//! Frozen packs that wait for upload: a folder of files named like their packs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
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

/// What a pack is called until it is complete.
const TEMPORARY: &str = "new";

#[derive(Debug, Clone)]
struct Waiting {
    file: Arc<File>,
    length: u64,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    packs: RwLock<BTreeMap<PackName, Waiting>>,
    /// Sum of their lengths.
    bytes: AtomicU64,
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
                packs.insert(name, Waiting::open(&path)?);
            }
        }
        let bytes = packs.values().map(|waiting: &Waiting| waiting.length).sum();
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            bytes: AtomicU64::new(bytes),
            packs: RwLock::new(packs),
        })))
    }

    /// Writes a pack under a temporary name, fdatasyncs and renames. The folder is synced by [`Outbox::sync`].
    pub fn add(&self, name: PackName, bytes: &[u8]) -> Result<()> {
        let temporary = self.path(name).with_extension(TEMPORARY);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        let written = write().map_err(|source| Error::io("write", &temporary, source));
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
        // Opened first: a file that was moved and cannot be opened would be in neither place.
        let waiting = Waiting::open(file)?;
        std::fs::rename(file, self.path(name))
            .map_err(|source| Error::io("rename", file, source))?;
        fault::point("outbox.renamed");
        let mut packs = self.0.packs.write().unwrap_or_else(PoisonError::into_inner);
        self.0.bytes.fetch_add(waiting.length, Ordering::Relaxed);
        if let Some(replaced) = packs.insert(name, waiting) {
            self.0.bytes.fetch_sub(replaced.length, Ordering::Relaxed);
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
        self.waiting(name).is_some()
    }

    /// A range of a pack, if it is here.
    pub fn read(&self, name: PackName, range: Range<u64>) -> Option<Result<Bytes>> {
        let waiting = self.waiting(name)?;
        let object = || format!("{} (not uploaded yet)", self.path(name).display());
        if range.end > waiting.length || range.start > range.end {
            return Some(Err(Error::Truncated {
                object: object(),
                path: None,
            }));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = waiting.file.read_exact_at(&mut bytes, range.start);
        Some(
            read.map(|()| bytes.into())
                .map_err(|source| Error::io("read", self.path(name), source)),
        )
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
            .map(|(name, waiting)| (*name, waiting.length))
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
            self.0.bytes.fetch_sub(gone.length, Ordering::Relaxed);
        }
    }

    /// Bytes of all packs.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn waiting(&self, name: PackName) -> Option<Waiting> {
        self.0
            .packs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .cloned()
    }
}

impl Waiting {
    fn open(path: &Path) -> Result<Self> {
        let open = || -> std::io::Result<Self> {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok(Self {
                file: Arc::new(file),
                length,
            })
        };
        open().map_err(|source| Error::io("open", path, source))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
