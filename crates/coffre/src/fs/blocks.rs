//! Pieces of a block: laying over, cutting, punching, slicing, and what the fold settles.
//!
//! A block is 128 KiB of a file; its pieces are disjoint and ascending, a gap between them is a hole.
//! Everything here is a pure function old pieces → new pieces:
//!
//! ```text
//! old      |--A--|     |------B------|
//! write             |--w--|
//! new      |--A--|  |--w--|----B-----|     B is trimmed: same content, greater skip
//! ```

use std::ops::Range;

use bytes::Bytes;
use bytes::BytesMut;
use coffre_format::record::BLOCK;
use coffre_format::record::Block;
use coffre_format::record::Content;
use coffre_format::record::INLINE;
use coffre_format::record::PIECES;
use coffre_format::record::Piece;

/// Pieces in memory from which on adjacent small writes are joined.
const CROWDED: usize = 64;
/// From this block on a file is cut into finer frames (1 GiB): who reads so large a file here and there pays for less that was
/// not asked for. In a smaller one the pointers are not worth their room in the tree, nor the time that reading in order takes.
const FINE_FROM: u64 = 8192;
/// A finer frame, in bytes.
const FINE: u32 = BLOCK / 4;

/// A part of a block that is at least this long becomes a frame as it is, in bytes: the system cuts what it writes back anywhere,
/// and two such parts are cheaper to read than to write a second time.
pub const PART: u32 = BLOCK / 2;

/// A run of adjacent pieces whose bytes are here: the fold makes one frame of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in the block, in bytes.
    pub at: u32,
    /// Its bytes, piece after piece.
    pub parts: Vec<Bytes>,
}

impl Run {
    /// Its length, in bytes.
    pub fn len(&self) -> u32 {
        self.parts.iter().map(|part| part.len() as u32).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes as one; copied only where there are several parts.
    pub fn join(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len() as usize);
        for part in &self.parts {
            joined.extend_from_slice(part);
        }
        joined.freeze()
    }
}

/// The ranges of a block from whose bytes in this range one frame each is made, ascending.
pub fn frames_of(index: u64, range: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let most = if index < FINE_FROM { BLOCK } else { FINE };
    (range.start / most..range.end.div_ceil(most))
        .map(move |part| (part * most).max(range.start)..((part + 1) * most).min(range.end))
}

/// Whether this part of a block is long enough to be one frame of its own. Where frames are finer the fold makes them: their
/// pieces are counted then.
pub fn is_frame(index: u64, range: &Range<u32>) -> bool {
    index < FINE_FROM && range.end - range.start >= PART
}

/// The same for a run that the fold settles: it is cut where that makes it finer and leaves the block room for other pieces.
pub fn frames_of_run(block: &Block, index: u64, run: Range<u32>) -> Vec<Range<u32>> {
    let cut: Vec<_> = frames_of(index, run.clone()).collect();
    let fits = settled(block) + cut.len() <= PIECES / 2;
    if run.end - run.start > FINE && fits {
        cut
    } else {
        vec![run]
    }
}

/// The block after `piece` was written over it.
pub fn overlay(block: &Block, piece: Piece) -> Block {
    let end = piece.at + piece.len;
    if piece.len == 0 {
        return block.clone();
    }
    let mut pieces = Vec::with_capacity(block.pieces.len() + 2);
    pieces.extend(block.pieces.iter().filter_map(|old| trim(old, 0..piece.at)));
    pieces.extend(trim(&piece, piece.at..end));
    pieces.extend(block.pieces.iter().filter_map(|old| trim(old, end..BLOCK)));
    Block { pieces }
}

/// The block with a hole in this range.
pub fn punch(block: &Block, range: Range<u32>) -> Block {
    let mut pieces = slice(block, 0..range.start);
    pieces.extend(slice(block, range.end..BLOCK));
    Block { pieces }
}

/// The block without what is at or after `at`.
pub fn cut(block: &Block, at: u32) -> Block {
    Block {
        pieces: slice(block, 0..at),
    }
}

/// What is in this range of the block; places stay as in the block.
pub fn slice(block: &Block, range: Range<u32>) -> Vec<Piece> {
    block
        .pieces
        .iter()
        .filter_map(|piece| trim(piece, range.clone()))
        .collect()
}

/// The part of a piece that is in this range.
pub fn trim(piece: &Piece, range: Range<u32>) -> Option<Piece> {
    let start = piece.at.max(range.start);
    let end = (piece.at + piece.len).min(range.end);
    if start >= end {
        return None;
    }
    let skip = piece.skip + (start - piece.at);
    let len = end - start;
    // Bytes are sliced rather than skipped, so that what was overwritten is not kept alive in records.
    let (skip, content) = match &piece.content {
        Content::Frame(pointer) => (skip, Content::Frame(*pointer)),
        Content::Bytes(bytes) => (
            0,
            Content::Bytes(bytes.slice(skip as usize..(skip + len) as usize)),
        ),
    };
    Some(Piece {
        at: start,
        len,
        skip,
        content,
    })
}

