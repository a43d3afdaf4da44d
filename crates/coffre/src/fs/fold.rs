//! The fold: turns the overlay into tree nodes and settled content, in packs of the outbox.
//!
//! ```text
//!  1 under the lock: active → frozen, journal rolls to a new segment, the open pack is closed
//!  2 settle: small writes and frames of unnamed packs → data frames, in (inode, block) order
//!  3 edit the tree; its new nodes → the same or another pack
//!  4 outbox synced → root swapped under the lock → checkpoint synced → older segments freed
//! ```
//! Local only, as far as the nodes it touches were read before; a crash at any point leaves either the old
//! checkpoint with all its journal, or the new one.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use coffre_format::id::Lsn;
use coffre_format::id::Salt;
use coffre_format::pack::PackSize;
use coffre_format::record::BLOCK;
use coffre_format::record::Block;
use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::transaction::Checkpoint;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::blocks;
use crate::fs::fold_sink::FoldSink;
use crate::fs::inner::Inner;
use crate::fs::inner::Writer;
use crate::fs::named::Named;
use crate::fs::namespace::view::index_of;
use crate::tree;
use crate::tree::Changes;

/// A closed pack with at least this much goes up as it is; a smaller one is settled into the fold's own, in bytes.
const FREEZE_FROM: u32 = 1024 * 1024;

/// What one fold leaves for the next.
#[derive(Default)]
pub(crate) struct FoldTurn {
    /// Packs whose last users are in the next fold.
    retired: Vec<Salt>,
    /// Held by writes that sealed a block before a fold began and may not have named it yet. A fold that is given
    /// up leaves them to the next.
    leases: Vec<Arc<()>>,
    /// The root has no checkpoint in the journal yet; the segments below this are superfluous once it has.
    owed: Option<u64>,
}

impl FoldTurn {
    /// Packs that were closed when the last fold began.
    pub(crate) fn retired(&self) -> &[Salt] {
        &self.retired
    }
}

/// What a fold took over.
struct Frozen {
    changes: Arc<Changes>,
    lsn: Lsn,
    closed: Option<Salt>,
    rolled: tokio::sync::oneshot::Receiver<Result<u64>>,
    /// Packs whose last users are in this fold.
    retiring: Vec<Salt>,
}

impl Inner {
    /// Folds what is in the overlay now. One at a time; operations go on meanwhile.
    pub(crate) async fn fold(&self) -> Result<()> {
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let mut turn = writer.fold_turn.lock().await;
        let folded = self.fold_in_turn(writer, &mut turn).await;
        let mut unfolded = self
            .counters
            .unfolded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *unfolded = folded.as_ref().err().map(|error| match error.is_loss() {
            true => {
                format!("{error}; delete that file or write it anew, and everything else goes on")
            }
            false => error.to_string(),
        });
        folded
    }

