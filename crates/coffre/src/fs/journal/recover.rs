//! Reading a journal after a stop, orderly or not: the last checkpoint and what came after it.
//!
//! Frames are read in order, each must follow the one before. The first that does not open ends the
//! recovery: it is the torn tail of a crash. But every frame also says how far the journal was synced when
//! it was written; damage below that mark is no torn tail, and is reported instead of cut off.

use std::path::Path;
use std::path::PathBuf;

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
use coffre_format::transaction::FrameHeader;
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

/// A frame and where its segment and itself are.
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
    let (frames, stop) = read_frames(&segments, ring)?;
    let watermark = frames
        .iter()
        .map(|located| located.frame.header().watermark)
        .max_by_key(position);
    if let (Some(stop), Some(mark)) = (&stop, watermark)
        && (stop.segment, stop.offset) < position(&mark)
    {
        return Err(damaged(stop));
    }
    let mut journal = Assembled::default();
    for located in frames {
        if !journal.take(located, watermark, &mut opens)? {
            break;
        }
    }
    let Some(checkpoint) = journal.checkpoint else {
        // The very first segment was created but its checkpoint never reached the disk: nothing was acknowledged.
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

/// All frames that follow one another, and where that ended if it ended early.
fn read_frames(
    segments: &[(u64, PathBuf)],
    ring: &Keyring,
) -> Result<(Vec<Located>, Option<Stop>)> {
    let mut frames: Vec<Located> = Vec::new();
    let mut stopped: Option<Stop> = None;
    for (number, path) in segments {
        let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        let mut chain = match frames.last() {
            Some(last) => Chain::After(last.digest),
            None => Chain::Begin,
        };
        let mut offset = PREAMBLE;
        let keys = Preamble::decode(&bytes).and_then(|preamble| PackKeys::new(ring, &preamble));
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                // Created, but not even its first 32 bytes reached the disk; or damaged, which a later mark tells.
                stopped.get_or_insert(stop(*number, path, 0, error.to_string()));
                continue;
            }
        };
        while let Some(rest) = bytes.get(offset as usize..).filter(|rest| !rest.is_empty()) {
            let read = keys.scan(offset, rest).and_then(|scanned| {
                Ok((
                    JournalFrame::decode(scanned.kind, &scanned.plaintext)?,
                    scanned,
                ))
            });
            let (frame, scanned) = match read {
                Ok(read) => read,
                Err(error) => {
                    stopped.get_or_insert(stop(*number, path, offset, error.to_string()));
                    break;
                }
            };
            if !chain.accepts(&frame.header().previous, &mut frames, &mut stopped) {
                stopped.get_or_insert(stop(
                    *number,
                    path,
                    offset,
                    "it does not follow the frame before".into(),
                ));
                // Its mark still counts: it may prove that what is missing before it was synced.
                note_mark(&mut frames, &frame, *number, path, offset);
                return Ok((frames, stopped));
            }
            chain = Chain::After(scanned.digest);
            let located = Located {
                segment: *number,
                path: path.clone(),
                offset,
                digest: scanned.digest,
                frame,
            };
            frames.push(located);
            offset += scanned.length;
        }
    }
    Ok((frames, stopped))
}

/// What the next frame must follow.
enum Chain {
    /// Nothing: it is the first that is left.
    Begin,
    /// The frame with this digest.
    After(Digest),
}

impl Chain {
    /// Whether a frame with this predecessor continues the chain. A segment that was started after a failed
    /// sync continues from the last synced frame; what the condemned segment holds beyond it was written again.
    fn accepts(
        &self,
        previous: &Digest,
        frames: &mut Vec<Located>,
        stopped: &mut Option<Stop>,
    ) -> bool {
        let Self::After(last) = self else { return true };
        if last == previous {
            *stopped = None;
            return true;
        }
        let Some(index) = frames
            .iter()
            .rposition(|located| located.digest == *previous)
        else {
            return false;
        };
        frames.truncate(index + 1);
        *stopped = None;
        true
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

/// Keeps the watermark of a frame that is not part of the chain.
fn note_mark(
    frames: &mut Vec<Located>,
    frame: &JournalFrame,
    segment: u64,
    path: &Path,
    offset: u32,
) {
    let header = *frame.header();
    let digest = frames.last().map_or(Digest::NONE, |last| last.digest);
    let frame = JournalFrame::Watermark(FrameHeader {
        lsn: Lsn(0),
        ..header
    });
    frames.push(Located {
        segment,
        path: path.to_owned(),
        offset,
        digest,
        frame,
    });
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
