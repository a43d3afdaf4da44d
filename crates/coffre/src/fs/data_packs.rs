//! The data packs of this session that are not settled yet: where whole blocks go the moment they are written.
//!
//! ```text
//!  append ─▶ open pack (frames in memory and in `open/<salt>`) ──full──▶ frozen (in the outbox, under its name)
//! ```
//! A block is compressed and hashed, gets its offset, and is sealed into its place, so several threads can
//! seal at once. Frames stay in memory until their file is frozen and synced: a failed write or sync can then
//! be answered by writing the whole file again, and the bytes that are uploaded are those that were sealed.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coffre_format::crypto::key::Keyring;
use coffre_format::frame::Compression;
use coffre_format::frame::FrameKind;
use coffre_format::frame::Prepared;
use coffre_format::frame::prepare;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::pack::END_FRAME;
use coffre_format::pack::PACK_FULL;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::PackSize;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::trouble::Trouble;
use crate::fs::types::Workers;
use crate::store::Outbox;

/// Packs that may wait in memory for their sync before writers are held back, where nothing else is said.
const FREEZING_MOST: usize = 4;

/// A pack that is being filled.
struct OpenPack {
    salt: Salt,
    preamble: Preamble,
    keys: PackKeys,
    path: PathBuf,
    state: Mutex<Filling>,
    /// Held while it is frozen or synced: both is done by one at a time.
    turn: Mutex<()>,
}

struct Filling {
    file: Arc<File>,
    /// Sealed frames by offset.
    frames: BTreeMap<u32, Bytes>,
    /// Where the next frame goes.
    length: u32,
    /// Frames that have their offset but are not sealed yet.
    sealing: usize,
    /// Bytes known to be on disk.
    synced: u32,
    /// A write or a sync failed; the file is written anew before it is believed again.
    broken: bool,
    /// Freezing failed; the next sync of all packs tries it again.
    stuck: bool,
}

/// A pack with its name, in the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Frozen {
    /// As pointers name it.
    pub pack: PackRef,
    /// Frozen by this process: it holds content that a coming fold will most likely name.
    pub fresh: bool,
}

/// A pack of an earlier process that was never frozen: read, never appended to.
struct Left {
    keys: PackKeys,
    path: PathBuf,
    bytes: Bytes,
}

#[derive(Default)]
struct State {
    current: Option<Arc<OpenPack>>,
    /// Closed for appending, not frozen yet.
    closing: BTreeMap<Salt, Arc<OpenPack>>,
    frozen: BTreeMap<Salt, Frozen>,
    left: BTreeMap<Salt, Arc<Left>>,
}

/// All data packs of this process that are not settled.
pub struct DataPacks {
    dir: PathBuf,
    ring: Arc<Keyring>,
    outbox: Outbox,
    workers: Workers,
    state: Mutex<State>,
    /// Length of a full pack.
    full: u32,
    freezing_most: usize,
    freezing: AtomicUsize,
    thawed: tokio::sync::Notify,
    /// Packs cannot be begun, written or frozen.
    trouble: Mutex<Option<Trouble>>,
    /// Packs that are in the outbox, or about to be, and not among the frozen ones yet. Taken last of all locks.
    arriving: Arriving,
}

