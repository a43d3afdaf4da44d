//! A pack that is being filled: frames get their offset, are sealed into their place, and stay in memory until the file
//! is frozen and synced.
//!
//! ```text
//!  preamble │ frame │ frame │ frame │ frame │ in the making │ frame
//!  ── in the file ──────────┤       ▲ sealed_to
//!                           ▲ written: from here in stretches of whole sectors, past the system's memory of files;
//!                             the rest in the ordinary way when the journal is about to name it
//! ```

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
use crate::store::disks::SECTOR;
use crate::store::past::Past;
use crate::store::past::STRETCH;
use crate::store::past::is_not_possible;

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
    /// Held while it is synced or frozen: that is done by one at a time. Taken before `turn`.
    pub(super) settling: Mutex<()>,
    /// Held while its file is written, which goes on beside a sync.
    turn: Mutex<()>,
}

pub(super) struct Filling {
    file: Arc<File>,
    /// The same past the system's memory of files, where that can be.
    past: Option<Arc<Past>>,
    /// Sealed frames by offset.
    pub(super) frames: BTreeMap<u32, Bytes>,
    /// Where the next frame goes.
    pub(super) length: u32,
    /// Frames that have their offset but are not sealed yet.
    sealing: usize,
    /// All before this is sealed.
    sealed_to: u32,
    /// All before this is in the file.
    written: u32,
    /// Somebody is about to write a stretch.
    writing: bool,
    /// Bytes known to be on disk.
    synced: u32,
    /// A write or a sync failed; the file is written anew before it is believed again.
    broken: Option<Error>,
    /// It has its name: nothing is written to it any more.
    frozen: bool,
    /// Freezing failed; the next sync of all packs tries it again.
    pub(super) stuck: bool,
}

/// How much of what is sealed goes to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Whole sectors that follow each other.
    Sectors,
    /// Everything.
    All,
}

/// What is to be written.
struct Unwritten {
    file: Arc<File>,
    past: Option<Arc<Past>>,
    /// Where the first part goes; a sector begins there.
    start: u32,
    /// Parts that follow each other.
    parts: Vec<Bytes>,
    /// Frames behind one that is in the making.
    beyond: Vec<(u32, Bytes)>,
    /// Where everything ends, if nothing is in the making.
    complete: Option<u32>,
}

impl Filling {
    /// Whether everything that is sealed is in the file.
    fn is_written(&self) -> bool {
        let beyond = self.frames.range(self.sealed_to..).next();
        self.written == self.sealed_to && beyond.is_none()
    }

    /// What is sealed and may not be in the file yet, from the sector in which that begins.
    fn unwritten(&self, preamble: &Preamble) -> Unwritten {
        let begins = self.written / SECTOR as u32 * SECTOR as u32;
        self.sealed_from(begins, self.past.clone(), preamble)
    }

    /// All that is sealed, for the ordinary way.
    fn everything(&self, preamble: &Preamble) -> Unwritten {
        self.sealed_from(0, None, preamble)
    }

    fn sealed_from(&self, start: u32, past: Option<Arc<Past>>, preamble: &Preamble) -> Unwritten {
        let mut parts = Vec::new();
        let mut from = start;
        if start < PREAMBLE {
            parts.push(Bytes::copy_from_slice(&preamble.encode()));
            from = PREAMBLE;
        }
        // The frame in which it begins is not the first that begins behind it.
        let before = self.frames.range(..from).next_back();
        if let Some((at, frame)) = before
            && let Some(rest) = frame.get((from - at) as usize..)
        {
            parts.push(frame.slice_ref(rest));
        }
        let sealed = self.frames.range(from..self.sealed_to.max(from));
        parts.extend(sealed.map(|(_, frame)| frame.clone()));
        let beyond = self.frames.range(self.sealed_to.max(from)..);
        Unwritten {
            file: self.file.clone(),
            past,
            start,
            parts,
            beyond: beyond.map(|(at, frame)| (*at, frame.clone())).collect(),
            complete: (self.sealing == 0).then_some(self.length),
        }
    }
}

