//! Writing journal segments: sealing frames, rolling over, syncing, and surviving a failed sync.
//!
//! What a failed write or fdatasync leaves on disk is unknown, and Linux reports it only once. So the file
//! is condemned: everything that was not known to be synced is kept in memory, and the next sync writes it to
//! a new segment, whose first frame names the last frame that was synced. A condemned segment in which
//! nothing was synced is removed at once: on a full disk it would be in the way of the next.
//!
//! Where one small sync follows another, zeros are written ahead of the frames: a sync that does not make the file
//! longer costs the disk one write, otherwise a second one for its length. Readers stop at the zeros.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use coffre_format::crypto::key::Keyring;
use coffre_format::frame::Compression;
use coffre_format::frame::FRAME_MAX;
use coffre_format::frame::FrameKind;
use coffre_format::frame::prepare;
use coffre_format::id::Digest;
use coffre_format::id::Lsn;
use coffre_format::id::Salt;
use coffre_format::id::SessionPrefix;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Purpose;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::FrameHeader;
use coffre_format::transaction::JournalFrame;
use coffre_format::transaction::Part;
use coffre_format::transaction::Watermark;
use coffre_format::transaction::encode_part;
use rustix::fs::Advice;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::store::disks::advise;

use super::Start;

/// A segment is closed when it is this long, in bytes.
const SEGMENT_FULL: u32 = 16 * 1024 * 1024;
/// A sync of at most this many bytes is a small one.
const SMALL: u32 = 32 * 1024;
/// Zeros are written ahead as far as the segment is long, within these bounds, in bytes.
const AHEAD: std::ops::RangeInclusive<u32> = 64 * 1024..=1024 * 1024;
/// Bytes of transactions that one frame carries: what is left beside the header.
const PART: usize = FRAME_MAX as usize - 512;

/// Memory that is kept for the next frames, in bytes: what is queued comes in pieces of little more than a MiB.
const SEALED_MOST: usize = 2 * 1024 * 1024;

/// Frames of this length are worth beginning with before a sync asks for it, in bytes.
const EARLY: usize = 512 * 1024;

/// What was written and is not known to be on disk.
enum Unsynced {
    Batch { first: Lsn, bytes: Vec<u8> },
    Checkpoint(Box<Checkpoint>),
}

struct Open {
    path: PathBuf,
    file: File,
    number: u64,
    keys: PackKeys,
    offset: u32,
    /// Where the file ends: zeros from `offset` on.
    length: u32,
    /// The last sync was a small one.
    small: bool,
}

/// The segments of one journal; the newest is written.
pub(super) struct Segments {
    dir: PathBuf,
    ring: Arc<Keyring>,
    session: SessionPrefix,
    open: Open,
    /// Digest of the last frame written.
    previous: Digest,
    /// Digest of the last frame synced, and how far that is.
    synced: (Digest, Watermark),
    unsynced: Vec<Unsynced>,
    unsynced_bytes: usize,
    /// The open segment is condemned: nothing is written to it any more.
    condemned: bool,
    /// Number of the next segment; one that could not be created is not tried again.
    next: u64,
    owes_watermark: bool,
    /// Frames between sealing and writing; kept for its memory.
    sealed: Vec<u8>,
    /// Bytes of closed segments that are not freed.
    closed: u64,
}

impl Segments {
    pub(super) fn create(start: Start, ring: Arc<Keyring>) -> Result<Self> {
        let open = Open::create(&start.dir, start.segment, &ring)?;
        let watermark = Watermark {
            segment: start.segment,
            offset: PREAMBLE,
            pack: None,
        };
        Ok(Self {
            closed: folder_size(&start.dir)?,
            dir: start.dir,
            ring,
            session: start.session,
            open,
            previous: start.previous,
            synced: (start.previous, watermark),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            condemned: false,
            next: start.segment + 1,
            owes_watermark: false,
            sealed: Vec::new(),
        })
    }

    pub(super) fn write(&mut self, first: Lsn, last: Lsn, mut bytes: Vec<u8>) {
        debug_assert!(first <= last);
        let written = self.write_batch(first, &bytes);
        self.note(written);
        if bytes.capacity() > 2 * bytes.len() {
            // Room that was not needed is not kept until the next sync.
            bytes.shrink_to_fit();
        }
        self.unsynced_bytes += bytes.len();
        self.unsynced.push(Unsynced::Batch { first, bytes });
    }

    pub(super) fn write_checkpoint(&mut self, checkpoint: Checkpoint) {
        let checkpoint = Box::new(checkpoint);
        if let (true, Some(Unsynced::Checkpoint(last))) = (self.condemned, self.unsynced.last_mut())
        {
            // Asked for again while the disk takes nothing.
            *last = checkpoint;
            return;
        }
        let written = self.write_frame(&JournalFrame::Checkpoint(
            self.header(checkpoint.lsn),
            checkpoint.clone(),
        ));
        self.note(written);
        self.unsynced.push(Unsynced::Checkpoint(checkpoint));
    }

