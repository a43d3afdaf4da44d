//! Reading content: pieces to bytes, frames fetched together, and ahead of a sequential reader.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use coffre_format::frame::FRAME_OVERHEAD;
use coffre_format::id::Inode;
use coffre_format::id::PackName;
use coffre_format::record::BLOCK;
use coffre_format::record::Block;
use coffre_format::record::Content;
use coffre_format::record::Piece;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use futures::StreamExt;
use futures::TryStreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::fs::fold::part_of;
use crate::fs::handle::ReadAhead;
use crate::fs::inner::Inner;
use crate::fs::namespace::content;
use crate::store::Pattern;
use crate::store::Rank;

/// First window of a sequential reader, in bytes.
const WINDOW_FIRST: u64 = 256 * 1024;
/// Frames with at most this between them are fetched with one GET, in bytes.
const GAP_MOST: u64 = 64 * 1024;
/// One GET asks for at most this, in bytes: nothing of it is there before all of it is.
const GET_MOST: u64 = 2 * 1024 * 1024;
/// What is opened around a place that is read here and there, in bytes.
const AROUND: u64 = 1024 * 1024;
/// GETs at a time for one read.
const GETS: usize = 8;

impl Inner {
    /// At most `size` bytes from `offset`; fewer only at the end of the file.
    pub(crate) async fn read_file(
        self: &Arc<Self>,
        inode: Inode,
        offset: u64,
        size: u32,
        reader: Pattern,
    ) -> Result<Bytes> {
        let range = offset..offset.saturating_add(u64::from(size));
        let mut mapped = self.mapped(inode, range.clone()).await?;
        let around = reader == Pattern::HereAndThere && self.is_worth_more(&mapped);
        loop {
            let read = self.read_mapped(&mapped, &range, reader).await;
            let Err(Error::Missing { .. }) = read else {
                if around {
                    let start = offset / AROUND * AROUND;
                    self.fetch_beside(inode, start..start + AROUND);
                }
                return read;
            };
            // A fold may have given it another place since it was looked up.
            let now = self.mapped(inode, range.clone()).await?;
            if now == mapped {
                return read;
            }
            mapped = now;
        }
    }

    async fn read_mapped(
        &self,
        (length, blocks): &(u64, Vec<(u64, Block)>),
        range: &Range<u64>,
        reader: Pattern,
    ) -> Result<Bytes> {
        let offset = range.start;
        let end = range.end.min(*length);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let frames = self.frames(blocks, &(offset..end), reader).await?;
        // A read of one frame's bytes needs no copy.
        if let [(index, block)] = blocks.as_slice() {
            let start = |piece: &Piece| index * u64::from(BLOCK) + u64::from(piece.at);
            let holds = |piece: &&Piece| {
                start(piece) <= offset && end <= start(piece) + u64::from(piece.len)
            };
            if let Some(piece) = block.pieces.iter().find(holds)
                && let Content::Frame(pointer) = &piece.content
            {
                let part = part_of(frame_of(&frames, pointer)?, piece)?;
                let begin = start(piece);
                return Ok(part.slice((offset - begin) as usize..(end - begin) as usize));
            }
        }
        // What follows one another is only put behind one another; holes alone are cleared.
        let mut out = BytesMut::with_capacity((end - offset) as usize);
        for (index, block) in blocks {
            let base = index * u64::from(BLOCK);
            for piece in &block.pieces {
                let from = (base + u64::from(piece.at)).max(offset);
                let until = (base + u64::from(piece.at + piece.len)).min(end);
                if from >= until {
                    continue;
                }
                let bytes = match &piece.content {
                    Content::Bytes(bytes) => part_of(bytes, piece)?,
                    Content::Frame(pointer) => part_of(frame_of(&frames, pointer)?, piece)?,
                };
                let skip = (from - base - u64::from(piece.at)) as usize;
                let part = &bytes[skip..skip + (until - from) as usize];
                out.resize((from - offset) as usize, 0);
                out.extend_from_slice(part);
            }
        }
        out.resize((end - offset) as usize, 0);
        Ok(out.freeze())
    }

