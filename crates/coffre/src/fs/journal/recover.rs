//! Reading a journal after a stop, orderly or not: the last checkpoint and what came after it.
//!
//! Frames are read in order, each must follow the one before. The first that does not open ends the
//! recovery: it is the torn tail of a crash. But every frame also says how far the journal was synced when
//! it was written; damage below that mark is no torn tail, and is reported instead of cut off.

use std::path::Path;
use std::path::PathBuf;

use coffre_format::FormatError;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::Digest;
use coffre_format::id::Lsn;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::record::Content;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::Edit;
use coffre_format::transaction::JournalFrame;
use coffre_format::transaction::Part;
use coffre_format::transaction::Transaction;
use coffre_format::transaction::Watermark;
use coffre_format::transaction::decode_transactions;

use crate::error::Error;
use crate::error::Result;

use super::segment::list;

/// What a journal holds.
pub struct Recovered {
    /// The last folded state.
    pub checkpoint: Checkpoint,
    /// What happened after it, in order.
    pub transactions: Vec<Transaction>,
    /// Digest of the last frame.
    pub previous: Digest,
    /// Number for the next segment.
    pub next_segment: u64,
    /// Last transaction.
    pub lsn: Lsn,
    /// Whether an unsynced tail was cut off.
    pub torn: bool,
}

/// A frame that follows the one before it, and where it is.
struct Located {
    segment: u64,
    path: PathBuf,
    offset: u32,
    digest: Digest,
    frame: JournalFrame,
}

/// Where reading a segment stopped early.
struct Stop {
    segment: u64,
    path: PathBuf,
    offset: u32,
    why: String,
}

/// Reads the journal in `dir`; `None` where there is none. `opens` tells whether the frame of an open pack
/// that a transaction names is on disk and opens.
pub fn recover(
    dir: &Path,
    ring: &Keyring,
    mut opens: impl FnMut(&Pointer) -> bool,
) -> Result<Option<Recovered>> {
    let segments = list(dir)?;
    let Some((newest, _)) = segments.last() else {
        return Ok(None);
    };
    let next_segment = newest + 1;
    let Reading {
        frames, stop, mark, ..
    } = read_frames(&segments, ring)?;
    if let (Some(stop), Some(mark)) = (&stop, mark)
        && (stop.segment, stop.offset) < position(&mark)
    {
        return Err(damaged(stop));
    }
    let mut journal = Assembled::default();
    for located in frames {
        if !journal.take(located, mark, &mut opens)? {
            break;
        }
    }
    let Some(checkpoint) = journal.checkpoint else {
        // A first segment whose checkpoint never reached the disk: nothing was acknowledged, and the journal
        // begins again.
        for (_, path) in &segments {
            std::fs::remove_file(path).map_err(|source| Error::io("remove", path, source))?;
        }
        return Ok(None);
    };
    let folded = checkpoint.lsn;
    journal
        .transactions
        .retain(|transaction| transaction.lsn > folded);
    Ok(Some(Recovered {
        lsn: journal
            .transactions
            .last()
            .map_or(folded, |transaction| transaction.lsn),
        checkpoint,
        transactions: journal.transactions,
        previous: journal.previous,
        next_segment,
        torn: stop.is_some() || journal.torn,
    }))
}

fn position(mark: &Watermark) -> (u64, u32) {
    (mark.segment, mark.offset)
}

fn damaged(stop: &Stop) -> Error {
    Error::Damaged {
        file: stop.path.clone(),
        offset: u64::from(stop.offset),
        why: stop.why.clone(),
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    /// Frames that follow one another.
    frames: Vec<Located>,
    /// Where that ended, if it ended early.
    stop: Option<Stop>,
    /// How far the journal is known to have been synced, by any frame that opens.
    mark: Option<Watermark>,
}

/// Reads all segments in order.
fn read_frames(segments: &[(u64, PathBuf)], ring: &Keyring) -> Result<Reading> {
    let mut reading = Reading::default();
    for (number, path) in segments {
        let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        let keys = Preamble::decode(&bytes).and_then(|preamble| PackKeys::new(ring, &preamble));
        match keys {
            Ok(keys) => {
                let segment = Segment {
                    number: *number,
                    path,
                    bytes: &bytes,
                    keys,
                };
                if !reading.read(&segment) {
                    break;
                }
            }
            // The preamble is synced before the first frame is written.
            Err(error) if bytes.len() > PREAMBLE as usize => {
                return Err(damaged(&stop(*number, path, 0, error.to_string())));
            }
            // Created, but not even its first bytes reached the disk.
            Err(error) => {
                reading
                    .stop
                    .get_or_insert(stop(*number, path, 0, error.to_string()));
            }
        }
    }
    Ok(reading)
}

/// One segment that is being read.
struct Segment<'a> {
    number: u64,
    path: &'a Path,
    bytes: &'a [u8],
    keys: PackKeys,
}

impl Segment<'_> {
    /// The frame at an offset, its digest and its length.
    fn frame(&self, offset: u32) -> std::result::Result<(JournalFrame, Digest, u32), FormatError> {
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let scanned = self.keys.scan(offset, rest)?;
        let frame = JournalFrame::decode(scanned.kind, &scanned.plaintext)?;
        Ok((frame, scanned.digest, scanned.length))
    }

    fn ends_at(&self, offset: u32) -> bool {
        self.bytes.len() <= offset as usize
    }
}

