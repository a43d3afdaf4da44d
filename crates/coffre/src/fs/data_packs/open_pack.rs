//! A pack that is being filled: frames get their offset, are sealed into their place, and stay in memory until the file
//! is frozen and synced.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::pack::END_FRAME;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::PackSize;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::PackRef;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::store::Outbox;

use super::Arriving;
use super::Frozen;
use super::lock;

/// A pack that is being filled.
pub(super) struct OpenPack {
    pub(super) salt: Salt,
    preamble: Preamble,
    pub(super) keys: PackKeys,
    pub(super) path: PathBuf,
    pub(super) state: Mutex<Filling>,
    /// Held while it is frozen or synced: both is done by one at a time.
    pub(super) turn: Mutex<()>,
}

pub(super) struct Filling {
    file: Arc<File>,
    /// Sealed frames by offset.
    pub(super) frames: BTreeMap<u32, Bytes>,
    /// Where the next frame goes.
    pub(super) length: u32,
    /// Frames that have their offset but are not sealed yet.
    sealing: usize,
    /// Bytes known to be on disk.
    synced: u32,
    /// A write or a sync failed; the file is written anew before it is believed again.
    broken: bool,
    /// Freezing failed; the next sync of all packs tries it again.
    pub(super) stuck: bool,
}

impl OpenPack {
    pub(super) fn create(dir: &Path, ring: &Keyring) -> Result<Self> {
        let fresh = PackKeys::fresh(ring, Purpose::Pack);
        let (preamble, keys) = fresh.map_err(|error| Error::of_object("data pack", error))?;
        let path = dir.join(preamble.salt.to_string());
        let create = || -> std::io::Result<File> {
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all_at(&preamble.encode(), 0)?;
            // Its entry is on disk before a frame that names it is acknowledged.
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = Arc::new(create().map_err(|source| {
            // Its name is random: whatever is there is its own beginning.
            drop(std::fs::remove_file(&path));
            Error::io("create", &path, source)
        })?);
        fault::point("pack.created");
        let filling = Filling {
            file,
            frames: BTreeMap::new(),
            length: PREAMBLE,
            sealing: 0,
            synced: 0,
            broken: false,
            stuck: false,
        };
        Ok(Self {
            salt: preamble.salt,
            preamble,
            keys,
            path,
            state: Mutex::new(filling),
            turn: Mutex::default(),
        })
    }

    pub(super) fn reserve(&self, length: u32, full: u32) -> Option<u32> {
        let mut filling = lock(&self.state);
        let offset = filling.length;
        if offset + length + END_FRAME > full {
            return None;
        }
        filling.length += length;
        filling.sealing += 1;
        Some(offset)
    }

    /// Writes a sealed frame into its place. Where that fails it is in memory only, and the next sync writes the file anew.
    pub(super) fn write(&self, offset: u32, frame: Bytes) -> Result<()> {
        let file = lock(&self.state).file.clone();
        // Without the lock: several threads write at once.
        let mut written = file.write_all_at(&frame, u64::from(offset));
        let mut filling = lock(&self.state);
        if !filling.broken && !Arc::ptr_eq(&file, &filling.file) {
            // Meanwhile it was written anew, without this frame.
            written = filling.file.write_all_at(&frame, u64::from(offset));
        }
        filling.frames.insert(offset, frame);
        filling.sealing -= 1;
        if filling.broken {
            return Ok(());
        }
        written.map_err(|source| {
            filling.broken = true;
            Error::io("write", &self.path, source)
        })
    }

    /// Whether it waits for freezing; marks it so that only one thread does it.
    pub(super) fn is_full_and_sealed(&self, full: u32) -> bool {
        let mut filling = lock(&self.state);
        let ready = filling.sealing == 0 && !filling.stuck && filling.length > full / 2;
        if ready {
            filling.sealing = usize::MAX / 2;
        }
        ready
    }

    /// A freeze failed: no append tries it again, the next sync does.
    pub(super) fn mark_stuck(&self) {
        let mut filling = lock(&self.state);
        filling.sealing = 0;
        filling.stuck = true;
    }

    /// fdatasync; after a failure the whole file is written anew by the next one, because what it holds is unknown.
    pub(super) fn sync(&self) -> Result<u32> {
        // Not beside a freeze: the system tells of a failed sync once, and it must reach whoever relies on it.
        let _turn = lock(&self.turn);
        if lock(&self.state).broken {
            self.rewrite()?;
        }
        let (file, length) = {
            let filling = lock(&self.state);
            if filling.synced == filling.length {
                return Ok(filling.synced);
            }
            // Frames that are being sealed belong to no transaction yet; they are told as synced the next time.
            let complete = if filling.sealing == 0 {
                filling.length
            } else {
                filling.synced
            };
            (filling.file.clone(), complete)
        };
        match rustix::fs::fdatasync(&*file) {
            Ok(()) => {
                fault::point("pack.synced");
                lock(&self.state).synced = length;
                Ok(length)
            }
            Err(source) => {
                lock(&self.state).broken = true;
                Err(Error::io("sync", &self.path, source))
            }
        }
    }

    /// Everything sealed so far goes to a new file, which takes the place of the one that is not believed.
    fn rewrite(&self) -> Result<()> {
        let mut filling = lock(&self.state);
        let fresh = self.path.with_extension("new");
        let write = || -> std::io::Result<File> {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&fresh)?;
            file.write_all_at(&self.preamble.encode(), 0)?;
            for (offset, frame) in &filling.frames {
                file.write_all_at(frame, u64::from(*offset))?;
            }
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)?;
            if let Some(dir) = self.path.parent() {
                File::open(dir)?.sync_all()?;
            }
            Ok(file)
        };
        let file = write().map_err(|source| {
            // On a full disk it would be in the way of the next attempt.
            drop(std::fs::remove_file(&fresh));
            Error::io("write anew", &self.path, source)
        })?;
        filling.file = Arc::new(file);
        filling.broken = false;
        Ok(())
    }

    /// Ends the file where it is, syncs it and moves it into the outbox under its name.
    pub(super) fn freeze(
        &self,
        outbox: &Outbox,
        size: PackSize,
        arriving: &Arriving,
    ) -> Result<Frozen> {
        if lock(&self.state).broken {
            self.rewrite()?;
        }
        // Nothing is appended any more. Whoever asks for a frame is not kept waiting for the disk.
        let (file, frames, content) = {
            let filling = lock(&self.state);
            let (file, frames) = (filling.file.clone(), filling.frames.clone());
            (file, frames, filling.length)
        };
        // Never in one piece: that would be the whole pack in memory a second time.
        let count = u32::try_from(frames.len()).expect("a pack has fewer than 2^32 frames");
        let ending = self
            .keys
            .ending(content, count, size)
            .map_err(|error| Error::of_object("data pack", error))?;
        let preamble = self.preamble.encode();
        let sealed = frames.values().map(|frame| &frame[..]);
        let parts = std::iter::once(&preamble[..])
            .chain(sealed)
            .chain([&ending[..]]);
        let name = PackName::of(&ObjectHash::of_parts(parts));
        let finish = || -> std::io::Result<()> {
            file.write_all_at(&ending, u64::from(content))?;
            file.sync_all()
        };
        if let Err(source) = finish() {
            lock(&self.state).broken = true;
            return Err(Error::io("finish", &self.path, source));
        }
        fault::point("pack.closed");
        lock(arriving).insert(name);
        let moved = outbox.adopt(name, &self.path).and_then(|()| {
            outbox.sync().inspect_err(|_| {
                // A rename whose sync failed is made again, with a sync of its own.
                outbox.give_back(name, &self.path);
            })
        });
        moved.inspect_err(|_| {
            lock(arriving).remove(&name);
        })?;
        fault::point("pack.frozen");
        let pack = PackRef {
            name,
            salt: self.salt,
            epoch: self.preamble.epoch,
        };
        Ok(Frozen { pack, fresh: true })
    }
}
