//! The folder of one vault on this machine, and the lock that keeps processes apart.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::FlockOperation;
use rustix::fs::flock;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::store::StoreUri;
use crate::vault::Access;

/// How long another process may hold the folder before we give up.
const WAIT: Duration = Duration::from_secs(30);
/// How often the lock is tried meanwhile.
const RETRY: Duration = Duration::from_millis(50);

/// The folder of one vault on this machine (anchor, journal, outbox, socket), locked.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    access: Access,
    /// Holds the flock, until it is dropped.
    lock: File,
}

impl StateDir {
    /// `root`/<hash of the canonical URI>; `ReadOnly` takes the lock shared, `ReadWrite` exclusively (waits 30 s, then `Busy`).
    pub fn open(root: &Path, uri: &StoreUri, access: Access) -> Result<Self> {
        Self::open_waiting(root, uri, access, WAIT)
    }

    /// As [`StateDir::open`], waiting at most `patience`.
    pub fn open_waiting(
        root: &Path,
        uri: &StoreUri,
        access: Access,
        patience: Duration,
    ) -> Result<Self> {
        let path = Self::locate(root, uri);
        make_folder(root, &path).map_err(|error| error.at_the_start(root))?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file);
        let lock = match (lock, access) {
            // Whoever only reads can lock a file that cannot be written.
            (Err(_), Access::ReadOnly) => File::open(&file),
            (lock, _) => lock,
        };
        let lock = lock.map_err(|error| Error::io("open", &file, error).at_the_start(&path))?;
        let state = Self { path, access, lock };
        state.wait_for(operation(access), patience)?;
        Ok(state)
    }

    /// The folder of a vault, without opening it (to find a control socket).
    pub fn locate(root: &Path, uri: &StoreUri) -> PathBuf {
        let hash = blake3::hash(uri.canonical().as_bytes()).to_hex();
        root.join(&hash[..32])
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is locked.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What this device remembers of the vault.
    pub fn anchor(&self) -> PathBuf {
        self.path.join("anchor")
    }

    /// Folder of journal segments.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Folder of packs that wait for upload.
    pub fn outbox(&self) -> PathBuf {
        self.path.join("outbox")
    }

    /// Where the process that has the vault mounted listens.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Folder of the last known heads, sealed as they were fetched.
    pub(super) fn heads(&self) -> PathBuf {
        self.path.join("heads")
    }

    /// An outbox that stays empty: heads are verified by what is in the store, and the file system
    /// moves packs out of its outbox behind the back of any other reader.
    pub(super) fn no_outbox(&self) -> PathBuf {
        self.heads().join("outbox")
    }

    /// Whether journal or outbox hold anything.
    pub(super) fn holds_work(&self) -> Result<bool> {
        Ok(has_entries(&self.journal())? || has_entries(&self.outbox())?)
    }

    /// Runs `work` if no other process uses the folder; a reader becomes the only user for that time.
    ///
    /// Converting a flock releases it in between, so `work` must look at the files afresh.
    pub(super) fn alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if self.access == Access::ReadWrite {
            return work().map(Some);
        }
        let upgraded = self.try_lock(FlockOperation::NonBlockingLockExclusive)?;
        let done = if upgraded { Some(work()) } else { None };
        self.wait_for(operation(self.access), WAIT)?;
        done.transpose()
    }

    fn wait_for(&self, operation: FlockOperation, patience: Duration) -> Result<()> {
        let started = Instant::now();
        while !self.try_lock(operation)? {
            if started.elapsed() >= patience {
                return Err(Error::Busy {
                    what: format!(
                        "this vault is mounted or used by another coffre process on this machine \
                         (it holds {}); unmount it or wait until that process has finished",
                        self.path.join("lock").display()
                    ),
                });
            }
            std::thread::sleep(RETRY.min(patience));
        }
        Ok(())
    }

    fn try_lock(&self, operation: FlockOperation) -> Result<bool> {
        loop {
            match flock(&self.lock, operation) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::io("lock", self.path.join("lock"), error)),
            }
        }
    }
}

/// The folder's own entry must survive a power cut as well as the anchor in it.
fn make_folder(root: &Path, path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io("create", path, error))?;
    File::open(root)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("sync", root, error))
}

impl Drop for StateDir {
    /// Closing the file is not enough where a child of this process has a copy of it.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.lock, FlockOperation::Unlock) {
            log::warn!("unlocking {}: {error}", self.path.display());
        }
    }
}

fn operation(access: Access) -> FlockOperation {
    match access {
        Access::ReadOnly => FlockOperation::NonBlockingLockShared,
        Access::ReadWrite => FlockOperation::NonBlockingLockExclusive,
    }
}

fn has_entries(folder: &Path) -> Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("list", folder, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn writers_are_alone_and_readers_are_not() {
        let root = tempfile::tempdir().unwrap();
        let uri = StoreUri::local(Path::new("/somewhere"));
        let open = |access| StateDir::open_waiting(root.path(), &uri, access, NOW);

        let writer = open(Access::ReadWrite).unwrap();
        assert!(matches!(open(Access::ReadOnly), Err(Error::Busy { .. })));
        drop(writer);
        let reader = open(Access::ReadOnly).unwrap();
        assert!(reader.alone(|| Ok(())).unwrap().is_some());
        let other = open(Access::ReadOnly).unwrap();
        assert!(reader.alone(|| Ok(())).unwrap().is_none());
        assert!(matches!(open(Access::ReadWrite), Err(Error::Busy { .. })));
        drop((reader, other));
        open(Access::ReadWrite).unwrap();
    }
}
