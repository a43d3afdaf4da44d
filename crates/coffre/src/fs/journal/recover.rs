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
    /// Digest of the last frame that counts: what comes after it is to be written again or is lost.
    pub previous: Digest,
    /// The last of `transactions`, that stand behind that frame and are to be written again.
    pub again: Vec<Transaction>,
    /// Number for the next segment.
    pub next_segment: u64,
    /// Last transaction.
    pub lsn: Lsn,
    /// Whether an unsynced tail was cut off.
    pub torn: bool,
}

/// What to do about a damaged journal.
const WAY_OUT: &str = "this had been written safely, so the disk has lost it. `coffre mount --read-only` shows \
     everything up to there: copy what is not in the store yet; then move the folders journal, open and outbox \
     out of the state folder (keep them) and mount again";

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

/// What a look at a journal found.
#[derive(Default)]
pub struct Found {
    /// What it holds, as far as it can be read; `None` where it never began.
    pub recovered: Option<Recovered>,
    /// Why not all of what was synced can be read.
    pub damage: Option<Error>,
}

/// Reads the journal in `dir` in order to go on with it; `None` where there is none, or where it never began (it
/// is removed then). `opens` tells whether the frame of an open pack that a transaction names is on disk and opens.
pub fn recover(
    dir: &Path,
    ring: &Keyring,
    opens: impl FnMut(&Pointer) -> bool,
) -> Result<Option<Recovered>> {
    let found = look(dir, ring, opens)?;
    if let Some(damage) = found.damage {
        return Err(damage);
    }
    if found.recovered.is_none() {
        // A first segment whose checkpoint never reached the disk: nothing was acknowledged, and the journal
        // begins again.
        for (_, path) in list(dir)? {
            std::fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))?;
        }
    }
    Ok(found.recovered)
}

/// Reads the journal in `dir` as far as it can be read, and changes nothing.
pub fn look(dir: &Path, ring: &Keyring, mut opens: impl FnMut(&Pointer) -> bool) -> Result<Found> {
    let segments = list(dir)?;
    let Some((newest, _)) = segments.last() else {
        return Ok(Found::default());
    };
    let next_segment = newest + 1;
    let Reading {
        frames,
        stop,
        mark,
        mut damage,
    } = read_frames(&segments, ring)?;
    if let (Some(stop), Some(mark)) = (&stop, mark)
        && (stop.segment, stop.offset) < position(&mark)
    {
        damage.get_or_insert_with(|| damaged(stop));
    }
    let mut journal = Assembled::default();
    for located in frames {
        journal.take(located)?;
    }
    let Some(checkpoint) = journal.checkpoint else {
        return Ok(Found {
            recovered: None,
            damage,
        });
    };
    let folded = checkpoint.lsn;
    let mut recovered = Recovered {
        checkpoint,
        transactions: Vec::new(),
        previous: Digest::NONE,
        again: Vec::new(),
        next_segment,
        lsn: folded,
        torn: stop.is_some() || !journal.parts.is_empty(),
    };
    for batch in journal.batches {
        let first = recovered.transactions.len();
        // Segments that a checkpoint made superfluous may have come back with the power; what they name may not.
        let newer = |transaction: &Transaction| transaction.lsn > folded;
        for transaction in batch.transactions.into_iter().filter(newer) {
            if names_only_what_opens(&transaction, &mut opens) {
                recovered.transactions.push(transaction);
                continue;
            }
            if mark.is_some_and(|mark| batch.at < position(&mark)) {
                let path = segments.iter().find(|(number, _)| *number == batch.at.0);
                let path = path.map_or(dir, |(_, path)| path);
                let why = "a data frame that it names is damaged or gone".into();
                let stop = stop_at(batch.at.0, path, batch.at.1, why);
                damage.get_or_insert_with(|| damaged(&stop));
            }
            recovered.torn = true;
            recovered.again = recovered.transactions.split_off(first);
            recovered.transactions.extend_from_slice(&recovered.again);
            return Ok(recovered.found(damage));
        }
        recovered.previous = batch.end;
    }
    Ok(recovered.found(damage))
}

impl Recovered {
    fn found(mut self, damage: Option<Error>) -> Found {
        if let Some(last) = self.transactions.last() {
            self.lsn = last.lsn;
        }
        Found {
            recovered: Some(self),
            damage,
        }
    }
}

fn position(mark: &Watermark) -> (u64, u32) {
    (mark.segment, mark.offset)
}

fn damaged(stop: &Stop) -> Error {
    Error::Damaged {
        file: stop.path.clone(),
        offset: u64::from(stop.offset),
        why: format!("{}; {WAY_OUT}", stop.why),
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
    /// A segment of which not even the beginning opens.
    damage: Option<Error>,
}

/// Reads all segments in order.
fn read_frames(segments: &[(u64, PathBuf)], ring: &Keyring) -> Result<Reading> {
    let mut reading = Reading::default();
    for (number, path) in segments {
        let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        let keys = Preamble::decode(&bytes).and_then(|preamble| PackKeys::new(ring, &preamble));
        match keys {
            Ok(keys) => {
                let end = bytes.iter().rposition(|byte| *byte != 0);
                let segment = Segment {
                    number: *number,
                    path,
                    bytes: &bytes,
                    end: end.map_or(0, |last| last + 1),
                    keys,
                };
                if !reading.read(&segment) {
                    break;
                }
            }
            // The preamble is synced before the first frame is written.
            Err(error) if bytes.len() > PREAMBLE as usize => {
                let stop = stop_at(*number, path, 0, error.to_string());
                reading.damage = Some(damaged(&stop));
                break;
            }
            // Created, but not even its first bytes reached the disk.
            Err(error) => {
                reading
                    .stop
                    .get_or_insert(stop_at(*number, path, 0, error.to_string()));
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
    /// Behind the last byte that is not zero: zeros are written ahead of frames.
    end: usize,
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
        self.end <= offset as usize
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
                            .get_or_insert(stop_at(segment.number, segment.path, offset, why));
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
                        .get_or_insert(stop_at(segment.number, segment.path, offset, why));
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

fn stop_at(segment: u64, path: &Path, offset: u32, why: String) -> Stop {
    Stop {
        segment,
        path: path.to_owned(),
        offset,
        why,
    }
}

/// Transactions that were written together, and the frame that ends them. Other frames have none.
struct Batch {
    at: (u64, u32),
    end: Digest,
    transactions: Vec<Transaction>,
}

/// Frames turned into transactions.
#[derive(Default)]
struct Assembled {
    checkpoint: Option<Checkpoint>,
    batches: Vec<Batch>,
    /// Frames of a batch whose last one was not met yet.
    parts: Vec<u8>,
}

impl Assembled {
    fn take(&mut self, located: Located) -> Result<()> {
        let mut transactions = Vec::new();
        match located.frame {
            JournalFrame::Watermark(_) => {}
            JournalFrame::Checkpoint(_, checkpoint) => self.checkpoint = Some(*checkpoint),
            JournalFrame::Transactions(_, part, bytes) => {
                self.parts.extend_from_slice(&bytes);
                if part == Part::More {
                    return Ok(());
                }
                let bytes = std::mem::take(&mut self.parts);
                transactions = decode_transactions(&bytes)
                    .map_err(|error| Error::of_object(located.path.display(), error))?;
            }
        }
        self.batches.push(Batch {
            at: (located.segment, located.offset),
            end: located.digest,
            transactions,
        });
        Ok(())
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