    /// Notes a read and starts fetching what a sequential reader will ask for next. Answers how the handle is read.
    pub(crate) fn read_ahead(
        self: &Arc<Self>,
        inode: Inode,
        state: &std::sync::Mutex<ReadAhead>,
        read: Range<u64>,
    ) -> Pattern {
        let (ahead, pattern) = {
            let mut state = state
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let ahead = advance(&mut state, &read, self.shares.window);
            let pattern = match state.window {
                0 => Pattern::HereAndThere,
                _ => Pattern::InOrder,
            };
            (ahead, pattern)
        };
        let Some(ahead) = ahead else {
            return pattern;
        };
        // Most files are short, and nothing follows.
        let ends = {
            let core = self.core();
            let inode = core.view(&self.nodes).inode(inode);
            inode.is_ok_and(|found| found.size <= ahead.start)
        };
        if ends {
            return pattern;
        }
        self.fetch_beside(inode, ahead);
        pattern
    }

    /// Opens a range beside, so that it is in memory when somebody comes for it.
    fn fetch_beside(self: &Arc<Self>, inode: Inode, range: Range<u64>) {
        let inner = self.clone();
        tokio::spawn(async move {
            let fetch = async {
                let (length, blocks) = inner.mapped(inode, range.clone()).await?;
                let range = range.start..range.end.min(length);
                if !range.is_empty() {
                    inner.frames(&blocks, &range, Pattern::InOrder).await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = fetch.await {
                // The reader that comes for it will meet the same error and report it.
                log::debug!("reading beside: {error}");
            }
        });
    }

    /// Whether what is around a place that had to be opened is to be opened too: who reads here and there in a file that
    /// fits into what is kept comes back, and on a disk here that costs no request.
    fn is_worth_more(&self, (length, blocks): &(u64, Vec<(u64, Block)>)) -> bool {
        let mut contents = blocks
            .iter()
            .flat_map(|(_, block)| block.pieces.iter().map(|piece| &piece.content));
        *length <= self.nodes.frames_most()
            && self.vault.store().is_on_disk()
            && contents.any(|content| match content {
                Content::Frame(pointer) => self.nodes.data_at_hand(pointer).is_none(),
                Content::Bytes(_) => false,
            })
    }

    async fn mapped(&self, inode: Inode, range: Range<u64>) -> Result<(u64, Vec<(u64, Block)>)> {
        self.query(|view, _| {
            let size = view.inode(inode)?.size;
            let range = range.start..range.end.min(size);
            if range.is_empty() {
                return Ok((size, Vec::new()));
            }
            Ok((size, content::map(view, inode, range)?))
        })
        .await
    }

    /// The plaintext of all frames that the range shows, fetched in few requests.
    async fn frames(
        &self,
        blocks: &[(u64, Block)],
        range: &Range<u64>,
        reader: Pattern,
    ) -> Result<BTreeMap<[u8; 32], Bytes>> {
        let mut pointers = BTreeMap::new();
        for (index, block) in blocks {
            let base = index * u64::from(BLOCK);
            for piece in &block.pieces {
                let start = base + u64::from(piece.at);
                if let Content::Frame(pointer) = &piece.content
                    && start < range.end
                    && start + u64::from(piece.len) > range.start
                {
                    pointers.insert(pointer.digest.0, *pointer);
                }
            }
        }
        let mut frames = BTreeMap::new();
        let mut keep = |pointer: &Pointer, bytes: Option<Bytes>| match bytes {
            Some(bytes) => {
                frames.insert(pointer.digest.0, bytes);
                false
            }
            None => true,
        };
        let mut missing: Vec<Pointer> = pointers.into_values().collect();
        missing.retain(|pointer| keep(pointer, self.nodes.data_at_hand(pointer)));
        if missing.len() > 1 {
            for (pack, span) in spans(&missing) {
                self.nodes.reader().will_need(pack, &span);
            }
        }
        missing.retain(|pointer| keep(pointer, self.nodes.data_ready(pointer, reader)));
        if missing.len() > 1 {
            let fetches = spans(&missing).into_iter().map(|(pack, span)| async move {
                self.nodes.reader().prefetch(pack, span, Rank::Data).await
            });
            futures::stream::iter(fetches)
                .buffer_unordered(GETS)
                .try_collect::<Vec<()>>()
                .await?;
        }
        let opened = missing.into_iter().map(|pointer| async move {
            Ok::<_, Error>((pointer.digest.0, self.frame(&pointer).await?))
        });
        let mut opened = futures::stream::iter(opened).buffer_unordered(GETS);
        while let Some((digest, bytes)) = opened.try_next().await? {
            frames.insert(digest, bytes);
        }
        Ok(frames)
    }
}

fn frame_of<'a>(frames: &'a BTreeMap<[u8; 32], Bytes>, pointer: &Pointer) -> Result<&'a Bytes> {
    frames
        .get(&pointer.digest.0)
        .ok_or_else(|| crate::error::Error::Missing {
            object: "data frame".into(),
            path: None,
        })
}