type Arriving = Mutex<HashSet<PackName>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DataPacks {
    /// Packs in `dir` (created), with what an earlier process left there; what it left half-written is removed.
    pub fn open(
        dir: PathBuf,
        ring: Arc<Keyring>,
        outbox: Outbox,
        workers: Workers,
    ) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(|source| Error::io("create", &dir, source))?;
        let packs = Self::new(dir, ring, outbox, workers);
        for useless in packs.find_left()? {
            std::fs::remove_file(&useless)
                .map_err(|source| Error::io("remove", &useless, source))?;
        }
        packs.find_frozen()?;
        Ok(packs)
    }

    /// What an earlier process left in `dir`, which may be absent; nothing in it is changed.
    pub fn look(dir: PathBuf, ring: Arc<Keyring>, outbox: Outbox) -> Result<Self> {
        let packs = Self::new(dir, ring, outbox, Workers::default());
        if packs.dir.exists() {
            packs.find_left()?;
        }
        packs.find_frozen()?;
        Ok(packs)
    }

    /// Whether nothing was left here.
    pub fn is_empty(&self) -> bool {
        let state = lock(&self.state);
        state.left.is_empty() && state.frozen.is_empty()
    }

    fn new(dir: PathBuf, ring: Arc<Keyring>, outbox: Outbox, workers: Workers) -> Self {
        Self {
            dir,
            ring,
            outbox,
            workers,
            state: Mutex::default(),
            full: PACK_FULL,
            freezing_most: FREEZING_MOST,
            freezing: AtomicUsize::new(0),
            thawed: tokio::sync::Notify::new(),
            trouble: Mutex::default(),
            arriving: Mutex::default(),
        }
    }

    /// Packs of another length when full, and another number of them in memory beside the open one.
    #[must_use]
    pub fn within(mut self, full: u32, freezing_most: usize) -> Self {
        self.full = full.min(PACK_FULL);
        self.freezing_most = freezing_most;
        self
    }

    /// Seals `plaintext` (at most 128 KiB) into the open pack.
    pub fn append(self: &Arc<Self>, plaintext: &[u8]) -> Result<Pointer> {
        let prepared = prepare(
            self.ring.structure(),
            FrameKind::Data,
            plaintext,
            Compression::Try,
        )
        .map_err(|error| Error::of_object("data frame", error))?;
        let (pack, offset) = self.reserve(&prepared)?;
        let mut frame = vec![0; prepared.frame_length() as usize];
        pack.keys.seal(offset, &prepared, &mut frame);
        let mut filling = lock(&pack.state);
        if !filling.broken
            && let Err(source) = filling.file.write_all_at(&frame, u64::from(offset))
        {
            filling.broken = true;
            self.note(Some(Error::io("write", &pack.path, source)));
        }
        filling.frames.insert(offset, frame.into());
        filling.sealing -= 1;
        drop(filling);
        fault::point("pack.appended");
        self.freeze_if_full(&pack);
        Ok(Pointer {
            place: Place::Open {
                salt: pack.salt,
                offset,
            },
            stored: prepared.stored_length(),
            digest: prepared.digest(),
        })
    }

    /// Waits while too many frozen packs wait for the disk.
    pub async fn admit(&self) {
        while self.freezing.load(Ordering::Acquire) >= self.freezing_most {
            let thawed = self.thawed.notified();
            if self.freezing.load(Ordering::Acquire) >= self.freezing_most {
                thawed.await;
            }
        }
    }

    /// The plaintext of a frame in a pack that is not frozen, or `None` where it is frozen by now (see
    /// [`DataPacks::frozen`]) or unknown.
    pub fn read(&self, pointer: &Pointer) -> Option<Result<Bytes>> {
        let Place::Open { salt, offset } = pointer.place else {
            return None;
        };
        let (keys, frame) = self.sealed(salt, offset, pointer.stored)?;
        let opened = keys.open(FrameKind::Data, offset, &frame, &pointer.digest);
        Some(
            opened
                .map(Bytes::from)
                .map_err(|error| Error::of_object(format!("open pack {salt}"), error)),
        )
    }

    /// The pack that was open under this salt, once it has a name.
    pub fn frozen(&self, salt: Salt) -> Option<Frozen> {
        lock(&self.state).frozen.get(&salt).copied()
    }

    /// Whether a pointer leads into a pack that has a name by now.
    pub fn is_named(&self, pointer: &Pointer) -> bool {
        matches!(pointer.place, Place::Open { salt, .. } if self.frozen(salt).is_some())
    }

    /// All packs with a name that transactions may still know by their salt.
    pub fn named(&self) -> Vec<Frozen> {
        lock(&self.state).frozen.values().copied().collect()
    }

    /// The names of them, and of packs that are just being frozen: whatever the outbox has of this is here, if it is
    /// asked first.
    pub fn names(&self) -> HashSet<PackName> {
        // In this order: what has arrived in between is frozen.
        let mut names = lock(&self.arriving).clone();
        let state = lock(&self.state);
        names.extend(state.frozen.values().map(|frozen| frozen.pack.name));
        names
    }

    /// Why no more can be taken, while it cannot.
    pub fn trouble(&self) -> Option<Error> {
        lock(&self.trouble).as_ref().map(Trouble::error)
    }

    /// Time until a sync is to try again what failed, if anything did.
    pub fn pause(&self) -> Option<Duration> {
        lock(&self.trouble).as_ref().map(Trouble::pause)
    }

    /// Everything appended so far is on disk. Answers the open pack and how far it is synced.
    pub fn sync(&self) -> Result<Option<(Salt, u32)>> {
        let (packs, current) = {
            let state = lock(&self.state);
            let packs: Vec<_> = state
                .closing
                .values()
                .chain(state.current.iter())
                .cloned()
                .collect();
            (packs, state.current.as_ref().map(|pack| pack.salt))
        };
        let mut mark = None;
        let mut failed = None;
        for pack in packs {
            match pack.sync() {
                Ok(synced) if Some(pack.salt) == current => mark = Some((pack.salt, synced)),
                Ok(_) => {}
                // The others are synced all the same: the next attempt has less to do.
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                self.retry_stuck();
                Ok(mark)
            }
        }
    }

    /// Freezes what could not be frozen. Its frames are synced where they are, so this fails nobody's fsync.
    fn retry_stuck(&self) {
        let waits = |trouble: &Trouble| trouble.was_just_tried();
        if lock(&self.trouble).as_ref().is_none_or(waits) {
            return;
        }
        let stuck: Vec<Salt> = {
            let state = lock(&self.state);
            let stuck = |pack: &&Arc<OpenPack>| lock(&pack.state).stuck;
            let packs = state.closing.values().filter(stuck);
            packs.map(|pack| pack.salt).collect()
        };
        let freeze = |salt: &Salt| self.freeze(*salt, PackSize::Full).err();
        let failed = stuck.iter().find_map(freeze);
        self.note(failed.or_else(|| self.begin().err()));
    }

    /// Begins a pack, if there is none that takes more.
    fn begin(&self) -> Result<()> {
        let mut state = lock(&self.state);
        if state.current.is_none() {
            state.current = Some(Arc::new(OpenPack::create(&self.dir, &self.ring)?));
        }
        Ok(())
    }

    fn note(&self, error: Option<Error>) {
        let mut trouble = lock(&self.trouble);
        *trouble = Trouble::after(trouble.take(), error);
    }

    /// Takes the open pack away from writers. Frames that are being sealed still arrive in it.
    pub fn close_current(self: &Arc<Self>) -> Option<Salt> {
        let mut state = lock(&self.state);
        let pack = state.current.take()?;
        let salt = pack.salt;
        state.closing.insert(salt, pack);
        Some(salt)
    }

    /// Bytes of frames in a pack that is closed and not frozen.
    pub fn closed_length(&self, salt: Salt) -> Option<u32> {
        let pack = lock(&self.state).closing.get(&salt).cloned()?;
        let length = lock(&pack.state).length;
        Some(length)
    }

    /// Freezes a closed pack of which no frame is being sealed any more.
    pub fn freeze(&self, salt: Salt, size: PackSize) -> Result<Frozen> {
        let pack = lock(&self.state).closing.get(&salt).cloned();
        let Some(pack) = pack else {
            return self.frozen(salt).ok_or_else(|| unknown(salt));
        };
        let _turn = lock(&pack.turn);
        if let Some(frozen) = self.frozen(salt) {
            return Ok(frozen);
        }
        let frozen = pack.freeze(&self.outbox, size, &self.arriving)?;
        let mut state = lock(&self.state);
        state.frozen.insert(salt, frozen);
        state.closing.remove(&salt);
        lock(&self.arriving).remove(&frozen.pack.name);
        Ok(frozen)
    }

    /// Salts of all packs that are closed, frozen or left: what a fold may settle and then forget.
    pub fn settled_candidates(&self) -> Vec<Salt> {
        let state = lock(&self.state);
        state
            .closing
            .keys()
            .chain(state.frozen.keys())
            .chain(state.left.keys())
            .copied()
            .collect()
    }

    /// Forgets packs that nothing names any more and removes their unfrozen files. Frozen ones stay in the outbox;
    /// their names are answered.
    pub fn forget(&self, salts: &[Salt]) -> Vec<Frozen> {
        let mut state = lock(&self.state);
        let mut frozen = Vec::new();
        for salt in salts {
            let path = match (state.closing.remove(salt), state.left.remove(salt)) {
                (Some(pack), _) => Some(pack.path.clone()),
                (None, Some(left)) => Some(left.path.clone()),
                (None, None) => None,
            };
            if let Some(path) = path
                && let Err(error) = std::fs::remove_file(&path)
            {
                log::warn!("cannot remove {}: {error}", path.display());
            }
            frozen.extend(state.frozen.remove(salt));
        }
        frozen
    }

    /// Bytes of frames held in memory.
    pub fn memory(&self) -> usize {
        let state = lock(&self.state);
        let packs = state.closing.values().chain(state.current.iter());
        packs
            .map(|pack| lock(&pack.state).length as usize)
            .sum::<usize>()
            + state
                .left
                .values()
                .map(|left| left.bytes.len())
                .sum::<usize>()
    }

    fn reserve(&self, prepared: &Prepared) -> Result<(Arc<OpenPack>, u32)> {
        let needed = prepared.frame_length();
        let mut state = lock(&self.state);
        if let Some(pack) = state.current.clone() {
            if let Some(offset) = pack.reserve(needed, self.full) {
                return Ok((pack, offset));
            }
            state.closing.insert(pack.salt, pack.clone());
            state.current = None;
            // Without frames in the making nobody else would notice that it is full.
        }
        let created = OpenPack::create(&self.dir, &self.ring);
        let pack = Arc::new(created.inspect_err(|error| self.note(Some(error.clone())))?);
        let offset = pack
            .reserve(needed, self.full)
            .expect("an empty pack has room for one frame");
        state.current = Some(pack.clone());
        Ok((pack, offset))
    }

    /// Freezes in the background a pack that is closed and complete.
    fn freeze_if_full(self: &Arc<Self>, _sealed_into: &Arc<OpenPack>) {
        let full: Vec<Arc<OpenPack>> = {
            let state = lock(&self.state);
            state
                .closing
                .values()
                .filter(|pack| pack.is_full_and_sealed(self.full))
                .cloned()
                .collect()
        };
        let size = if self.full == PACK_FULL {
            PackSize::Full
        } else {
            PackSize::Padded
        };
        for pack in full {
            self.freezing.fetch_add(1, Ordering::AcqRel);
            let packs = self.clone();
            let freeze = move || {
                if let Err(error) = packs.freeze(pack.salt, size) {
                    pack.mark_stuck();
                    packs.note(Some(error));
                }
                packs.freezing.fetch_sub(1, Ordering::AcqRel);
                packs.thawed.notify_waiters();
            };
            match self.workers {
                Workers::Threads => drop(tokio::task::spawn_blocking(freeze)),
                Workers::Runtime => drop(tokio::spawn(async move { freeze() })),
            }
        }
    }

    /// Keys and sealed bytes of a frame of a pack that is open, closing or left.
    fn sealed(&self, salt: Salt, offset: u32, stored: u32) -> Option<(PackKeys, Bytes)> {
        let state = lock(&self.state);
        let open = state
            .current
            .as_ref()
            .filter(|pack| pack.salt == salt)
            .or_else(|| state.closing.get(&salt));
        if let Some(pack) = open {
            let frame = lock(&pack.state).frames.get(&offset).cloned()?;
            return Some((pack.keys.clone(), frame));
        }
        let left = state.left.get(&salt)?;
        let start = offset as usize;
        let end = start + (coffre_format::frame::FRAME_OVERHEAD + stored) as usize;
        (end <= left.bytes.len()).then(|| (left.keys.clone(), left.bytes.slice(start..end)))
    }

    /// Takes up the packs of the folder; answers the files that are none.
    fn find_left(&self) -> Result<Vec<PathBuf>> {
        let mut useless = Vec::new();
        let failed = |source| Error::io("list", &self.dir, source);
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some() {
                // A pack that was being written anew; the one it was to replace is still there.
                useless.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|source| Error::io("read", &path, source))?;
            let opened = Preamble::decode(&bytes).and_then(|preamble| {
                let keys = PackKeys::new(&self.ring, &preamble)?;
                Ok((preamble.salt, keys))
            });
            match opened {
                Ok((salt, keys)) => {
                    lock(&self.state).left.insert(
                        salt,
                        Arc::new(Left {
                            keys,
                            path,
                            bytes: bytes.into(),
                        }),
                    );
                }
                // Its first bytes never reached the disk, so nothing in it was acknowledged.
                Err(_) => useless.push(path),
            }
        }
        Ok(useless)
    }

    /// Frozen packs of an earlier process: transactions know them by their salt.
    fn find_frozen(&self) -> Result<()> {
        for (name, _) in self.outbox.packs() {
            let Some(preamble) = self.outbox.read(name, 0..u64::from(PREAMBLE)) else {
                continue;
            };
            let Ok(preamble) = Preamble::decode(&preamble?) else {
                continue;
            };
            let pack = PackRef {
                name,
                salt: preamble.salt,
                epoch: preamble.epoch,
            };
            lock(&self.state)
                .frozen
                .insert(preamble.salt, Frozen { pack, fresh: false });
        }
        Ok(())
    }
}

