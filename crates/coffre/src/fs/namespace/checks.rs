//! What several operations refuse: names that cannot be, things that are not directories.

use coffre_format::id::Inode;
use coffre_format::record::Entry;
use coffre_format::record::FileKind;
use coffre_format::record::Key;
use coffre_format::record::tag;

use crate::error::Refusal;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::tree::Resident;

/// Longest name, in bytes.
const NAME_MAX: usize = 255;

/// The entry; if there is none, why.
pub(super) fn existing<R: Resident>(view: &View<R>, parent: Inode, name: &[u8]) -> Step<Entry> {
    if let Some(entry) = view.entry(parent, name)? {
        return Ok(entry);
    }
    directory(view, parent)?;
    Err(Refusal::NoEntry.into())
}

pub(super) fn directory<R: Resident>(view: &View<R>, inode: Inode) -> Step<()> {
    if view.inode(inode)?.kind != FileKind::Directory {
        return Err(Refusal::NotDirectory.into());
    }
    Ok(())
}

/// A directory that was removed while it was open takes no new names.
pub(super) fn living<R: Resident>(view: &View<R>, inode: Inode) -> Step<()> {
    directory(view, inode)?;
    if inode != Inode::ROOT && view.links(inode, 1)?.is_empty() {
        return Err(Refusal::NoEntry.into());
    }
    Ok(())
}

pub(super) fn empty<R: Resident>(view: &View<R>, directory: Inode) -> Step<()> {
    let (start, end) = Key::tagged(directory, tag::ENTRY);
    if !view.keys(&start, &end, 1)?.is_empty() {
        return Err(Refusal::NotEmpty.into());
    }
    Ok(())
}

/// Refuses what can be no name: empty, `.`, `..`, with `/` or NUL, too long.
pub(super) fn name(name: &[u8]) -> Result<(), Refusal> {
    length(name)?;
    let forbidden = name.iter().any(|byte| matches!(byte, b'/' | 0));
    if name.is_empty() || name == b"." || name == b".." || forbidden {
        return Err(Refusal::Invalid);
    }
    Ok(())
}

pub(super) fn length(name: &[u8]) -> Result<(), Refusal> {
    if name.len() > NAME_MAX {
        return Err(Refusal::NameTooLong);
    }
    Ok(())
}
