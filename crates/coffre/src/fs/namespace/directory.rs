//! Directories: listing them, and the way up.

use coffre_format::id::Inode;
use coffre_format::record::Entry;
use coffre_format::record::FileKind;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::error::Refusal;
use crate::fs::namespace::attributes;
use crate::fs::namespace::checks;
use crate::fs::namespace::view::Gather;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::types::Attributes;
use crate::fs::types::Listed;
use crate::tree::Resident;

/// Names that one path may have before it is taken for a circle.
const DEPTH_MAX: usize = 4096;

/// Up to `limit` entries after this name, in order of their bytes (without `.` and `..`).
///
/// The attributes of all of them are one Need. Cookies belong to the handle: they are 0 here.
pub fn list<R: Resident>(
    view: &View<R>,
    directory: Inode,
    after: Option<&[u8]>,
    limit: usize,
    with_attributes: bool,
) -> Step<Vec<Listed>> {
    checks::directory(view, directory)?;
    let (first, end) = Key::tagged(directory, tag::ENTRY);
    let start = after.map_or(first, |name| Key::entry(directory, name).successor());
    let found = view.scan(&start, &end, limit)?;
    let mut listed = Vec::with_capacity(found.len());
    for (key, value) in found {
        let Value::Record(Record::Entry(Entry { inode, kind })) = &*value else {
            continue;
        };
        listed.push(Listed {
            cookie: 0,
            name: key.rest().to_vec(),
            inode: *inode,
            kind: *kind,
            attributes: None,
        });
    }
    if with_attributes {
        let mut gather = Gather::default();
        for child in &mut listed {
            // An entry whose inode is gone must not hide its siblings.
            let known = gather.take(attributes::if_known(view, child.inode))?;
            child.attributes = known.flatten();
        }
        gather.done()?;
    }
    Ok(listed)
}

/// An entry, and the attributes of what it leads to, if that is there.
pub type Found = (Entry, Option<Attributes>);

/// What stands under these names of a directory now, with its attributes; `None` where nothing does.
pub fn again<'a, R: Resident>(
    view: &View<R>,
    directory: Inode,
    names: impl Iterator<Item = &'a [u8]>,
) -> Step<Vec<Option<Found>>> {
    let mut gather = Gather::default();
    let mut found = Vec::new();
    for name in names {
        let entry = gather.take(view.entry(directory, name))?.flatten();
        let attributes = match &entry {
            Some(entry) => gather
                .take(attributes::if_known(view, entry.inode))?
                .flatten(),
            None => None,
        };
        found.push(entry.map(|entry| (entry, attributes)));
    }
    gather.done()?;
    Ok(found)
}

/// The directory that holds this one; the root holds itself.
pub fn parent_of<R: Resident>(view: &View<R>, directory: Inode) -> Step<Inode> {
    if directory == Inode::ROOT {
        return Ok(Inode::ROOT);
    }
    match view.links(directory, 1)?.pop() {
        Some((parent, _)) if view.inode(directory)?.kind == FileKind::Directory => Ok(parent),
        Some(_) => Err(Refusal::NotDirectory.into()),
        None => Err(Refusal::NoEntry.into()),
    }
}

/// One path that leads to an inode (`/a/b`); `Stale` if it has no name.
pub fn path_of<R: Resident>(view: &View<R>, inode: Inode) -> Step<Vec<u8>> {
    let mut names = Vec::new();
    let mut at = inode;
    while at != Inode::ROOT {
        let Some((parent, name)) = view.links(at, 1)?.pop() else {
            return Err(Refusal::Stale.into());
        };
        names.push(name);
        if names.len() > DEPTH_MAX {
            return Err(Refusal::Loop.into());
        }
        at = parent;
    }
    if names.is_empty() {
        return Ok(b"/".to_vec());
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Ok(path)
}
