//! Ranges of a file: cutting and extending, making holes, sharing content between files.

use std::ops::Range;

use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Block;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::tag;

use crate::error::Refusal;
use crate::fs::blocks;
use crate::fs::namespace::SPARSE;
use crate::fs::namespace::content;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::privileges;
use crate::fs::namespace::privileges::Privileges;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::types::Allocate;
use crate::tree::Resident;

const SIZE: u64 = BLOCK as u64;
/// Blocks that one copy writes at most: a transaction stays small, the caller asks again.
const COPIED: u64 = 1024;

/// Sets the size: cuts what is beyond, or extends with a hole.
pub(super) fn truncate<R: Resident>(draft: &mut Draft<R>, inode: Inode, size: u64) -> Step<()> {
    let size = content::check_end(Some(size))?;
    let before = draft.view.inode(inode)?;
    content::check_regular(&before)?;
    if size == before.size {
        return Ok(());
    }
    let record = draft.modified(inode)?;
    record.size = size;
    if size > before.size {
        record.flags |= SPARSE;
        return Ok(());
    }
    if size == 0 {
        record.flags &= !SPARSE;
    }
    let kept = size.div_ceil(SIZE);
    if before.size > kept * SIZE {
        let (_, end) = Key::tagged(inode, tag::BLOCK);
        draft.delete_range(Key::block(inode, kept), end);
    }
    if !size.is_multiple_of(SIZE) {
        let old = draft.view.block(inode, size / SIZE)?;
        let new = blocks::cut(&old, (size % SIZE) as u32);
        if new != old {
            draft.put_block(inode, size / SIZE, new);
        }
    }
    Ok(())
}

/// What fallocate does. Space is not reserved: a range without data stays a hole.
pub fn allocate<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    mode: Allocate,
    offset: u64,
    length: u64,
) -> Step<Outcome<()>> {
    let record = view.inode(inode)?;
    content::check_regular(&record)?;
    if length == 0 {
        return Err(Refusal::Invalid.into());
    }
    let end = content::check_end(offset.checked_add(length))?;
    let (punches, extends) = match mode {
        Allocate::KeepSize => (false, false),
        Allocate::Extend => (false, true),
        Allocate::Punch | Allocate::ZeroKeepSize => (true, false),
        Allocate::ZeroExtend => (true, true),
    };
    let grows = extends && end > record.size;
    let mut draft = Draft::new(view, context);
    if !punches && !grows {
        return draft.finish(());
    }
    if punches {
        punch(&mut draft, inode, offset..end.min(record.size))?;
    }
    privileges::clear(&mut draft, inode, Privileges::Clear)?;
    let record = draft.modified(inode)?;
    if grows || offset < record.size {
        record.flags |= SPARSE;
    }
    if grows {
        record.size = end;
    }
    draft.finish(())
}

/// Makes a hole.
fn punch<R: Resident>(draft: &mut Draft<R>, inode: Inode, range: Range<u64>) -> Step<()> {
    let Some(touched) = content::blocks_of(&range) else {
        return Ok(());
    };
    let whole = range.start.div_ceil(SIZE)..range.end / SIZE;
    if !whole.is_empty() {
        let (start, end) = (Key::block(inode, whole.start), Key::block(inode, whole.end));
        draft.delete_range(start, end);
    }
    let mut edges = vec![touched.start];
    edges.extend((touched.end - 1 > touched.start).then_some(touched.end - 1));
    for index in edges {
        if whole.contains(&index) {
            continue;
        }
        let old = draft.view.block(inode, index)?;
        let new = blocks::punch(&old, within(&range, index));
        if new != old {
            draft.put_block(inode, index, new);
        }
    }
    Ok(())
}

/// Copies a range by sharing what holds it. Answers the bytes copied: fewer at the end of the source,
/// or where the range is so long that the caller must ask again.
pub fn copy_range<R: Resident>(
    view: &View<R>,
    context: Context,
    (from, start): (Inode, u64),
    (to, at): (Inode, u64),
    length: u64,
) -> Step<Outcome<u64>> {
    let source = view.inode(from)?;
    let target = view.inode(to)?;
    content::check_regular(&source)?;
    content::check_regular(&target)?;
    let mut draft = Draft::new(view, context);
    let length = length.min(source.size.saturating_sub(start));
    if length == 0 {
        return draft.finish(0);
    }
    // The last written block is written to its end, so that the next request begins with a whole one.
    let room = (at / SIZE).saturating_add(COPIED).saturating_mul(SIZE) - at;
    let length = length.min(room);
    let end = content::check_end(at.checked_add(length))?;
    if from == to && start < end && at < start + length {
        return Err(Refusal::Invalid.into());
    }
    let shared = content::map(view, from, start..start + length)?;
    let pieces = moved(&shared, start..start + length, at);
    lay_over(&mut draft, to, at..end, pieces)?;
    privileges::clear(&mut draft, to, Privileges::Clear)?;
    let record = draft.modified(to)?;
    if at > record.size || source.flags & SPARSE != 0 {
        record.flags |= SPARSE;
    }
    record.size = record.size.max(end);
    draft.finish(length)
}

/// The source's pieces where they go, ascending: (block index, piece), split where a block ends.
fn moved(source: &[(u64, Block)], range: Range<u64>, to: u64) -> Vec<(u64, Piece)> {
    let mut moved = Vec::new();
    for (index, block) in source {
        for piece in blocks::slice(block, within(&range, *index)) {
            let mut taken = 0;
            while taken < piece.len {
                let position = index * SIZE + u64::from(piece.at + taken) - range.start + to;
                let at = (position % SIZE) as u32;
                let len = (piece.len - taken).min(BLOCK - at);
                let part = piece.at + taken..piece.at + taken + len;
                let part = blocks::trim(&piece, part).map(|part| Piece { at, ..part });
                moved.extend(part.map(|part| (position / SIZE, part)));
                taken += len;
            }
        }
    }
    moved
}

/// Replaces a range of a file by these pieces; between them it becomes a hole.
fn lay_over<R: Resident>(
    draft: &mut Draft<R>,
    inode: Inode,
    range: Range<u64>,
    pieces: Vec<(u64, Piece)>,
) -> Step<()> {
    let mut pieces = pieces.into_iter().peekable();
    for index in content::blocks_of(&range).into_iter().flatten() {
        let replaced = within(&range, index);
        // A block that is replaced whole is not looked at.
        let old = if replaced == (0..BLOCK) {
            Block::default()
        } else {
            draft.view.block(inode, index)?
        };
        let mut new = blocks::punch(&old, replaced.clone());
        while let Some((_, piece)) = pieces.next_if(|(at, _)| *at == index) {
            new = blocks::overlay(&new, piece);
        }
        if new != old || replaced == (0..BLOCK) {
            draft.put_block(inode, index, new);
        }
    }
    Ok(())
}

/// The part of a block that lies in a range of the file.
fn within(range: &Range<u64>, index: u64) -> Range<u32> {
    let begin = index * SIZE;
    let clip = |position: u64| position.saturating_sub(begin).min(SIZE) as u32;
    clip(range.start)..clip(range.end)
}