    pub(super) fn write_watermark(&mut self, lsn: Lsn) {
        self.owes_watermark = false;
        let written = self.write_frame(&JournalFrame::Watermark(self.header(lsn)));
        self.note(written);
    }

    /// The next sync answers a failed write by writing everything to a new file.
    fn note(&mut self, written: Result<()>) {
        if let Err(error) = written {
            log::warn!("the journal goes on in a new file: {error}");
            self.condemn();
        }
    }

    /// Whether nothing has been written since the last sync that could tell of it.
    pub(super) fn owes_watermark(&self) -> bool {
        self.owes_watermark
    }

    pub(super) fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    /// Bytes in all segments.
    pub(super) fn size(&self) -> u64 {
        self.closed + u64::from(self.open.offset)
    }

    /// From here on the file can be neither written nor synced, as on a disk that fails.
    #[cfg(test)]
    pub(super) fn break_file(&mut self) {
        let (reader, _) = std::io::pipe().expect("a pipe");
        self.open.file = std::os::fd::OwnedFd::from(reader).into();
    }

    /// Whether what was written last waits for a new segment.
    pub(super) fn is_condemned(&self) -> bool {
        self.condemned
    }

    /// Later frames go to a segment (of a synced journal) that holds nothing yet. Answers its number.
    pub(super) fn roll(&mut self) -> Result<u64> {
        if self.open.offset > PREAMBLE {
            let full = self.open.offset;
            self.open.trim();
            self.begin_next()?;
            self.closed += u64::from(full);
        }
        Ok(self.open.number)
    }

    /// Removes segments that a checkpoint has made superfluous. One that stays is met again by the next
    /// checkpoint, and by a recovery that knows it is too old.
    pub(super) fn free_below(&mut self, keep: u64) {
        let freed = list(&self.dir).and_then(|segments| {
            for (number, path) in segments {
                if number < keep {
                    std::fs::remove_file(&path)
                        .map_err(|source| Error::io("remove", &path, source))?;
                    fault::point("journal.segment-freed");
                }
            }
            folder_size(&self.dir)
        });
        match freed {
            Ok(size) => self.closed = size.saturating_sub(u64::from(self.open.length)),
            Err(error) => log::warn!("an old part of the journal stays: {error}"),
        }
    }

    /// Everything written so far is on disk; or the error is answered and the file condemned.
    pub(super) fn sync(&mut self, pack: Option<(Salt, u32)>) -> Result<()> {
        if self.condemned {
            self.rewrite()?;
        }
        let (_, synced) = &self.synced;
        let since = match synced.segment == self.open.number {
            true => self.open.offset - synced.offset,
            false => self.open.offset,
        };
        self.open.write_ahead(since <= SMALL);
        if let Err(source) = rustix::fs::fdatasync(&self.open.file) {
            self.condemn();
            return Err(Error::io("sync", &self.open.path, source));
        }
        let watermark = Watermark {
            segment: self.open.number,
            offset: self.open.offset,
            pack,
        };
        self.synced = (self.previous, watermark);
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.owes_watermark = true;
        if self.open.offset >= SEGMENT_FULL
            && let Err(error) = self.roll()
        {
            // What was asked for is on disk; this segment becomes longer than others.
            log::warn!("no new part of the journal could be begun: {error}");
        }
        Ok(())
    }

    /// Nothing will follow.
    pub(super) fn end(&mut self) {
        self.open.trim();
    }

    /// Nothing is written to this file any more, and no sync of it is believed.
    fn condemn(&mut self) {
        self.condemned = true;
        if !self.holds_synced() {
            self.open.discard();
        }
    }

    /// Whether anything that was acknowledged is in the open segment.
    fn holds_synced(&self) -> bool {
        self.synced.1.segment == self.open.number
    }

