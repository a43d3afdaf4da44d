//! The local cache: sparse files of packs, still sealed, bounded, and never trusted.
//!
//! What a file holds is known from its extents, so a restart needs no index. Bytes are written without a
//! sync: what a crash spoils does not authenticate, and counts as missing.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use coffre_format::id::PackName;
use coffre_format::pack::PACK_FULL;
use rustix::fs::FallocateFlags;
use rustix::fs::SeekFrom;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::store::open_files::OpenFiles;

/// What is evicted at a time, in bytes.
const CHUNK: u64 = 1024 * 1024;
/// Packs that are kept however small they are: what is known of each is in memory.
const PACKS_MOST: usize = 50_000;

/// What cached bytes are worth: nodes are evicted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Content.
    Data,
    /// Nodes of the tree.
    Node,
}

#[derive(Debug, Default)]
struct Pack {
    /// Disjoint ranges that are here: start → end.
    covered: BTreeMap<u64, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    rank: Rank,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    packs: HashMap<PackName, Pack>,
    chunks: HashMap<(PackName, u64), Chunk>,
    bytes: u64,
    clock: u64,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    limit: u64,
    state: Mutex<State>,
    open_files: OpenFiles,
    /// Why it takes nothing, if the last attempt failed.
    trouble: Mutex<Option<String>>,
}

/// Sparse files of packs on the local disk. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

impl Cache {
    /// Opens (creates) the folder and finds out what is in it. `limit` bounds the bytes it takes.
    pub fn open(dir: &Path, limit: u64) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
        let mut state = State::default();
        let failed = |source| Error::io("list", dir, source);
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.parse().ok());
            if let Some(name) = name
                && let Ok(file) = open_existing(&path)
            {
                state.take(name, &file, Rank::Data);
            }
        }
        let cache = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            limit,
            state: Mutex::new(state),
            open_files: OpenFiles::default(),
            trouble: Mutex::default(),
        }));
        cache.0.evict(&mut cache.state(), limit);
        Ok(cache)
    }

    /// The range, if all of it is here.
    pub fn read(&self, name: PackName, range: Range<u64>) -> Option<Bytes> {
        {
            let mut state = self.state();
            let pack = state.packs.get(&name)?;
            let (_, end) = pack.covered.range(..=range.start).next_back()?;
            if *end < range.end {
                return None;
            }
            state.touch(name, &range, None);
        }
        let path = self.path(name);
        let file = self.0.open_files.get(name, || open_existing(&path)).ok()?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        if let Err(error) = file.read_exact_at(&mut bytes, range.start) {
            log::debug!("the cache has lost a part of {name}: {error}");
            self.discard(name, range);
            return None;
        }
        Some(bytes.into())
    }

    /// Keeps bytes. A disk that does not take them only means that they are fetched again.
    pub fn insert(&self, name: PackName, offset: u64, bytes: &[u8], rank: Rank) {
        let write = || self.file(name)?.write_all_at(bytes, offset);
        let mut written = write();
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::StorageFull)
        {
            // The disk is full before the bound is reached: what is here is what there is room for.
            let mut state = self.state();
            let room = state.bytes.saturating_sub(bytes.len() as u64);
            self.0.evict(&mut state, room);
            drop(state);
            written = write();
        }
        self.note(written.as_ref().err());
        if written.is_err() {
            return;
        }
        let mut state = self.state();
        let range = offset..offset + bytes.len() as u64;
        state.cover(name, range.clone());
        state.touch(name, &range, Some(rank));
        self.0.evict(&mut state, self.0.limit);
    }

    /// Takes a whole pack file over by renaming it.
    pub fn adopt(&self, name: PackName, file: &Path, rank: Rank) {
        let path = self.path(name);
        let moved = std::fs::rename(file, &path).and_then(|()| open_existing(&path));
        self.0.open_files.close(name);
        match moved {
            Ok(file) => {
                fault::point("cache.adopted");
                let mut state = self.state();
                state.drop_pack(name);
                state.take(name, &file, rank);
                self.0.evict(&mut state, self.0.limit);
            }
            Err(error) => {
                log::debug!("a published pack does not move into the cache: {error}");
                drop(std::fs::remove_file(file));
            }
        }
    }

    /// Forgets a range that did not open.
    pub fn discard(&self, name: PackName, range: Range<u64>) {
        self.state().uncover(name, range);
    }

    /// Bytes it holds.
    pub fn used(&self) -> u64 {
        self.state().bytes
    }

    /// Why it takes nothing, if the last attempt failed.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.0.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log hears of the first failure only: reading goes on without the cache.
    fn note(&self, failure: Option<&std::io::Error>) {
        let mut trouble = self
            .0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let told = failure.map(|error| {
            let dir = self.0.dir.display();
            format!("the cache in {dir} takes nothing, what is read comes from the store: {error}")
        });
        if let (Some(told), None) = (&told, &*trouble) {
            log::warn!("{told}");
        }
        *trouble = told;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: PackName) -> PathBuf {
        self.0.dir.join(name.to_string())
    }

    fn file(&self, name: PackName) -> std::io::Result<Arc<File>> {
        // Known before it is open: one that is evicted meanwhile covers nothing.
        self.state().packs.entry(name).or_default();
        let path = self.path(name);
        self.0.open_files.get(name, || match open_existing(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody may have cleared away what was here.
                self.discard(name, 0..u64::MAX);
                std::fs::create_dir_all(&self.0.dir)?;
                File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path)
            }
            opened => opened,
        })
    }
}

