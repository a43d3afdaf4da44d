//! The data packs of this session that are not settled yet: where whole blocks go the moment they are written.
//!
//! ```text
//!  append ─▶ open pack (frames in memory and in `open/<salt>`) ──full──▶ frozen (in the outbox, under its name)
//! ```
//! A block is compressed and hashed, gets its offset, and is sealed for its place, so several threads can
//! seal at once. Frames are written in long stretches, and all of them before the journal names them. They stay in
//! memory until their file is frozen and synced: a failed write or sync can then be answered by writing the whole
//! file again, and the bytes that are uploaded are those that were sealed.

mod left;
mod open_pack;

use std::collections::BTreeMap;
use std::collections::HashSet;
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
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::pack::PACK_FULL;
use coffre_format::pack::PackKeys;
use coffre_format::pack::PackSize;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::trouble::Trouble;
use crate::fs::types::Workers;
use crate::store::Outbox;

use left::Left;
use open_pack::Extent;
use open_pack::OpenPack;

/// Packs that may wait in memory for their sync before writers are held back, where nothing else is said.
const FREEZING_MOST: usize = 4;

/// A pack with its name, in the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Frozen {
    /// As pointers name it.
    pub pack: PackRef,
    /// Frozen by this process: it holds content that a coming fold will most likely name.
    pub fresh: bool,
}

#[derive(Default)]
struct State {
    current: Option<Arc<OpenPack>>,
    /// Closed for appending, not frozen yet.
    closing: BTreeMap<Salt, Arc<OpenPack>>,
    frozen: BTreeMap<Salt, Frozen>,
    left: BTreeMap<Salt, Arc<Left>>,
}

impl State {
    fn unfrozen(&self) -> Vec<Arc<OpenPack>> {
        let packs = self.closing.values().chain(self.current.iter());
        packs.cloned().collect()
    }
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
        let mut frame = Vec::new();
        pack.keys.seal(offset, &prepared, &mut frame);
        if pack.put(offset, frame.into()) {
            let packs = self.clone();
            let written = pack.clone();
            self.beside(move || packs.write_pack(&written, Extent::Sectors));
        }
        fault::point("pack.appended");
        self.freeze_what_is_full();
        Ok(Pointer {
            place: Place::Open {
                salt: pack.salt,
                offset,
            },
            stored: prepared.stored_length(),
            digest: prepared.digest(),
        })
    }

    /// Everything appended so far is in files, on disk or not: a process that is killed leaves what its journal names.
    pub fn write(&self) {
        let packs = lock(&self.state).unfrozen();
        for pack in packs {
            self.write_pack(&pack, Extent::All);
        }
    }

    fn write_pack(&self, pack: &OpenPack, extent: Extent) {
        if let Err(error) = pack.write(extent) {
            self.note(Some(error));
        }
    }

    /// Does what takes a disk's time while others go on, where there are threads for that.
    fn beside(&self, work: impl FnOnce() + Send + 'static) {
        match self.workers {
            Workers::Threads => drop(tokio::task::spawn_blocking(work)),
            Workers::Runtime => drop(tokio::spawn(async move { work() })),
        }
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
            let current = state.current.as_ref().map(|pack| pack.salt);
            (state.unfrozen(), current)
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
        let _settling = lock(&pack.settling);
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

    /// Freezes in the background what is closed and complete.
    fn freeze_what_is_full(self: &Arc<Self>) {
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
            self.beside(freeze);
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
}

fn unknown(salt: Salt) -> Error {
    Error::Missing {
        object: format!("open pack {salt}"),
        path: None,
    }
}