    /// Writes everything above the watermark to a new segment, which the caller syncs.
    fn rewrite(&mut self) -> Result<()> {
        let left = self.holds_synced().then_some(self.open.offset);
        self.begin_next()?;
        self.closed += left.map_or(0, u64::from);
        self.condemned = false;
        self.previous = self.synced.0;
        let mut failed = None;
        for unsynced in std::mem::take(&mut self.unsynced) {
            let written = match &unsynced {
                Unsynced::Batch { first, bytes } => self.write_batch(*first, bytes),
                Unsynced::Checkpoint(checkpoint) => self.write_frame(&JournalFrame::Checkpoint(
                    self.header(checkpoint.lsn),
                    checkpoint.clone(),
                )),
            };
            self.unsynced.push(unsynced);
            if let Err(error) = written {
                self.condemn();
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn begin_next(&mut self) -> Result<()> {
        let number = self.next;
        self.next += 1;
        self.open = Open::create(&self.dir, number, &self.ring)?;
        fault::point("journal.rolled");
        Ok(())
    }

    fn write_batch(&mut self, first: Lsn, bytes: &[u8]) -> Result<()> {
        if self.condemned {
            // It is kept, and the next sync writes it.
            return Ok(());
        }
        let mut chunks = bytes.chunks(PART).peekable();
        let mut plain = Vec::with_capacity(bytes.len().min(FRAME_MAX as usize));
        self.sealed.clear();
        while let Some(chunk) = chunks.next() {
            let part = match chunks.peek() {
                Some(_) => Part::More,
                None => Part::Last,
            };
            plain.clear();
            encode_part(&self.header(first), part, chunk, &mut plain);
            self.seal(FrameKind::Transaction, &plain)?;
        }
        self.write_sealed()
    }

    fn header(&self, lsn: Lsn) -> FrameHeader {
        FrameHeader {
            session: self.session,
            lsn,
            previous: self.previous,
            watermark: self.synced.1,
        }
    }

    fn write_frame(&mut self, frame: &JournalFrame) -> Result<()> {
        if self.condemned {
            return Ok(());
        }
        self.sealed.clear();
        self.seal(frame.kind(), &frame.encode())?;
        self.write_sealed()
    }

    /// Seals a frame, whose header names the one before, for its place behind those that are sealed.
    fn seal(&mut self, kind: FrameKind, plain: &[u8]) -> Result<()> {
        let prepared = prepare(self.ring.structure(), kind, plain, Compression::Off)
            .map_err(|error| Error::of_object(self.open.path.display(), error))?;
        let offset = self.open.offset + self.sealed.len() as u32;
        self.open.keys.seal(offset, &prepared, &mut self.sealed);
        self.previous = prepared.digest();
        Ok(())
    }

    /// Writes what is sealed with one call.
    fn write_sealed(&mut self) -> Result<()> {
        self.open
            .file
            .write_all_at(&self.sealed, u64::from(self.open.offset))
            .map_err(|source| Error::io("write", &self.open.path, source))?;
        if self.sealed.len() >= EARLY {
            // The disk begins with it while more is sealed, so that a sync has less to wait for: advice on what is not needed in memory
            // does that to what is not on disk (`generic_fadvise`).
            let (at, length) = (u64::from(self.open.offset), self.sealed.len() as u64);
            advise(&self.open.file, at, length, Advice::DontNeed);
        }
        self.open.offset += self.sealed.len() as u32;
        self.open.length = self.open.length.max(self.open.offset);
        if self.sealed.capacity() > SEALED_MOST {
            self.sealed = Vec::new();
        }
        Ok(())
    }
}

impl Open {
    fn create(dir: &Path, number: u64, ring: &Keyring) -> Result<Self> {
        let path = dir.join(format!("{number:016x}"));
        let fresh = PackKeys::fresh(ring, Purpose::Journal);
        let (preamble, keys) = fresh.map_err(|error| Error::of_object("journal", error))?;
        let failed = |source| Error::io("create", &path, source);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        let begin = || -> std::io::Result<()> {
            file.write_all_at(&preamble.encode(), 0)?;
            file.sync_data()?;
            File::open(dir)?.sync_all()
        };
        begin().map_err(|source| {
            // Half of a preamble does no harm to a recovery; it is only in the way.
            drop(std::fs::remove_file(&path));
            failed(source)
        })?;
        Ok(Self {
            path,
            file,
            number,
            keys,
            offset: PREAMBLE,
            length: PREAMBLE,
            small: false,
        })
    }

    /// Zeros for the syncs that will follow, if this is not the first small one in a row.
    fn write_ahead(&mut self, small: bool) {
        let expected = std::mem::replace(&mut self.small, small) && small;
        if !expected || self.length - self.offset > SMALL || self.offset >= SEGMENT_FULL {
            return;
        }
        let zeros = vec![0; self.offset.clamp(*AHEAD.start(), *AHEAD.end()) as usize];
        match self.file.write_all_at(&zeros, u64::from(self.length)) {
            Ok(()) => self.length += zeros.len() as u32,
            // The room is needed for something better.
            Err(_) => self.trim(),
        }
    }

    /// Gives back what was written ahead.
    fn trim(&mut self) {
        self.small = false;
        if let Err(error) = self.file.set_len(u64::from(self.offset)) {
            log::debug!("zeros stay behind {}: {error}", self.path.display());
        }
        self.length = self.offset;
    }

    /// Gives the room of a segment back that nobody will read. What cannot be removed does no harm.
    fn discard(&self) {
        drop(std::fs::remove_file(&self.path));
        drop(self.file.set_len(0));
    }
}

/// Segments of a folder in ascending order.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |source| Error::io("list", dir, source);
    let mut segments = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(failed)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| name.len() == 16);
        if let Some(number) = number.and_then(|name| u64::from_str_radix(name, 16).ok()) {
            segments.push((number, path));
        }
    }
    segments.sort();
    Ok(segments)
}

fn folder_size(dir: &Path) -> Result<u64> {
    let mut size = 0;
    for (_, path) in list(dir)? {
        size += path
            .metadata()
            .map_err(|source| Error::io("look at", &path, source))?
            .len();
    }
    Ok(size)
}