impl Inner {
    /// Punches holes, oldest first, content before nodes, until a tenth of `most` is free.
    fn evict(&self, state: &mut State, most: u64) {
        self.evict_down_to(state, most, PACKS_MOST);
    }

    fn evict_down_to(&self, state: &mut State, most: u64, packs_most: usize) {
        if state.bytes <= most && state.packs.len() <= packs_most {
            return;
        }
        let mut order: Vec<((PackName, u64), Chunk)> = state
            .chunks
            .iter()
            .map(|(at, chunk)| (*at, *chunk))
            .collect();
        order.sort_by_key(|(_, chunk)| (chunk.rank, chunk.used));
        for ((name, index), _) in order {
            if state.bytes <= most / 10 * 9 && state.packs.len() <= packs_most / 10 * 9 {
                break;
            }
            let range = index * CHUNK..(index + 1) * CHUNK;
            let path = self.dir.join(name.to_string());
            let whole = state.is_only(name, &range);
            if !whole && let Ok(file) = self.open_files.get(name, || open_existing(&path)) {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                if let Err(error) = rustix::fs::fallocate(&*file, flags, range.start, CHUNK) {
                    log::debug!("the file system punches no holes: {error}");
                }
            }
            fault::point("cache.evicted");
            state.uncover(name, range);
            state.chunks.remove(&(name, index));
            if whole {
                state.drop_pack(name);
                self.open_files.close(name);
                drop(std::fs::remove_file(path));
            }
        }
    }
}

impl State {
    /// Takes a file with whatever extents it has.
    fn take(&mut self, name: PackName, file: &File, rank: Rank) {
        self.packs.insert(name, Pack::default());
        for extent in extents(file) {
            self.cover(name, extent.clone());
            self.touch(name, &extent, Some(rank));
        }
    }

    fn cover(&mut self, name: PackName, range: Range<u64>) {
        self.uncover(name, range.clone());
        let Some(pack) = self.packs.get_mut(&name) else {
            return;
        };
        self.bytes += range.end - range.start;
        let mut merged = range;
        // Touching neighbours become one.
        if let Some((start, end)) = pack
            .covered
            .range(..=merged.start)
            .next_back()
            .map(|(start, end)| (*start, *end))
            && end == merged.start
        {
            pack.covered.remove(&start);
            merged.start = start;
        }
        if let Some(end) = pack.covered.remove(&merged.end) {
            merged.end = end;
        }
        pack.covered.insert(merged.start, merged.end);
    }

    fn uncover(&mut self, name: PackName, range: Range<u64>) {
        let Some(pack) = self.packs.get_mut(&name) else {
            return;
        };
        let overlapping: Vec<(u64, u64)> = pack
            .covered
            .range(..range.end)
            .rev()
            .take_while(|(_, end)| **end > range.start)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in overlapping {
            pack.covered.remove(&start);
            if start < range.start {
                pack.covered.insert(start, range.start);
            }
            if end > range.end {
                pack.covered.insert(range.end, end);
            }
            self.bytes -= end.min(range.end) - start.max(range.start);
        }
    }

    fn touch(&mut self, name: PackName, range: &Range<u64>, rank: Option<Rank>) {
        self.clock += 1;
        let used = self.clock;
        for index in range.start / CHUNK..range.end.div_ceil(CHUNK) {
            let chunk = self.chunks.entry((name, index)).or_insert(Chunk {
                rank: Rank::Data,
                used,
            });
            chunk.used = used;
            chunk.rank = chunk.rank.max(rank.unwrap_or(Rank::Data));
        }
    }

    /// Whether a pack has nothing beside this range.
    fn is_only(&self, name: PackName, range: &Range<u64>) -> bool {
        self.packs.get(&name).is_none_or(|pack| {
            let mut covered = pack.covered.iter();
            covered.all(|(start, end)| range.start <= *start && *end <= range.end)
        })
    }

    fn drop_pack(&mut self, name: PackName) {
        if self.packs.contains_key(&name) {
            self.uncover(name, 0..u64::MAX);
            self.packs.remove(&name);
            for index in 0..u64::from(PACK_FULL).div_ceil(CHUNK) {
                self.chunks.remove(&(name, index));
            }
        }
    }
}

/// On a read-only disk what is there can still be read.
fn open_existing(path: &Path) -> std::io::Result<File> {
    let writable = File::options().read(true).write(true).open(path);
    writable.or_else(|_| File::open(path))
}

/// Ranges of a file that are no holes.
fn extents(file: &File) -> Vec<Range<u64>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(file, SeekFrom::Data(at)) {
        let Ok(end) = rustix::fs::seek(file, SeekFrom::Hole(start)) else {
            break;
        };
        if end <= start {
            break;
        }
        extents.push(start..end);
        at = end;
    }
    extents
}

#[cfg(test)]
mod tests;
