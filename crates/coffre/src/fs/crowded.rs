//! Blocks that get more pieces than the tree stores: the fold will write them whole, and needs their old content.
//!
//! Who crowds a block waits until that content could be read, and is told if it is lost: the fold, which everything
//! else waits for, must not be the first to find out.

use std::collections::HashSet;

use coffre_format::record::Block;
use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::transaction::Edit;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;
use crate::fs::blocks;
use crate::fs::inner::Inner;
use crate::fs::namespace::View;
use crate::fs::namespace::content::value_block;
use crate::store::Pattern;
use crate::tree::Resident;

/// Frames that were looked at for one operation.
pub(crate) type Looked = HashSet<Pointer>;

/// What the fold must read because of these edits and not because of earlier ones.
pub(crate) fn crowded_frames<R: Resident>(view: &View<R>, edits: &[Edit]) -> Vec<Pointer> {
    let mut frames = Vec::new();
    for edit in edits {
        match edit {
            Edit::Put(key, Value::Record(Record::Block(new)))
                if new.pieces.len() > 1
                    && blocks::needs_rewrite(new)
                    && !view_is_crowded(view, key) =>
            {
                frames.extend(frames_of(new));
            }
            Edit::Splice { key, piece } => {
                let Some(Some(Value::Record(Record::Block(old)))) = view
                    .active
                    .get(key)
                    .map(|value| value.map(|value| &**value))
                else {
                    continue;
                };
                // One piece adds two at most.
                if blocks::is_close_to_rewrite(old) && !blocks::needs_rewrite(old) {
                    let new = blocks::overlay(old, piece.clone());
                    if blocks::needs_rewrite(&new) {
                        frames.extend(frames_of(&new));
                    }
                }
            }
            _ => {}
        }
    }
    frames
}

/// Whether changes that wait already crowd this block. The tree has no such blocks.
fn view_is_crowded<R: Resident>(view: &View<R>, key: &Key) -> bool {
    let known = view.layers().find_map(|changes| changes.get(key)).flatten();
    known
        .and_then(value_block)
        .is_some_and(blocks::needs_rewrite)
}

fn frames_of(block: &Block) -> impl Iterator<Item = Pointer> {
    block
        .pieces
        .iter()
        .filter_map(|piece| match &piece.content {
            Content::Frame(pointer) => Some(*pointer),
            Content::Bytes(_) => None,
        })
}

impl Inner {
    /// Reads these frames, so that they are here when the fold asks. A store that is away keeps nobody from
    /// writing: the fold waits for it as well.
    pub(crate) async fn look_at(
        &self,
        frames: Vec<Pointer>,
        looked: &mut Looked,
        deadline: Instant,
    ) -> Result<()> {
        for pointer in frames {
            let is_here = |pointer| self.nodes.data_ready(pointer, Pattern::HereAndThere);
            if !looked.insert(pointer) || is_here(&pointer).is_some() {
                continue;
            }
            match self.within(deadline, self.frame(&pointer)).await {
                Ok(_) => {}
                Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) => {
                    log::debug!("written over without a look at what is below: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