fn unknown(salt: Salt) -> Error {
    Error::Missing {
        object: format!("open pack {salt}"),
        path: None,
    }
}

impl OpenPack {
    fn create(dir: &std::path::Path, ring: &Keyring) -> Result<Self> {
        let failed = |error| Error::of_object("data pack", error);
        let salt = Salt::random().map_err(failed)?;
        let preamble = Preamble {
            purpose: Purpose::Pack,
            epoch: ring.current().epoch,
            salt,
        };
        let keys = PackKeys::new(ring, &preamble).map_err(failed)?;
        let path = dir.join(salt.to_string());
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
            salt,
            preamble,
            keys,
            path,
            state: Mutex::new(filling),
            turn: Mutex::default(),
        })
    }

    fn reserve(&self, length: u32, full: u32) -> Option<u32> {
        let mut filling = lock(&self.state);
        let offset = filling.length;
        if offset + length + END_FRAME > full {
            return None;
        }
        filling.length += length;
        filling.sealing += 1;
        Some(offset)
    }

    /// Whether it waits for freezing; marks it so that only one thread does it.
    fn is_full_and_sealed(&self, full: u32) -> bool {
        let mut filling = lock(&self.state);
        let ready = filling.sealing == 0 && !filling.stuck && filling.length > full / 2;
        if ready {
            filling.sealing = usize::MAX / 2;
        }
        ready
    }

    /// A freeze failed: no append tries it again, the next sync does.
    fn mark_stuck(&self) {
        let mut filling = lock(&self.state);
        filling.sealing = 0;
        filling.stuck = true;
    }

    /// fdatasync; after a failure the whole file is written anew by the next one, because what it holds is unknown.
    fn sync(&self) -> Result<u32> {
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
    fn freeze(&self, outbox: &Outbox, size: PackSize, arriving: &Arriving) -> Result<Frozen> {
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
