//! Writing content: whole blocks, and large parts of them, are sealed at once into the open data pack; the rest waits in
//! the overlay.

use std::ops::Range;

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Content;
use coffre_format::record::Piece;

use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fault;
use crate::fs::blocks;
use crate::fs::core::Core;
use crate::fs::inner::Inner;
use crate::fs::inner::Writer;
use crate::fs::namespace;
use crate::fs::namespace::Context;
use crate::fs::namespace::Outcome;
use crate::fs::namespace::Privileges;
use crate::fs::namespace::Step;
use crate::fs::namespace::Times;
use crate::fs::namespace::View;
use crate::fs::namespace::Whole;
use crate::fs::namespace::content;
use crate::fs::pressure::Demand;
use crate::fs::stale::Origin;
use crate::fs::types::IfTaken;
use crate::fs::types::Owner;
use crate::tree::Pinned;

impl Inner {
    /// Writes `data` at `offset` of a file.
    pub(crate) async fn write_file(
        &self,
        origin: Origin,
        inode: Inode,
        offset: u64,
        data: Bytes,
        privileges: Privileges,
        times: Times,
    ) -> Result<()> {
        self.writer()?;
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or(Refusal::FileTooLarge)?;
        if end > i64::MAX as u64 {
            return Err(Refusal::FileTooLarge.into());
        }
        if data.is_empty() {
            return Ok(());
        }
        self.name_sealed(
            origin,
            (offset, &data),
            |view, _, context, parts| {
                content::write_blocks(view, *context, inode, parts.to_vec(), privileges, times)
            },
            |_, _| (),
        )
        .await
    }

    /// Makes a file with all its content, in one transaction.
    pub(crate) async fn write_whole(
        &self,
        origin: Origin,
        place: (Inode, &[u8]),
        content: &Bytes,
        owner: Owner,
        taken: IfTaken,
    ) -> Result<()> {
        let inode = self.allocate(place.0)?;
        let make = |view: &View<'_, Pinned<'_>>,
                    core: &Core,
                    context: &Context,
                    parts: &[(u64, Piece)]| {
            let device = core.device()?;
            let open = |inode| core.handles.state(inode);
            let whole = Whole {
                inode,
                parts,
                owner,
            };
            namespace::make_whole(view, *context, place, whole, taken, open, device)
        };
        if content.len() >= blocks::PART as usize {
            // What is refused, or waits in vain for the store, leaves nothing sealed that nobody names.
            let tried = self.query(|view, core| make(view, core, &core.context(), &[]).map(drop));
            tried.await?;
        }
        let note = |core: &mut Core, removed| core.handles.note(removed);
        self.name_sealed(origin, (0, content), make, note).await
    }

    /// Seals content, and runs the operation that names its pieces.
    async fn name_sealed<T>(
        &self,
        origin: Origin,
        (offset, data): (u64, &Bytes),
        mut operation: impl FnMut(
            &View<'_, Pinned<'_>>,
            &Core,
            &Context,
            &[(u64, Piece)],
        ) -> Step<Outcome<T>>,
        finish: impl FnOnce(&mut Core, T),
    ) -> Result<()> {
        let writer = self.writer()?;
        self.admit(writer, Demand::Grow(data.len() as u64)).await?;
        // From here until the blocks are named, no fold may forget the pack they are in.
        let lease = self.core().lease.clone();
        let parts = seal_blocks(writer, offset, data)?;
        fault::point("write.sealed");
        let named = self
            .run(
                origin,
                |view, core, context| operation(view, core, context, &parts),
                |core, value| {
                    drop(lease);
                    finish(core, value);
                },
            )
            .await;
        fault::point("write.accepted");
        named
    }
}

/// The pieces of a write, ascending: (block index, piece).
fn seal_blocks(writer: &Writer, offset: u64, data: &Bytes) -> Result<Vec<(u64, Piece)>> {
    let size = u64::from(BLOCK);
    let end = offset + data.len() as u64;
    let mut parts = Vec::with_capacity(data.len() / BLOCK as usize + 2);
    let mut done = 0;
    for index in offset / size..end.div_ceil(size) {
        let begin = index * size;
        let within = offset.saturating_sub(begin) as u32..(end - begin).min(size) as u32;
        let is_sealed = within == (0..BLOCK) || blocks::is_frame(index, &within);
        let ranges = match is_sealed {
            true => blocks::frames_of(index, within).collect(),
            false => vec![within],
        };
        for Range { start: at, end } in ranges {
            let len = end - at;
            let bytes = &data[done..done + len as usize];
            let content = if is_sealed {
                let pointer = writer.packs.append(bytes);
                Content::Frame(pointer.map_err(Error::refusing_changes)?)
            } else {
                // A copy, so that a small piece does not hold a whole request in memory.
                Content::Bytes(Bytes::copy_from_slice(bytes))
            };
            let piece = Piece {
                at,
                len,
                skip: 0,
                content,
            };
            parts.push((index, piece));
            done += len as usize;
        }
    }
    Ok(parts)
}