/// Ranges of packs that cover these frames, neighbours joined.
fn spans(pointers: &[Pointer]) -> Vec<(PackName, Range<u64>)> {
    let mut ranges: Vec<(PackName, Range<u64>)> = pointers
        .iter()
        .filter_map(|pointer| match pointer.place {
            Place::Pack { pack, offset } => {
                let start = u64::from(offset);
                Some((
                    pack.name,
                    start..start + u64::from(pointer.stored + FRAME_OVERHEAD),
                ))
            }
            Place::Open { .. } => None,
        })
        .collect();
    ranges.sort_by_key(|(pack, range)| (*pack, range.start));
    let mut spans: Vec<(PackName, Range<u64>)> = Vec::new();
    for (pack, range) in ranges {
        match spans.last_mut() {
            Some((last, span))
                if *last == pack
                    && range.start <= span.end + GAP_MOST
                    && range.end - span.start <= GET_MOST =>
            {
                span.end = span.end.max(range.end);
            }
            _ => spans.push((pack, range)),
        }
    }
    spans
}

/// Grows the window of a sequential reader, closes that of a random one; answers what to fetch now.
fn advance(state: &mut ReadAhead, read: &Range<u64>, most: u64) -> Option<Range<u64>> {
    // The kernel splits and slightly reorders a sequential stream.
    let sequential = read.start <= state.next + 512 * 1024 && read.end + 1024 * 1024 > state.next;
    if !sequential {
        *state = ReadAhead {
            next: read.end,
            window: 0,
            until: read.end,
        };
        return None;
    }
    state.next = state.next.max(read.end);
    // While the reader is in one window, the next is on its way: a line is never idle.
    if state.until >= state.next + state.window && state.window > 0 {
        return None;
    }
    state.window = if state.window == 0 {
        WINDOW_FIRST
    } else {
        (state.window * 2).min(most)
    };
    let start = state.until.max(state.next);
    let end = state.next + state.window;
    state.until = end;
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_MOST: u64 = 8 << 20;

    #[test]
    fn a_sequential_reader_gets_a_growing_window_and_a_random_one_none() {
        let mut state = ReadAhead::default();
        let mut fetched = 0;
        let mut at = 0;
        for _ in 0..400 {
            if let Some(range) = advance(&mut state, &(at..at + 131_072), WINDOW_MOST) {
                assert!(range.start >= fetched, "nothing is asked for twice");
                fetched = range.end;
            }
            at += 131_072;
        }
        assert!(fetched >= at, "the window stays ahead of the reader");
        assert!(fetched <= at + 2 * WINDOW_MOST, "and within its bound");
        assert!(advance(&mut state, &(1 << 40..(1 << 40) + 4096), WINDOW_MOST).is_none());
        assert_eq!(state.window, 0);
    }
}