/// The holes of the block inside this range, ascending.
pub fn holes(block: &Block, range: Range<u32>) -> Vec<Range<u32>> {
    let mut holes = Vec::new();
    let mut position = range.start;
    for piece in &block.pieces {
        let start = piece.at.min(range.end);
        if position < start {
            holes.push(position..start);
        }
        position = position.max(piece.at + piece.len);
    }
    if position < range.end {
        holes.push(position..range.end);
    }
    holes
}

/// Bytes that are not holes.
pub fn stored(block: &Block) -> u64 {
    block.pieces.iter().map(|piece| u64::from(piece.len)).sum()
}

/// Adjacent pieces whose bytes are here, joined into runs, ascending.
///
/// The fold seals each run into one frame and lays that frame's piece over the block.
pub fn runs(block: &Block) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut end = None;
    for piece in &block.pieces {
        let Content::Bytes(bytes) = &piece.content else {
            end = None;
            continue;
        };
        let part = bytes.slice(piece.skip as usize..(piece.skip + piece.len) as usize);
        match runs.last_mut() {
            Some(run) if end == Some(piece.at) => run.parts.push(part),
            _ => runs.push(Run {
                at: piece.at,
                parts: vec![part],
            }),
        }
        end = Some(piece.at + piece.len);
    }
    runs
}

/// The same content in fewer pieces, where a block has very many: adjacent bytes become one piece.
pub fn coalesce_bytes(block: Block) -> Block {
    if block.pieces.len() <= CROWDED {
        return block;
    }
    let mut pieces: Vec<Piece> = block
        .pieces
        .iter()
        .filter(|piece| matches!(piece.content, Content::Frame(_)))
        .cloned()
        .collect();
    pieces.extend(runs(&block).into_iter().map(|run| Piece {
        at: run.at,
        len: run.len(),
        skip: 0,
        content: Content::Bytes(run.join()),
    }));
    pieces.sort_by_key(|piece| piece.at);
    Block { pieces }
}

/// Whether settling run by run would leave more pieces than a stored block may have:
/// then the fold writes the block whole.
pub fn needs_rewrite(block: &Block) -> bool {
    settled(block) > PIECES
}

/// Pieces that settling run by run leaves.
fn settled(block: &Block) -> usize {
    let is_frame = |piece: &&Piece| matches!(piece.content, Content::Frame(_));
    block.pieces.iter().filter(is_frame).count() + runs(block).len()
}

/// Whether one more piece may ask for a rewrite. Cheap.
pub fn is_close_to_rewrite(block: &Block) -> bool {
    block.pieces.len() + 2 > PIECES
}

