//! Files that are made with all their content, in one step.

use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::record::Block;
use coffre_format::record::FileKind;
use coffre_format::record::Piece;

use crate::fs::namespace::checks;
use crate::fs::namespace::content;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::entries::InodeOpen;
use crate::fs::namespace::entries::Removed;
use crate::fs::namespace::entries::made_in;
use crate::fs::namespace::entries::new_record;
use crate::fs::namespace::unnamed::replaceable;
use crate::fs::namespace::unnamed::resemble;
use crate::fs::namespace::unnamed::take_name;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::types::IfTaken;
use crate::fs::types::Make;
use crate::fs::types::Owner;
use crate::tree::Resident;

/// A file that is not there yet: its number, which was never used, and the pieces of its content from its beginning on,
/// without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// Its number.
    pub inode: Inode,
    /// (block index, piece), ascending.
    pub parts: &'a [(u64, Piece)],
    /// Whose it is, unless it takes the place of another one.
    pub owner: Owner,
}

/// Makes a file with its content under a name. What has the name loses it, if it may be replaced, and hands on who may do what
/// with it, as [`put_in_place`](super::put_in_place) says; the two have the same result.
pub fn make_whole<R: Resident>(
    view: &View<R>,
    context: Context,
    (parent, name): (Inode, &[u8]),
    whole: Whole<'_>,
    taken: IfTaken,
    open: impl Fn(Inode) -> InodeOpen,
    device: DeviceId,
) -> Step<Outcome<Option<Removed>>> {
    let inode = whole.inode;
    checks::name(name)?;
    checks::living(view, parent)?;
    let old = replaceable(view, (parent, name), taken)?;
    let resembled = old.filter(|old| old.kind == FileKind::Regular);
    let mut draft = Draft::new(view, context);
    draft.modified(parent)?;
    let mut record = match resembled {
        Some(_) => new_record(context, &Make::File, whole.owner)?,
        None => made_in(&mut draft, parent, inode, &Make::File, whole.owner)?,
    };
    let end = whole.parts.last();
    let end = end.map(|(index, piece)| content::end_of(*index, piece));
    record.size = content::check_end(end.unwrap_or(Some(0)))?;
    draft.add(inode, record);
    if let Some(old) = resembled {
        resemble(&mut draft, inode, old.inode)?;
    }
    for parts in whole.parts.chunk_by(|one, other| one.0 == other.0) {
        let pieces = parts.iter().map(|(_, piece)| piece.clone()).collect();
        let index = parts.first().map_or(0, |(index, _)| *index);
        draft.put_block(inode, index, Block { pieces });
    }
    let removed = take_name(&mut draft, (parent, name), inode, old, open, device)?;
    draft.finish(removed)
}
