//! Content: writing pieces into blocks, mapping a range for reading, looking for data and holes.

use std::ops::Range;

use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Block;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::Record;
use coffre_format::record::Value;

use crate::error::Refusal;
use crate::fs::blocks;
use crate::fs::namespace::SIZE_MAX;
use crate::fs::namespace::SPARSE;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::privileges;
use crate::fs::namespace::privileges::Privileges;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::namespace::view::index_of;
use crate::fs::types::Seek;
use crate::tree::Resident;

/// Blocks that one search for a hole looks at; after them the end of the file is the answer, which
/// POSIX allows for any file.
const SEARCHED: u64 = 1 << 16;
/// Blocks that one look of a search takes.
const LOOK: usize = 256;

/// What a write does to mtime and ctime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Now.
    Set,
    /// Nothing: the kernel held the content back, and tells when it was changed.
    Kept,
}

/// Writes pieces, each into the block with that index; ascending and without gaps. Answers the size.
///
/// A block that the active changes hold already is spliced, so that the journal carries the new piece
/// alone; another one is put whole, old pieces and new.
pub fn write_blocks<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    parts: Vec<(u64, Piece)>,
    privileges: Privileges,
    times: Times,
) -> Step<Outcome<u64>> {
    let mut draft = Draft::new(view, context);
    let record = view.inode(inode)?;
    check_regular(&record)?;
    let (Some(start), Some(end)) = (
        parts.first().map(|(index, piece)| start_of(*index, piece)),
        parts.last().map(|(index, piece)| end_of(*index, piece)),
    ) else {
        return draft.finish(record.size);
    };
    let end = check_end(end)?;
    for block in parts.chunk_by(|one, other| one.0 == other.0) {
        lay(&mut draft, inode, block)?;
    }
    privileges::clear(&mut draft, inode, privileges)?;
    let record = match times {
        Times::Set => draft.modified(inode)?,
        Times::Kept => draft.inode(inode)?,
    };
    if start.is_none_or(|start| start > record.size) {
        record.flags |= SPARSE;
    }
    record.size = record.size.max(end);
    let size = record.size;
    draft.finish(size)
}

/// Lays the parts of one write that are in one block: without gaps, and all of it, or a single one.
fn lay<R: Resident>(draft: &mut Draft<R>, inode: Inode, parts: &[(u64, Piece)]) -> Step<()> {
    let (Some((index, first)), Some((_, last))) = (parts.first(), parts.last()) else {
        return Ok(());
    };
    debug_assert!(
        parts
            .windows(2)
            .all(|pair| pair[0].1.at + pair[0].1.len == pair[1].1.at),
        "parts of one write follow each other"
    );
    let key = Key::block(inode, *index);
    let pieces = parts.iter().map(|(_, piece)| piece.clone());
    if first.at == 0 && last.at + last.len == BLOCK {
        let pieces = pieces.collect();
        draft.put(key, Record::Block(Block { pieces }));
    } else if matches!(draft.view.active.get(&key), Some(Some(_))) {
        for piece in pieces {
            draft.splice(key.clone(), piece);
        }
    } else {
        let old = draft.view.block(inode, *index)?;
        let block = pieces.fold(old, |block, piece| blocks::overlay(&block, piece));
        draft.put(key, Record::Block(block));
    }
    Ok(())
}

/// The blocks that hold this range of a file, ascending; one that is all hole is left out.
pub fn map<R: Resident>(
    view: &View<R>,
    inode: Inode,
    range: Range<u64>,
) -> Step<Vec<(u64, Block)>> {
    let Some(touched) = blocks_of(&range) else {
        return Ok(Vec::new());
    };
    let limit = usize::try_from(touched.end - touched.start).unwrap_or(usize::MAX);
    let start = Key::block(inode, touched.start);
    let found = view.scan(&start, &Key::block(inode, touched.end), limit)?;
    let block = |(key, value): &(Key, _)| match value_block(value) {
        Some(block) => Some((index_of(key)?, block.clone())),
        None => None,
    };
    Ok(found.iter().filter_map(block).collect())
}

