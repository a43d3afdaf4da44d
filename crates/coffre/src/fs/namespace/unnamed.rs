//! Files that get their name last: what is written to them shows all at once, or never.

use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::record::Entry;
use coffre_format::record::FileKind;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::error::Refusal;
use crate::fs::namespace::attributes::attributes_of;
use crate::fs::namespace::checks;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::entries::InodeOpen;
use crate::fs::namespace::entries::Removed;
use crate::fs::namespace::entries::attach;
use crate::fs::namespace::entries::drop_name;
use crate::fs::namespace::entries::made_in;
use crate::fs::namespace::entries::orphan_key;
use crate::fs::namespace::privileges;
use crate::fs::namespace::privileges::Privileges;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::namespace::xattr::LISTED;
use crate::fs::types::Attributes;
use crate::fs::types::IfTaken;
use crate::fs::types::Make;
use crate::fs::types::Owner;
use crate::tree::Resident;

/// Makes a file without a name, as it would be made in `parent`. Like every orphan it goes with its last handle, or when its
/// device starts anew, unless it was [put in place](put_in_place).
pub fn make_unnamed<R: Resident>(
    view: &View<R>,
    context: Context,
    parent: Inode,
    inode: Inode,
    owner: Owner,
    device: DeviceId,
) -> Step<Outcome<Attributes>> {
    checks::living(view, parent)?;
    let mut draft = Draft::new(view, context);
    let record = made_in(&mut draft, parent, inode, &Make::File, owner)?;
    let attributes = attributes_of(inode, &record, 0, 0);
    draft.add(inode, record);
    draft.put(orphan_key(device, inode), Record::Orphan);
    draft.finish(attributes)
}

/// Gives an unnamed file its name. What had the name before loses it, if it may be replaced, in the same moment, and hands on
/// who may do what with it: mode, owner, extended attributes.
pub fn put_in_place<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    (parent, name): (Inode, &[u8]),
    taken: IfTaken,
    open: impl Fn(Inode) -> InodeOpen,
    device: DeviceId,
) -> Step<Outcome<Option<Removed>>> {
    checks::name(name)?;
    checks::living(view, parent)?;
    let orphan = orphan_key(device, inode);
    if view.get(&orphan)?.is_none() {
        return Err(Refusal::NoEntry.into());
    }
    if view.inode(inode)?.kind != FileKind::Regular {
        return Err(Refusal::NotPermitted.into());
    }
    let mut draft = Draft::new(view, context);
    draft.modified(parent)?;
    let old = replaceable(view, (parent, name), taken)?;
    if let Some(old) = old.filter(|old| old.kind == FileKind::Regular) {
        resemble(&mut draft, inode, old.inode)?;
    }
    draft.delete(orphan);
    draft.changed(inode)?;
    let removed = take_name(&mut draft, (parent, name), inode, old, open, device)?;
    draft.finish(removed)
}

/// Gives a file a name, and takes that from what has it.
pub(super) fn take_name<R: Resident>(
    draft: &mut Draft<R>,
    place: (Inode, &[u8]),
    inode: Inode,
    old: Option<Entry>,
    open: impl Fn(Inode) -> InodeOpen,
    device: DeviceId,
) -> Step<Option<Removed>> {
    let removed = match old {
        None => None,
        Some(old) => Some(drop_name(draft, place, old, open(old.inode), device)?),
    };
    attach(draft, place, inode, FileKind::Regular);
    Ok(removed)
}

/// What has a name that a file is to get, if it may lose it.
pub(super) fn replaceable<R: Resident>(
    view: &View<R>,
    (parent, name): (Inode, &[u8]),
    taken: IfTaken,
) -> Step<Option<Entry>> {
    match view.entry(parent, name)? {
        Some(_) if taken == IfTaken::Refuse => Err(Refusal::Exists.into()),
        Some(old) if old.kind == FileKind::Directory => Err(Refusal::IsDirectory.into()),
        old => Ok(old),
    }
}

/// Takes mode, owner and extended attributes of another file, less what a write takes away.
pub(super) fn resemble<R: Resident>(draft: &mut Draft<R>, inode: Inode, other: Inode) -> Step<()> {
    let view = draft.view;
    let old = view.inode(other)?;
    let record = draft.inode(inode)?;
    (record.mode, record.uid, record.gid) = (old.mode, old.uid, old.gid);
    let (start, end) = Key::tagged(inode, tag::XATTR);
    for key in view.keys(&start, &end, LISTED)? {
        draft.delete(key);
    }
    let (start, end) = Key::tagged(other, tag::XATTR);
    for (key, value) in view.scan(&start, &end, LISTED)? {
        if let Value::Record(Record::Xattr(value)) = &*value
            && key.rest() != privileges::CAPABILITY
        {
            draft.put(Key::xattr(inode, key.rest()), Record::Xattr(value.clone()));
        }
    }
    privileges::clear(draft, inode, Privileges::Clear)?;
    Ok(())
}
