//! Writing journal segments: sealing frames, rolling over, syncing, and surviving a failed sync.
//!
//! What a failed fdatasync leaves on disk is unknown, and Linux reports it only once. So the file is
//! condemned: everything that was not known to be synced is kept in memory and written again to a new
//! segment, whose first frame names the last frame that was synced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use coffre_format::crypto::key::Keyring;
use coffre_format::frame::Compression;
use coffre_format::frame::FRAME_MAX;
use coffre_format::frame::prepare;
use coffre_format::id::Digest;
use coffre_format::id::Lsn;
use coffre_format::id::Salt;
use coffre_format::id::SessionPrefix;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::FrameHeader;
use coffre_format::transaction::JournalFrame;
use coffre_format::transaction::Part;
use coffre_format::transaction::Watermark;

use crate::error::Error;
use crate::error::Result;
use crate::fault;

use super::Start;

/// A segment is closed when it is this long, in bytes.
const SEGMENT_FULL: u32 = 16 * 1024 * 1024;
/// Bytes of transactions that one frame carries: what is left beside the header.
const PART: usize = FRAME_MAX as usize - 512;

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
    /// A write failed: the file is as condemned as after a failed sync.
    broken: Option<Error>,
    owes_watermark: bool,
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
            broken: None,
            owes_watermark: false,
        })
    }

    pub(super) fn write(&mut self, first: Lsn, last: Lsn, bytes: Vec<u8>) {
        debug_assert!(first <= last);
        self.write_batch(first, &bytes);
        self.unsynced_bytes += bytes.len();
        self.unsynced.push(Unsynced::Batch { first, bytes });
    }

    pub(super) fn write_checkpoint(&mut self, checkpoint: Checkpoint) {
        let checkpoint = Box::new(checkpoint);
        let frame = JournalFrame::Checkpoint(self.header(checkpoint.lsn), checkpoint.clone());
        self.write_frames(vec![frame]);
        self.unsynced.push(Unsynced::Checkpoint(checkpoint));
    }

    pub(super) fn write_watermark(&mut self, lsn: Lsn) {
        self.owes_watermark = false;
        let frame = JournalFrame::Watermark(self.header(lsn));
        self.write_frames(vec![frame]);
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

    /// Closes the (synced) segment and begins another. Answers the new number.
    pub(super) fn roll(&mut self) -> Result<u64> {
        self.closed += u64::from(self.open.offset);
        self.open = Open::create(&self.dir, self.open.number + 1, &self.ring)?;
        fault::point("journal.rolled");
        Ok(self.open.number)
    }

    /// Removes segments that a checkpoint has made superfluous.
    pub(super) fn free_below(&mut self, keep: u64) -> Result<()> {
        for (number, path) in list(&self.dir)? {
            if number < keep {
                std::fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))?;
                fault::point("journal.segment-freed");
            }
        }
        self.closed = folder_size(&self.dir)?.saturating_sub(u64::from(self.open.offset));
        Ok(())
    }

    /// Everything written so far is on disk, or the file is condemned and the error answered.
    pub(super) fn sync(&mut self, pack: Option<(Salt, u32)>) -> Result<()> {
        let result = match self.broken.take() {
            Some(error) => Err(error),
            None => rustix::fs::fdatasync(&self.open.file)
                .map_err(|source| Error::io("sync", &self.open.path, source)),
        };
        if let Err(error) = result {
            // Where even that fails, the next sync must not trust the condemned file either.
            self.rewrite()
                .unwrap_or_else(|again| self.broken = Some(again));
            return Err(error);
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
        if self.open.offset >= SEGMENT_FULL {
            self.roll()?;
        }
        Ok(())
    }

    /// After a failure: writes everything above the watermark to a new segment (synced by the next sync).
    fn rewrite(&mut self) -> Result<()> {
        log::error!(
            "journal {} failed to sync; continuing in a new segment",
            self.open.path.display()
        );
        self.roll()?;
        self.previous = self.synced.0;
        for unsynced in std::mem::take(&mut self.unsynced) {
            match unsynced {
                Unsynced::Batch { first, bytes } => {
                    self.write_batch(first, &bytes);
                    self.unsynced.push(Unsynced::Batch { first, bytes });
                }
                Unsynced::Checkpoint(checkpoint) => {
                    let frame =
                        JournalFrame::Checkpoint(self.header(checkpoint.lsn), checkpoint.clone());
                    self.write_frames(vec![frame]);
                    self.unsynced.push(Unsynced::Checkpoint(checkpoint));
                }
            }
        }
        Ok(())
    }

    fn write_batch(&mut self, first: Lsn, bytes: &[u8]) {
        let count = bytes.len().div_ceil(PART);
        let frames = bytes
            .chunks(PART)
            .enumerate()
            .map(|(index, chunk)| {
                let part = if index + 1 == count {
                    Part::Last
                } else {
                    Part::More
                };
                JournalFrame::Transactions(self.header(first), part, chunk.to_vec())
            })
            .collect();
        self.write_frames(frames);
    }

    fn header(&self, lsn: Lsn) -> FrameHeader {
        FrameHeader {
            session: self.session,
            lsn,
            previous: self.previous,
            watermark: self.synced.1,
        }
    }

    /// Seals frames one after another (each names the one before) and writes them with one call.
    fn write_frames(&mut self, frames: Vec<JournalFrame>) {
        let mut out = Vec::new();
        for mut frame in frames {
            frame.header_mut().previous = self.previous;
            let sealed = frame.encode().and_then(|plain| {
                prepare(
                    self.ring.structure(),
                    frame.kind(),
                    &plain,
                    Compression::Off,
                )
            });
            let prepared = match sealed {
                Ok(prepared) => prepared,
                Err(error) => {
                    self.broken = Some(Error::of_object(self.open.path.display(), error));
                    return;
                }
            };
            let at = out.len();
            out.resize(at + prepared.frame_length() as usize, 0);
            let offset = self.open.offset + at as u32;
            self.open.keys.seal(offset, &prepared, &mut out[at..]);
            self.previous = prepared.digest();
        }
        if let Err(source) = self
            .open
            .file
            .write_all_at(&out, u64::from(self.open.offset))
        {
            // The next sync answers it and starts over in a new file.
            self.broken = Some(Error::io("write", &self.open.path, source));
        }
        self.open.offset += out.len() as u32;
    }
}

impl Open {
    fn create(dir: &Path, number: u64, ring: &Keyring) -> Result<Self> {
        let path = dir.join(format!("{number:016x}"));
        let salt = Salt::random().map_err(|error| Error::of_object("journal", error))?;
        let preamble = Preamble {
            purpose: Purpose::Journal,
            epoch: ring.current().epoch,
            salt,
        };
        let keys =
            PackKeys::new(ring, &preamble).map_err(|error| Error::of_object("journal", error))?;
        let create = || -> std::io::Result<File> {
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all_at(&preamble.encode(), 0)?;
            file.sync_data()?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|source| Error::io("create", &path, source))?;
        Ok(Self {
            path,
            file,
            number,
            keys,
            offset: PREAMBLE,
        })
    }
}

/// Segments of a folder in ascending order.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |source| Error::io("list", dir, source);
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
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
