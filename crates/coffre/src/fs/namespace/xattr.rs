//! Extended attributes.

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::tag;

use crate::error::Refusal;
use crate::fs::namespace::acl;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::types::XattrMode;
use crate::tree::Resident;

/// Longest name, in bytes.
const NAME_MAX: usize = 255;
/// Longest value, in bytes.
const VALUE_MAX: usize = 64 * 1024;
/// Attributes of one inode: a file that takes the place of another takes them over in one transaction, which is to stay within
/// memory.
const MOST: usize = 512;
/// Names of one inode with a NUL behind each, in bytes, and so their number: the kernel lists no more, and where there are
/// more, nothing.
pub(super) const LISTED: usize = 64 * 1024;

/// The value of an attribute.
pub fn xattr<R: Resident>(view: &View<R>, inode: Inode, name: &[u8]) -> Step<Bytes> {
    check_name(name)?;
    match view.xattr(inode, name)? {
        Some(value) => Ok(value),
        None => {
            view.inode(inode)?;
            Err(Refusal::NoAttribute.into())
        }
    }
}

/// Sets an attribute. An access list changes the mode as well.
pub fn set_xattr<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    (name, value): (&[u8], Bytes),
    mode: XattrMode,
) -> Step<Outcome<()>> {
    check_name(name)?;
    check_space(name)?;
    if value.len() > VALUE_MAX {
        return Err(Refusal::TooLarge.into());
    }
    let key = Key::xattr(inode, name);
    let mut draft = Draft::new(view, context);
    draft.changed(inode)?;
    let exists = view.get(&key)?.is_some();
    match mode {
        XattrMode::Create if exists => return Err(Refusal::Exists.into()),
        XattrMode::Replace if !exists => return Err(Refusal::NoAttribute.into()),
        _ => {}
    }
    let (start, end) = Key::tagged(inode, tag::XATTR);
    if !exists {
        let names = view.keys(&start, &end, MOST)?;
        let lengths = names.iter().map(|key| key.rest().len());
        let bytes: usize = lengths.chain([name.len()]).map(|length| length + 1).sum();
        if names.len() == MOST || bytes > LISTED {
            return Err(Refusal::NoSpace.into());
        }
    }
    match acl::accept(&mut draft, inode, name, &value)? {
        acl::Kept::Yes => draft.put(key, Record::Xattr(value)),
        acl::Kept::No if exists => draft.delete(key),
        acl::Kept::No => {}
    }
    draft.finish(())
}

/// The names of all attributes, in order of their bytes.
pub fn list_xattrs<R: Resident>(view: &View<R>, inode: Inode) -> Step<Vec<Vec<u8>>> {
    view.inode(inode)?;
    let (start, end) = Key::tagged(inode, tag::XATTR);
    let keys = view.keys(&start, &end, LISTED)?;
    Ok(keys.iter().map(|key| key.rest().to_vec()).collect())
}

/// Removes an attribute.
pub fn remove_xattr<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    name: &[u8],
) -> Step<Outcome<()>> {
    check_name(name)?;
    let key = Key::xattr(inode, name);
    let mut draft = Draft::new(view, context);
    draft.changed(inode)?;
    if view.get(&key)?.is_none() {
        return Err(Refusal::NoAttribute.into());
    }
    draft.delete(key);
    draft.finish(())
}

/// Linux knows four kinds of attributes, and no others can be read back by programs.
fn check_space(name: &[u8]) -> Result<(), Refusal> {
    let spaces: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    match spaces.iter().find_map(|space| name.strip_prefix(*space)) {
        None => Err(Refusal::Unsupported),
        Some([]) => Err(Refusal::Invalid),
        Some(_) => Ok(()),
    }
}

fn check_name(name: &[u8]) -> Result<(), Refusal> {
    if name.len() > NAME_MAX {
        return Err(Refusal::TooLarge);
    }
    if name.is_empty() || name.contains(&0) {
        return Err(Refusal::Invalid);
    }
    Ok(())
}