impl Unwritten {
    /// Answers up to where the file has everything now.
    fn write(&self, extent: Extent, ending: &[u8]) -> std::io::Result<u32> {
        let parts = self.parts.iter().map(|part| &part[..]).chain([ending]);
        let mut end = self.start;
        if let Some(past) = &self.past {
            end = past.write(u64::from(self.start), parts.clone())? as u32;
            if extent == Extent::Sectors {
                return Ok(end);
            }
        }
        let mut at = self.start;
        for part in parts {
            let next = at + part.len() as u32;
            if next > end {
                let rest = &part[end.saturating_sub(at) as usize..];
                self.file.write_all_at(rest, u64::from(at.max(end)))?;
            }
            at = next;
        }
        for (at, frame) in &self.beyond {
            self.file.write_all_at(frame, u64::from(*at))?;
        }
        Ok(at)
    }
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
            past: Past::open(&path).map(Arc::new),
            frames: BTreeMap::new(),
            length: PREAMBLE,
            sealing: 0,
            sealed_to: PREAMBLE,
            written: PREAMBLE,
            writing: false,
            synced: 0,
            broken: None,
            frozen: false,
            stuck: false,
        };
        Ok(Self {
            salt: preamble.salt,
            preamble,
            keys,
            path,
            state: Mutex::new(filling),
            settling: Mutex::default(),
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

    /// Takes a sealed frame. Answers whether the caller is to see to it that a stretch is written.
    pub(super) fn put(&self, offset: u32, frame: Bytes) -> bool {
        let mut filling = lock(&self.state);
        filling.frames.insert(offset, frame);
        filling.sealing -= 1;
        while let Some(frame) = filling.frames.get(&filling.sealed_to) {
            filling.sealed_to += frame.len() as u32;
        }
        let waiting = filling.sealed_to.saturating_sub(filling.written) as usize;
        let due = waiting >= STRETCH && !filling.writing && filling.broken.is_none();
        filling.writing |= due;
        due
    }

    /// Writes what is sealed. Where that fails it is in memory only, and the next sync writes the file anew.
    pub(super) fn write(&self, extent: Extent) -> Result<()> {
        let is_broken = lock(&self.state).broken.is_some();
        let written = match is_broken {
            true => Ok(None),
            false => self.write_with(extent, &[]),
        };
        if extent == Extent::Sectors {
            lock(&self.state).writing = false;
        }
        written.map(drop)
    }

    /// The same with what ends the pack. Answers where the content ends that is in the file now, if nothing was in the making.
    fn write_with(&self, extent: Extent, ending: &[u8]) -> Result<Option<u32>> {
        let _turn = lock(&self.turn);
        let unwritten = {
            let filling = lock(&self.state);
            if let Some(error) = &filling.broken {
                return Err(error.clone());
            }
            if filling.frozen || (ending.is_empty() && filling.is_written()) {
                return Ok((filling.sealing == 0).then_some(filling.length));
            }
            filling.unwritten(&self.preamble)
        };
        let mut written = unwritten.write(extent, ending);
        if let Err(source) = &written
            && unwritten.past.is_some()
            && is_not_possible(source)
        {
            // All of it: what was written so far may not be known to the other descriptor's sync. Until it is, a sync beside
            // this asks both.
            let ordinary = lock(&self.state).everything(&self.preamble);
            written = ordinary.write(Extent::All, ending);
            if written.is_ok() {
                lock(&self.state).past = None;
            }
            return self.note_written(written, ordinary.complete);
        }
        self.note_written(written, unwritten.complete)
    }

    fn note_written(
        &self,
        written: std::io::Result<u32>,
        complete: Option<u32>,
    ) -> Result<Option<u32>> {
        match written {
            Ok(end) => {
                let mut filling = lock(&self.state);
                filling.written = filling.written.max(end.min(filling.sealed_to));
                Ok(complete)
            }
            Err(source) => Err(self.break_with("write", source)),
        }
    }

    /// What the file holds is unknown from here on.
    fn break_with(&self, operation: &'static str, source: std::io::Error) -> Error {
        let error = Error::io(operation, &self.path, source);
        lock(&self.state).broken = Some(error.clone());
        error
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
        let _settling = lock(&self.settling);
        if lock(&self.state).broken.is_some() {
            self.rewrite()?;
        }
        {
            let filling = lock(&self.state);
            if filling.synced == filling.length {
                return Ok(filling.synced);
            }
        }
        let complete = self.write_with(Extent::All, &[])?;
        self.sync_file("sync", |file| Ok(rustix::fs::fdatasync(file)?))?;
        fault::point("pack.synced");
        let mut filling = lock(&self.state);
        // Frames that are being sealed belong to no transaction yet; they are told as synced the next time.
        filling.synced = complete.unwrap_or(filling.synced);
        Ok(filling.synced)
    }

    fn sync_file(
        &self,
        operation: &'static str,
        sync: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> Result<()> {
        let (file, past) = {
            let filling = lock(&self.state);
            (filling.file.clone(), filling.past.clone())
        };
        let synced = past
            .map_or(Ok(()), |past| past.sync())
            .and_then(|()| sync(&file));
        synced.map_err(|source| self.break_with(operation, source))?;
        // A stretch that was written beside it may have failed.
        match &lock(&self.state).broken {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Everything sealed so far goes to a new file, which takes the place of the one that is not believed.
    fn rewrite(&self) -> Result<()> {
        let _turn = lock(&self.turn);
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
        // A disk with a fault is asked for nothing unusual.
        filling.past = None;
        filling.written = filling.sealed_to;
        filling.broken = None;
        Ok(())
    }

    /// Ends the file where it is, syncs it and moves it into the outbox under its name.
    pub(super) fn freeze(
        &self,
        outbox: &Outbox,
        size: PackSize,
        arriving: &Arriving,
    ) -> Result<Frozen> {
        if lock(&self.state).broken.is_some() {
            self.rewrite()?;
        }
        // Nothing is appended any more. Whoever asks for a frame is not kept waiting for the disk.
        let (frames, content) = {
            let filling = lock(&self.state);
            (filling.frames.clone(), filling.length)
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
        self.write_with(Extent::All, &ending)?;
        // An earlier attempt may have ended it further on.
        let whole = u64::from(content) + ending.len() as u64;
        self.sync_file("finish", |file| {
            file.set_len(whole)?;
            file.sync_all()
        })?;
        lock(&self.state).synced = content;
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
        lock(&self.state).frozen = true;
        fault::point("pack.frozen");
        let pack = PackRef {
            name,
            salt: self.salt,
            epoch: self.preamble.epoch,
        };
        Ok(Frozen { pack, fresh: true })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use coffre_format::frame::Compression;
    use coffre_format::frame::FrameKind;
    use coffre_format::frame::prepare;
    use coffre_format::id::VaultId;

    use super::*;

    #[test]
    fn a_pack_that_was_ended_in_vain_has_the_length_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (packs, outbox) = (dir.path().join("packs"), dir.path().join("outbox"));
        std::fs::create_dir(&packs).unwrap();
        std::fs::create_dir(&outbox).unwrap();
        let ring = Keyring::generate(VaultId::random().unwrap()).unwrap();
        let pack = OpenPack::create(&packs, &ring).unwrap();
        let content = [7; 100_000];
        let prepared = prepare(
            ring.structure(),
            FrameKind::Data,
            &content,
            Compression::Try,
        )
        .unwrap();
        let offset = pack.reserve(prepared.frame_length(), u32::MAX).unwrap();
        let mut frame = Vec::new();
        pack.keys.seal(offset, &prepared, &mut frame);
        pack.put(offset, frame.into());
        let (store, arriving) = (Outbox::open(&outbox).unwrap(), Arriving::default());
        // The folder is away: the file cannot get its name.
        std::fs::rename(&outbox, dir.path().join("away")).unwrap();
        assert!(pack.freeze(&store, PackSize::Full, &arriving).is_err());
        std::fs::rename(dir.path().join("away"), &outbox).unwrap();
        let frozen = pack.freeze(&store, PackSize::Padded, &arriving).unwrap();
        let bytes = std::fs::read(store.path(frozen.pack.name)).unwrap();
        let hash = ObjectHash::of_parts([&bytes[..]]);
        assert_eq!(PackName::of(&hash), frozen.pack.name);
    }
}