impl Reading {
    /// Takes the frames of a segment; answers whether later segments can still follow.
    fn read(&mut self, segment: &Segment<'_>) -> bool {
        let mut offset = PREAMBLE;
        while !segment.ends_at(offset) {
            match segment.frame(offset) {
                Ok((frame, digest, length)) => {
                    self.note(&frame);
                    if !self.follows(&frame.header().previous) {
                        let why = "it does not follow the frame before".to_owned();
                        self.stop
                            .get_or_insert(stop(segment.number, segment.path, offset, why));
                        return false;
                    }
                    self.frames.push(Located {
                        segment: segment.number,
                        path: segment.path.to_owned(),
                        offset,
                        digest,
                        frame,
                    });
                    offset += length;
                }
                Err(error) => {
                    let why = error.to_string();
                    self.stop
                        .get_or_insert(stop(segment.number, segment.path, offset, why));
                    self.search(segment, offset + 1);
                    return true;
                }
            }
        }
        true
    }

    /// A segment that was started after a failed sync continues from the last synced frame; what the condemned
    /// segment holds beyond it was written again.
    fn follows(&mut self, previous: &Digest) -> bool {
        let Some(last) = self.frames.last() else {
            return true;
        };
        if last.digest != *previous {
            let earlier = |located: &Located| located.digest == *previous;
            let Some(index) = self.frames.iter().rposition(earlier) else {
                return false;
            };
            self.frames.truncate(index + 1);
        }
        self.stop = None;
        true
    }

    /// Behind a frame that does not open, looks for any that does: its mark tells a torn tail, which was never
    /// synced, from damage to what was. Only a true header gets as far as decryption.
    fn search(&mut self, segment: &Segment<'_>, from: u32) {
        let mut offset = from;
        while !segment.ends_at(offset) {
            offset += match segment.frame(offset) {
                Ok((frame, _, length)) => {
                    self.note(&frame);
                    length
                }
                Err(_) => 1,
            };
        }
    }

    fn note(&mut self, frame: &JournalFrame) {
        let mark = frame.header().watermark;
        if self
            .mark
            .is_none_or(|known| position(&known) < position(&mark))
        {
            self.mark = Some(mark);
        }
    }
}

fn stop(segment: u64, path: &Path, offset: u32, why: String) -> Stop {
    Stop {
        segment,
        path: path.to_owned(),
        offset,
        why,
    }
}

/// Frames turned into transactions, up to where they can be trusted.
struct Assembled {
    checkpoint: Option<Checkpoint>,
    transactions: Vec<Transaction>,
    parts: Vec<u8>,
    previous: Digest,
    torn: bool,
}

impl Default for Assembled {
    fn default() -> Self {
        Self {
            checkpoint: None,
            transactions: Vec::new(),
            parts: Vec::new(),
            previous: Digest::NONE,
            torn: false,
        }
    }
}

impl Assembled {
    /// Takes one frame; answers whether to go on.
    fn take(
        &mut self,
        located: Located,
        watermark: Option<Watermark>,
        opens: &mut impl FnMut(&Pointer) -> bool,
    ) -> Result<bool> {
        let at = (located.segment, located.offset);
        self.previous = located.digest;
        match located.frame {
            JournalFrame::Watermark(_) => {}
            JournalFrame::Checkpoint(_, checkpoint) => self.checkpoint = Some(*checkpoint),
            JournalFrame::Transactions(_, part, bytes) => {
                self.parts.extend_from_slice(&bytes);
                if part == Part::Last {
                    let bytes = std::mem::take(&mut self.parts);
                    let transactions = decode_transactions(&bytes)
                        .map_err(|error| Error::of_object(located.path.display(), error))?;
                    for transaction in transactions {
                        if !names_only_what_opens(&transaction, opens) {
                            if watermark.is_some_and(|mark| at < position(&mark)) {
                                let why = "a data frame that it names is damaged or gone".into();
                                return Err(damaged(&stop(at.0, &located.path, at.1, why)));
                            }
                            self.torn = true;
                            return Ok(false);
                        }
                        self.transactions.push(transaction);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// Whether every frame of an open pack that a transaction names is there.
fn names_only_what_opens(
    transaction: &Transaction,
    opens: &mut impl FnMut(&Pointer) -> bool,
) -> bool {
    transaction
        .edits
        .iter()
        .flat_map(pointers)
        .all(|pointer| match pointer.place {
            Place::Open { .. } => opens(&pointer),
            Place::Pack { .. } => true,
        })
}

fn pointers(edit: &Edit) -> Vec<Pointer> {
    let pieces = match edit {
        Edit::Put(_, Value::Record(Record::Block(block))) => block.pieces.as_slice(),
        Edit::Splice { piece, .. } => std::slice::from_ref(piece),
        _ => &[],
    };
    let frame = |content: &Content| match content {
        Content::Frame(pointer) => Some(*pointer),
        Content::Bytes(_) => None,
    };
    pieces
        .iter()
        .filter_map(|piece| frame(&piece.content))
        .collect()
}
