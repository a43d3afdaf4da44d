//! Names: looking up, making, linking, unlinking, and the end of an inode.

use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::record::Entry;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;

use crate::error::Refusal;
use crate::fs::namespace::LINKS;
use crate::fs::namespace::acl;
use crate::fs::namespace::attributes;
use crate::fs::namespace::attributes::attributes_of;
use crate::fs::namespace::checks;
use crate::fs::namespace::directory;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::types::Attributes;
use crate::fs::types::Make;
use crate::fs::types::Owner;
use crate::tree::Resident;

/// Longest target of a symbolic link, in bytes.
const TARGET_MAX: usize = 4095;
/// The set-group-id bit: on a directory, what is made inside belongs to its group.
const SET_GID: u32 = 0o2000;

/// Whether an inode whose last name goes is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeOpen {
    /// It lives on without a name until its last handle is released.
    Yes,
    /// It goes with its name.
    No,
}

/// What became of an inode that lost a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has other names.
    Linked,
    /// It is open and nameless: [`reap`] it with the last handle.
    Orphan,
    /// Its records are deleted.
    Gone,
}

/// An inode that lost a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Which one.
    pub inode: Inode,
    /// What became of it.
    pub fate: Fate,
}

/// Attributes of what has this name in the directory (`.` and `..` too).
pub fn lookup<R: Resident>(view: &View<R>, parent: Inode, name: &[u8]) -> Step<Attributes> {
    let inode = match name {
        b"." => parent,
        b".." => directory::parent_of(view, parent)?,
        _ => {
            checks::length(name)?;
            checks::existing(view, parent, name)?.inode
        }
    };
    attributes::attributes(view, inode)
}

/// Makes a file, directory, symbolic link or node; `inode` is a number that was never used.
pub fn make<R: Resident>(
    view: &View<R>,
    context: Context,
    (parent, name): (Inode, &[u8]),
    inode: Inode,
    what: &Make,
    owner: Owner,
) -> Step<Outcome<Attributes>> {
    checks::name(name)?;
    checks::living(view, parent)?;
    if view.entry(parent, name)?.is_some() {
        return Err(Refusal::Exists.into());
    }
    let mut draft = Draft::new(view, context);
    draft.modified(parent)?;
    let record = made_in(&mut draft, parent, inode, what, owner)?;
    if record.kind == FileKind::Directory {
        draft.inode(parent)?.subdirectories += 1;
    }
    let attributes = attributes_of(inode, &record, names_of_new(record.kind), 0);
    attach(&mut draft, (parent, name), inode, record.kind);
    draft.add(inode, record);
    draft.finish(attributes)
}

/// Gives a file another name.
pub fn link<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    (parent, name): (Inode, &[u8]),
) -> Step<Outcome<Attributes>> {
    checks::name(name)?;
    let kind = view.inode(inode)?.kind;
    if kind == FileKind::Directory {
        return Err(Refusal::NotPermitted.into());
    }
    checks::living(view, parent)?;
    if view.entry(parent, name)?.is_some() {
        return Err(Refusal::Exists.into());
    }
    match view.links(inode, LINKS)?.len() {
        // Without a name it is on its way out; it does not come back.
        0 => return Err(Refusal::NoEntry.into()),
        LINKS => return Err(Refusal::TooManyLinks.into()),
        _ => {}
    }
    let mut attributes = attributes::attributes(view, inode)?;
    let mut draft = Draft::new(view, context);
    draft.modified(parent)?;
    draft.changed(inode)?;
    attach(&mut draft, (parent, name), inode, kind);
    attributes.nlink += 1;
    attributes.ctime = context.now;
    attributes.version = attributes::version_of(context.stamp);
    draft.finish(attributes)
}

/// Removes a name that is not a directory's.
pub fn unlink<R: Resident>(
    view: &View<R>,
    context: Context,
    (parent, name): (Inode, &[u8]),
    open: impl Fn(Inode) -> InodeOpen,
    device: DeviceId,
) -> Step<Outcome<Removed>> {
    checks::name(name)?;
    let entry = checks::existing(view, parent, name)?;
    if entry.kind == FileKind::Directory {
        return Err(Refusal::IsDirectory.into());
    }
    let mut draft = Draft::new(view, context);
    draft.modified(parent)?;
    draft.delete(Key::entry(parent, name));
    let removed = drop_name(&mut draft, (parent, name), entry, open(entry.inode), device)?;
    draft.finish(removed)
}

/// Removes an empty directory.
pub fn remove_directory<R: Resident>(
    view: &View<R>,
    context: Context,
    (parent, name): (Inode, &[u8]),
    open: impl Fn(Inode) -> InodeOpen,
    device: DeviceId,
) -> Step<Outcome<Removed>> {
    checks::name(name)?;
    let entry = checks::existing(view, parent, name)?;
    if entry.kind != FileKind::Directory {
        return Err(Refusal::NotDirectory.into());
    }
    checks::empty(view, entry.inode)?;
    let mut draft = Draft::new(view, context);
    let above = draft.modified(parent)?;
    above.subdirectories = above.subdirectories.saturating_sub(1);
    draft.delete(Key::entry(parent, name));
    let removed = drop_name(&mut draft, (parent, name), entry, open(entry.inode), device)?;
    draft.finish(removed)
}