/// The block that a value is, if it is one.
pub(crate) fn value_block(value: &std::sync::Arc<Value>) -> Option<&Block> {
    match &**value {
        Value::Record(Record::Block(block)) => Some(block),
        _ => None,
    }
}

/// The next offset, from this one on, with data or in a hole; the end of the file counts as a hole.
pub fn seek<R: Resident>(view: &View<R>, inode: Inode, what: Seek, offset: u64) -> Step<u64> {
    let record = view.inode(inode)?;
    check_regular(&record)?;
    if offset >= record.size {
        return Err(Refusal::NothingThere.into());
    }
    match what {
        Seek::Data if record.flags & SPARSE == 0 => Ok(offset),
        Seek::Hole if record.flags & SPARSE == 0 => Ok(record.size),
        Seek::Data => next_data(view, inode, offset..record.size),
        Seek::Hole => next_hole(view, inode, offset..record.size),
    }
}

fn next_data<R: Resident>(view: &View<R>, inode: Inode, range: Range<u64>) -> Step<u64> {
    let Some(touched) = blocks_of(&range) else {
        return Err(Refusal::NothingThere.into());
    };
    let end = Key::block(inode, touched.end);
    let mut start = Key::block(inode, touched.start);
    // No block is all hole, so at most the first one has its data before the offset.
    while let Some((key, value)) = view.scan(&start, &end, 1)?.pop() {
        let begin = index_of(&key).unwrap_or(0) * u64::from(BLOCK);
        for piece in value_block(&value).iter().flat_map(|block| &block.pieces) {
            let at = begin + u64::from(piece.at);
            if at + u64::from(piece.len) > range.start && at < range.end {
                return Ok(at.max(range.start));
            }
        }
        start = key.successor();
    }
    Err(Refusal::NothingThere.into())
}

fn next_hole<R: Resident>(view: &View<R>, inode: Inode, range: Range<u64>) -> Step<u64> {
    let mut position = range.start;
    let searched = range.end.min(
        range
            .start
            .saturating_add(SEARCHED.saturating_mul(u64::from(BLOCK))),
    );
    while position < searched {
        let index = position / u64::from(BLOCK);
        let begin = index * u64::from(BLOCK);
        let end = begin.saturating_add(LOOK as u64 * u64::from(BLOCK));
        let looked_at = map(view, inode, position..end.min(range.end))?;
        for (expected, (index, block)) in (index..).zip(looked_at) {
            if index != expected {
                break;
            }
            let begin = index * u64::from(BLOCK);
            let from = (position.max(begin) - begin) as u32;
            if let Some(hole) = blocks::holes(&block, from..BLOCK).first() {
                return Ok((begin + u64::from(hole.start)).min(range.end));
            }
            position = begin + u64::from(BLOCK);
        }
        if position < end {
            return Ok(position.min(range.end));
        }
    }
    Ok(range.end)
}

/// The indices of the blocks that a range of a file touches.
pub(super) fn blocks_of(range: &Range<u64>) -> Option<Range<u64>> {
    let size = u64::from(BLOCK);
    (range.start < range.end).then(|| range.start / size..range.end.div_ceil(size))
}

/// Refuses what has no content.
pub(super) fn check_regular(record: &InodeRecord) -> Result<(), Refusal> {
    match record.kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Refusal::IsDirectory),
        _ => Err(Refusal::Invalid),
    }
}

/// Refuses an end beyond the greatest size.
pub(super) fn check_end(end: Option<u64>) -> Result<u64, Refusal> {
    end.filter(|end| *end <= SIZE_MAX)
        .ok_or(Refusal::FileTooLarge)
}

fn start_of(index: u64, piece: &Piece) -> Option<u64> {
    index
        .checked_mul(u64::from(BLOCK))?
        .checked_add(u64::from(piece.at))
}

pub(super) fn end_of(index: u64, piece: &Piece) -> Option<u64> {
    start_of(index, piece)?.checked_add(u64::from(piece.len))
}