/// The content that the record itself may hold: a small file's only bytes.
pub fn inline(block: &Block) -> Option<Bytes> {
    let all_here = block
        .pieces
        .iter()
        .all(|piece| matches!(piece.content, Content::Bytes(_)));
    match runs(block).as_slice() {
        [run] if all_here && run.at == 0 && run.len() as usize <= INLINE => Some(run.join()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use coffre_format::id::Digest;
    use coffre_format::id::Salt;
    use coffre_format::record::Place;
    use coffre_format::record::Pointer;
    use proptest::prelude::*;

    use super::*;

    fn frame(at: u32, len: u32, skip: u32) -> Piece {
        let place = Place::Open {
            salt: Salt([7; 16]),
            offset: 0,
        };
        let content = Content::Frame(Pointer {
            place,
            stored: 1,
            digest: Digest::NONE,
        });
        Piece {
            at,
            len,
            skip,
            content,
        }
    }

    fn bytes(at: u32, content: &[u8]) -> Piece {
        Piece {
            at,
            len: content.len() as u32,
            skip: 0,
            content: Content::Bytes(Bytes::copy_from_slice(content)),
        }
    }

    /// Frames read as the low byte of their position, so that a wrong skip shows.
    fn read(block: &Block, len: usize) -> Vec<Option<u8>> {
        let mut read = vec![None; len];
        for piece in &block.pieces {
            for i in 0..piece.len {
                let byte = match &piece.content {
                    Content::Frame(_) => (piece.skip + i) as u8,
                    Content::Bytes(bytes) => bytes[(piece.skip + i) as usize],
                };
                read[(piece.at + i) as usize] = Some(byte);
            }
        }
        read
    }

    #[test]
    fn a_write_inside_a_frame_splits_it() {
        let block = Block {
            pieces: vec![frame(10, 20, 5)],
        };
        let block = overlay(&block, bytes(15, b"ab"));
        assert_eq!(
            block.pieces,
            [frame(10, 5, 5), bytes(15, b"ab"), frame(17, 13, 12)]
        );
        assert_eq!(holes(&block, 0..40), [0..10, 30..40]);
        assert_eq!(stored(&block), 20);
    }

    #[test]
    fn a_large_file_is_cut_finer_from_a_place_on() {
        let cut = |index, range| {
            let frames = frames_of(index, range);
            frames
                .map(|frame| (frame.start, frame.end))
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(FINE_FROM - 1, 0..BLOCK), [(0, BLOCK)]);
        let quarters = cut(FINE_FROM, 0..BLOCK);
        assert_eq!(quarters.len(), 4);
        assert_eq!(quarters[1], (FINE, 2 * FINE));
        assert_eq!(quarters[3], (3 * FINE, BLOCK));
        assert_eq!(cut(FINE_FROM, 5..FINE), [(5, FINE)]);
        assert_eq!(cut(FINE_FROM, 5..FINE + 1), [(5, FINE), (FINE, FINE + 1)]);
        assert_eq!(cut(FINE_FROM, 0..0), []);
        assert!(is_frame(FINE_FROM - 1, &(4096..4096 + PART)));
        assert!(!is_frame(FINE_FROM - 1, &(4096..4095 + PART)));
        assert!(!is_frame(FINE_FROM, &(4096..BLOCK)));
    }

    #[test]
    fn a_run_is_cut_where_that_is_finer_and_leaves_room() {
        let small = |n: u32| Block {
            pieces: (0..n).map(|i| bytes(i * 8192, &[1; 8192])).collect(),
        };
        let cut = |block: &Block, run| frames_of_run(block, FINE_FROM, run).len();
        assert_eq!(cut(&small(16), 0..BLOCK), 4, "many writes, one run");
        assert_eq!(cut(&small(4), 5..FINE + 5), 1, "no finer than it is");
        assert_eq!(cut(&small(5), 5..FINE + 6), 2);
        assert_eq!(frames_of_run(&small(16), FINE_FROM - 1, 0..BLOCK).len(), 1);
        let scattered = |n: u32| Block {
            pieces: (0..n).map(|i| bytes(i * 8192, b"x")).collect(),
        };
        assert_eq!(cut(&scattered(4), 0..BLOCK), 4);
        assert_eq!(cut(&scattered(5), 0..BLOCK), 1, "no room is left");
    }

    #[test]
    fn runs_end_at_frames_and_holes() {
        let block = Block {
            pieces: vec![
                bytes(0, b"a"),
                bytes(1, b"b"),
                frame(2, 2, 0),
                bytes(4, b"c"),
                bytes(9, b"d"),
            ],
        };
        let found: Vec<_> = runs(&block)
            .iter()
            .map(|run| (run.at, run.join()))
            .collect();
        assert_eq!(
            found,
            [
                (0, Bytes::from("ab")),
                (4, Bytes::from("c")),
                (9, Bytes::from("d"))
            ]
        );
        assert!(inline(&block).is_none());
    }

    #[test]
    fn the_seventeenth_piece_asks_for_a_rewrite() {
        let pieces = |n: u32| Block {
            pieces: (0..n).map(|i| bytes(i * 4, b"x")).collect(),
        };
        assert!(!needs_rewrite(&pieces(16)));
        assert!(needs_rewrite(&pieces(17)));
    }

    proptest! {
        #[test]
        fn pieces_are_what_the_writes_say(
            steps in proptest::collection::vec((0u8..4, 0u32..300, 0u32..60, any::<u8>()), 1..120)
        ) {
            let mut block = Block::default();
            let mut model: Vec<Option<u8>> = vec![None; 400];
            for (what, at, len, byte) in steps {
                let range = at as usize..(at + len) as usize;
                match what {
                    0 => {
                        block = overlay(&block, frame(at, len, 3));
                        for (i, slot) in model[range].iter_mut().enumerate() {
                            *slot = Some((i + 3) as u8);
                        }
                    }
                    1 => {
                        block = punch(&block, at..at + len);
                        model[range].fill(None);
                    }
                    2 if len == 7 => {
                        block = cut(&block, at);
                        model[at as usize..].fill(None);
                    }
                    _ => {
                        block = overlay(&block, bytes(at, &vec![byte; len as usize]));
                        model[range].fill(Some(byte));
                    }
                }
                block = coalesce_bytes(block);
                prop_assert_eq!(&read(&block, 400), &model);
                for pair in block.pieces.windows(2) {
                    prop_assert!(pair[0].at + pair[0].len <= pair[1].at);
                }
                prop_assert!(block.pieces.iter().all(|piece| piece.len > 0));
                let empty = holes(&block, 0..400).iter().map(|hole| hole.len()).sum::<usize>();
                prop_assert_eq!(empty, model.iter().filter(|slot| slot.is_none()).count());
            }
        }
    }
}