/// Deletes an orphan: its last handle was released, or its device starts anew.
pub fn reap<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    device: DeviceId,
) -> Step<Outcome<()>> {
    let mut draft = Draft::new(view, context);
    let key = orphan_key(device, inode);
    if view.get(&key)?.is_some() {
        // A name says that the record is wrong (a merge gave the file back): then only the record goes.
        if view.links(inode, 1)?.is_empty() {
            draft.delete_all(inode);
        }
        draft.delete(key);
    }
    draft.finish(())
}

/// Up to `limit` orphans of this device.
pub fn orphans<R: Resident>(view: &View<R>, device: DeviceId, limit: usize) -> Step<Vec<Inode>> {
    let start = Key::new(Inode::VAULT, tag::ORPHAN, &device.0);
    let mut end = start.as_bytes().to_vec();
    end.extend_from_slice(&[0xff; 9]);
    let found = view.keys(&start, &Key::from_bytes(&end), limit)?;
    let inode = |key: &Key| key.rest().last_chunk::<8>().copied();
    let numbers = found.iter().filter_map(inode).map(u64::from_be_bytes);
    Ok(numbers.map(Inode).collect())
}

/// Where a symbolic link leads.
pub fn read_link<R: Resident>(view: &View<R>, inode: Inode) -> Step<Vec<u8>> {
    view.inode(inode)?
        .target
        .ok_or_else(|| Refusal::Invalid.into())
}

/// Puts an entry and the way back.
pub(super) fn attach<R: Resident>(
    draft: &mut Draft<R>,
    (parent, name): (Inode, &[u8]),
    inode: Inode,
    kind: FileKind,
) {
    let entry = Entry { inode, kind };
    draft.put(Key::entry(parent, name), Record::Entry(entry));
    draft.put(Key::link(inode, parent, name), Record::Link);
}

/// Takes a name from an inode, and with its last name the inode. The entry is the caller's.
pub(super) fn drop_name<R: Resident>(
    draft: &mut Draft<R>,
    (parent, name): (Inode, &[u8]),
    entry: Entry,
    open: InodeOpen,
    device: DeviceId,
) -> Step<Removed> {
    let inode = entry.inode;
    let last = draft.view.links(inode, 2)?.len() < 2;
    let known = draft.view.get(&Key::inode(inode))?.is_some();
    let fate = match (last, open) {
        (false, _) => Fate::Linked,
        (true, InodeOpen::Yes) if known => Fate::Orphan,
        (true, _) => Fate::Gone,
    };
    if fate == Fate::Gone {
        draft.delete_all(inode);
        return Ok(Removed { inode, fate });
    }
    draft.delete(Key::link(inode, parent, name));
    draft.changed(inode)?;
    if fate == Fate::Orphan {
        draft.put(orphan_key(device, inode), Record::Orphan);
    }
    Ok(Removed { inode, fate })
}

/// The edits by which one device's orphan becomes another's.
pub fn hand_over(inode: Inode, from: DeviceId, to: DeviceId) -> [Edit; 2] {
    [
        Edit::Delete(orphan_key(from, inode)),
        Edit::Put(orphan_key(to, inode), Value::Record(Record::Orphan)),
    ]
}

pub(super) fn orphan_key(device: DeviceId, inode: Inode) -> Key {
    let mut rest = device.0.to_vec();
    rest.extend_from_slice(&inode.0.to_be_bytes());
    Key::new(Inode::VAULT, tag::ORPHAN, &rest)
}

fn names_of_new(kind: FileKind) -> u32 {
    if kind == FileKind::Directory { 2 } else { 1 }
}

/// The record of something new, with what it takes over from the directory that it is made in.
pub(super) fn made_in<R: Resident>(
    draft: &mut Draft<R>,
    parent: Inode,
    inode: Inode,
    what: &Make,
    owner: Owner,
) -> Step<InodeRecord> {
    let mut record = new_record(draft.context, what, owner)?;
    let above = draft.look(parent)?;
    if above.mode & SET_GID != 0 {
        record.gid = above.gid;
        if record.kind == FileKind::Directory {
            record.mode |= SET_GID;
        }
    }
    acl::inherit(draft, parent, inode, &mut record, owner.umask)?;
    Ok(record)
}

pub(super) fn new_record(
    context: Context,
    what: &Make,
    owner: Owner,
) -> Result<InodeRecord, Refusal> {
    let (kind, rdev, target) = match what {
        Make::File => (FileKind::Regular, 0, None),
        Make::Directory => (FileKind::Directory, 0, None),
        Make::Symlink(target) if target.len() > TARGET_MAX => return Err(Refusal::NameTooLong),
        Make::Symlink(target) if target.is_empty() => return Err(Refusal::NoEntry),
        Make::Symlink(target) if target.contains(&0) => return Err(Refusal::Invalid),
        Make::Symlink(target) => (FileKind::Symlink, 0, Some(target.clone())),
        Make::Special(kind, rdev) => match kind {
            FileKind::CharDevice | FileKind::BlockDevice => (*kind, *rdev, None),
            FileKind::Fifo | FileKind::Socket | FileKind::Regular => (*kind, 0, None),
            FileKind::Directory | FileKind::Symlink => return Err(Refusal::Invalid),
        },
    };
    let mode = if kind == FileKind::Symlink {
        0o777
    } else {
        owner.mode & 0o7777
    };
    Ok(InodeRecord {
        kind,
        mode,
        uid: owner.uid,
        gid: owner.gid,
        size: target.as_ref().map_or(0, |target| target.len() as u64),
        atime: context.now,
        mtime: context.now,
        ctime: context.now,
        btime: context.now,
        rdev,
        flags: 0,
        target,
        subdirectories: 0,
        stamp: context.stamp,
    })
}