    async fn fold_in_turn(&self, writer: &Writer, turn: &mut FoldTurn) -> Result<()> {
        let Some(frozen) = self.freeze(writer, turn) else {
            return self.note_again(writer, turn).await;
        };
        fault::point("fold.begun");
        // Writes that sealed a block before the swap may still be about to name it.
        while turn.leases.iter().any(|lease| Arc::strong_count(lease) > 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        turn.leases.clear();
        // Before anything is made: a disk that takes no journal takes no packs in vain either.
        let keep = frozen.rolled.await.map_err(|_| Error::Busy {
            what: "the file system is being closed".into(),
        })??;
        if let Some(salt) = frozen.closed
            && writer
                .packs
                .closed_length(salt)
                .is_some_and(|length| length >= FREEZE_FROM)
        {
            writer.packs.freeze(salt, PackSize::Padded)?;
        }
        let mut sink = FoldSink::new(
            self.ring(),
            writer.outbox.clone(),
            self.nodes.clone(),
            &self.shares,
            frozen.changes.weight(),
        );
        let settled = self
            .settle_changes(writer, &frozen.changes, &mut sink)
            .await?;
        fault::point("fold.settled");
        let root = self.core().root;
        let ring = self.ring();
        let root = tree::edit(&root, &settled, ring.structure(), &self.nodes, &mut sink).await?;
        fault::point("fold.edited");
        let made = sink.finish()?;
        fault::point("fold.stored");
        let root = made.child(root);
        {
            let mut core = self.core();
            core.root = root;
            core.frozen = None;
            core.named_frozen = Named::default();
            core.folded = frozen.lsn;
        }
        turn.owed = Some(keep);
        fault::point("fold.swapped");
        self.note_again(writer, turn).await?;
        // While the fold ran, a write or reflink may have taken over pieces of the frozen changes as they were. What
        // it made of them may be gone again; the journal still has it.
        let in_use = self.core().named.salts.clone();
        let (kept, gone): (Vec<Salt>, Vec<Salt>) = frozen
            .retiring
            .iter()
            .partition(|salt| in_use.contains(salt));
        turn.retired.extend(kept);
        writer.packs.forget(&gone);
        fault::point("fold.ended");
        Ok(())
    }

    /// The checkpoint of the root, if the journal lacks it. A root is not published before: what it supersedes
    /// then leaves the outbox, and a crash would find a journal that begins with it.
    async fn note_again(&self, writer: &Writer, turn: &mut FoldTurn) -> Result<()> {
        let Some(keep) = turn.owed else {
            return Ok(());
        };
        let checkpoint = {
            let core = self.core();
            Checkpoint {
                root: core.root,
                lsn: core.folded,
                merged: core.merged.clone(),
            }
        };
        writer.journal.checkpoint(checkpoint, keep).await?;
        turn.owed = None;
        Ok(())
    }

    /// Step 1. A fold that failed is taken up again with what it had frozen.
    fn freeze(&self, writer: &Writer, turn: &mut FoldTurn) -> Option<Frozen> {
        let mut core = self.core();
        let changes = match core.frozen.take() {
            // What came after joins what a failed fold left, so that one checkpoint covers both.
            Some(left) => {
                let active = std::mem::take(&mut core.active);
                let mut joined = Arc::unwrap_or_clone(left);
                join(&mut joined, &active);
                Arc::new(joined)
            }
            None if core.active.is_empty() => return None,
            None => Arc::new(std::mem::take(&mut core.active)),
        };
        core.frozen = Some(changes.clone());
        let named = std::mem::take(&mut core.named);
        core.named_frozen.append(named);
        let lease = std::mem::replace(&mut core.lease, Arc::new(()));
        turn.leases.push(lease);
        let closed = writer.packs.close_current();
        let rolled = writer.journal.roll();
        // A pack closed in the fold before has its last users in this one.
        let retiring = std::mem::replace(&mut turn.retired, writer.packs.settled_candidates());
        Some(Frozen {
            changes,
            lsn: core.lsn,
            closed,
            rolled,
            retiring,
        })
    }

    /// Step 2: the same changes, with nothing in them that only this process could read.
    async fn settle_changes(
        &self,
        writer: &Writer,
        changes: &Changes,
        sink: &mut FoldSink,
    ) -> Result<Changes> {
        let mut settled = Changes::default();
        for (start, end) in changes.ranges() {
            settled.delete_range(start.clone(), end.clone());
        }
        let mut spilled = Vec::new();
        for (key, value) in changes.iter() {
            let Some(value) = value else {
                settled.delete(key.clone());
                continue;
            };
            match &**value {
                Value::Record(Record::Block(block)) => {
                    let block = match self.settle_block(writer, key, block, sink).await {
                        Ok(block) => block,
                        Err(error) => return Err(self.block_failed(key, error).await),
                    };
                    spilled.push((key.clone(), Value::Record(Record::Block(block))));
                }
                other if other.spillable() => {
                    let bytes = other.encoded_plain();
                    let length = u32::try_from(bytes.len()).expect("a value is far below 4 GiB");
                    let pointer = sink.data(&bytes)?;
                    spilled.push((key.clone(), Value::Spilled { length, pointer }));
                }
                _ => settled.put(key.clone(), value.clone()),
            }
        }
        sink.end_of_data()?;
        for (key, mut value) in spilled {
            settle_value(sink, &mut value);
            settled.put(key, Arc::new(value));
        }
        Ok(settled)
    }

    /// Nothing is folded while this file is as it is: the message says which.
    async fn block_failed(&self, key: &Key, error: Error) -> Error {
        let Some(inode) = key.inode_of() else {
            return error;
        };
        self.name(inode, error).await
    }

    async fn settle_block(
        &self,
        writer: &Writer,
        key: &Key,
        block: &Block,
        sink: &mut FoldSink,
    ) -> Result<Block> {
        let index = index_of(key).unwrap_or(0);
        if let Some(bytes) = blocks::inline(block).filter(|bytes| index == 0 && !bytes.is_empty()) {
            let len = u32::try_from(bytes.len()).expect("inline content is short");
            return Ok(Block {
                pieces: vec![Piece {
                    at: 0,
                    len,
                    skip: 0,
                    content: Content::Bytes(bytes),
                }],
            });
        }
        let mut content = Vec::with_capacity(block.pieces.len());
        for piece in &block.pieces {
            content.push(match &piece.content {
                Content::Frame(pointer) => self.named_or_bytes(writer, pointer, piece).await?,
                Content::Bytes(_) => piece.clone(),
            });
        }
        let mut block = Block { pieces: content };
        if blocks::needs_rewrite(&block) {
            block = self.read_whole(&block).await?;
        }
        for run in blocks::runs(&block) {
            let bytes = run.join();
            let range = run.at..run.at + run.len();
            for frame in blocks::frames_of_run(&block, index, range) {
                let (from, until) = (frame.start - run.at, frame.end - run.at);
                let pointer = sink.data(&bytes[from as usize..until as usize])?;
                let piece = Piece {
                    at: frame.start,
                    len: frame.end - frame.start,
                    skip: 0,
                    content: Content::Frame(pointer),
                };
                block = blocks::overlay(&block, piece);
            }
        }
        Ok(block)
    }

    /// A piece whose frame is in a named pack, or its bytes where the pack never gets a name.
    async fn named_or_bytes(
        &self,
        writer: &Writer,
        pointer: &Pointer,
        piece: &Piece,
    ) -> Result<Piece> {
        let Place::Open { salt, offset } = pointer.place else {
            return Ok(piece.clone());
        };
        if let Some(frozen) = writer.packs.frozen(salt) {
            let pointer = Pointer {
                place: Place::Pack {
                    pack: frozen.pack,
                    offset,
                },
                ..*pointer
            };
            return Ok(Piece {
                content: Content::Frame(pointer),
                ..piece.clone()
            });
        }
        let bytes = self.frame(pointer).await?;
        Ok(Piece {
            skip: 0,
            content: Content::Bytes(part_of(&bytes, piece)?),
            ..piece.clone()
        })
    }

    /// A block with more pieces than a record may hold, as one run of bytes (holes become zeros).
    async fn read_whole(&self, block: &Block) -> Result<Block> {
        let (Some(first), Some(last)) = (block.pieces.first(), block.pieces.last()) else {
            return Ok(Block::default());
        };
        let (start, end) = (first.at, last.at + last.len);
        let mut whole = BytesMut::zeroed((end - start) as usize);
        for piece in &block.pieces {
            let bytes = match &piece.content {
                Content::Bytes(bytes) => part_of(bytes, piece)?,
                Content::Frame(pointer) => part_of(&self.frame(pointer).await?, piece)?,
            };
            let at = (piece.at - start) as usize;
            whole[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        let content = Content::Bytes(whole.freeze());
        Ok(Block {
            pieces: vec![Piece {
                at: start,
                len: end - start,
                skip: 0,
                content,
            }],
        })
    }
}

/// Lays newer changes over older ones.
fn join(older: &mut Changes, newer: &Changes) {
    for (start, end) in newer.ranges() {
        older.delete_range(start.clone(), end.clone());
    }
    for (key, value) in newer.iter() {
        match value {
            Some(value) => older.put(key.clone(), value.clone()),
            None => older.delete(key.clone()),
        }
    }
}

/// The bytes a piece shows of its content.
pub(crate) fn part_of(content: &Bytes, piece: &Piece) -> Result<Bytes> {
    let (start, end) = (piece.skip as usize, (piece.skip + piece.len) as usize);
    if end > content.len() || piece.at + piece.len > BLOCK {
        return Err(Error::Forged {
            object: "data frame".into(),
            path: None,
            why: "a piece reaches past it".into(),
        });
    }
    Ok(content.slice(start..end))
}

fn settle_value(sink: &FoldSink, value: &mut Value) {
    match value {
        Value::Spilled { pointer, .. } => *pointer = sink.settle(*pointer),
        Value::Record(Record::Block(block)) => {
            for piece in &mut block.pieces {
                if let Content::Frame(pointer) = &mut piece.content {
                    *pointer = sink.settle(*pointer);
                }
            }
        }
        Value::Record(_) => {}
    }
}
