//! Attributes: what `stat` shows, and changing them.

use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Stamp;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::error::Refusal;
use crate::fs::blocks;
use crate::fs::namespace::LINKS;
use crate::fs::namespace::SPARSE;
use crate::fs::namespace::acl;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::privileges;
use crate::fs::namespace::privileges::Privileges;
use crate::fs::namespace::ranges;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::namespace::view::index_of;
use crate::fs::types::Attributes;
use crate::fs::types::SetAttributes;
use crate::fs::types::SetTime;
use crate::tree::Resident;

/// Blocks of a sparse file that are counted for `stat`; beyond them the share is assumed to go on.
const COUNTED: usize = 1024;

/// Attributes of an inode; `Stale` if it is gone.
pub fn attributes<R: Resident>(view: &View<R>, inode: Inode) -> Step<Attributes> {
    if_known(view, inode)?.ok_or_else(|| Refusal::Stale.into())
}

impl<R: Resident> View<'_, R> {
    /// As [`attributes`].
    pub fn attributes(&self, inode: Inode) -> Step<Attributes> {
        attributes(self, inode)
    }
}

/// Attributes of an inode, if there is one.
pub(super) fn if_known<R: Resident>(view: &View<R>, inode: Inode) -> Step<Option<Attributes>> {
    // The record and its links lie side by side, so this is one look.
    let (_, end) = Key::tagged(inode, tag::LINK);
    let found = view.scan(&Key::inode(inode), &end, LINKS + 1)?;
    let mut found = found.iter();
    let Some((_, value)) = found.next() else {
        return Ok(None);
    };
    let Value::Record(Record::Inode(record)) = &**value else {
        return Ok(None);
    };
    let names = found.count();
    let nlink = match record.kind {
        FileKind::Directory if names == 0 && inode != Inode::ROOT => 0,
        FileKind::Directory => record.subdirectories.saturating_add(2),
        _ => u32::try_from(names).unwrap_or(u32::MAX),
    };
    let allocated = allocated(view, inode, record)?;
    Ok(Some(attributes_of(inode, record, nlink, allocated)))
}

/// Attributes from their parts.
pub(super) fn attributes_of(
    inode: Inode,
    record: &InodeRecord,
    nlink: u32,
    allocated: u64,
) -> Attributes {
    Attributes {
        inode,
        kind: record.kind,
        mode: record.mode,
        nlink,
        uid: record.uid,
        gid: record.gid,
        size: record.size,
        allocated,
        atime: record.atime,
        mtime: record.mtime,
        ctime: record.ctime,
        btime: record.btime,
        rdev: record.rdev,
        version: version_of(record.stamp),
    }
}

/// The clock counts each change that a device makes or sees; what two devices make apart differs by the device.
pub(super) fn version_of(stamp: Stamp) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = stamp.device.0;
    stamp.lamport ^ u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Changes attributes; a new size cuts or extends the content.
pub fn set_attributes<R: Resident>(
    view: &View<R>,
    context: Context,
    inode: Inode,
    set: &SetAttributes,
) -> Step<Outcome<Attributes>> {
    let mut draft = Draft::new(view, context);
    let before = attributes(view, inode)?;
    let mut is_changed = set.is_more_than_size();
    if let Some(size) = set.size {
        ranges::truncate(&mut draft, inode, size)?;
        let cleared = privileges::clear(&mut draft, inode, set.privileges)?;
        // What is given the size that it has is as it was.
        is_changed |= cleared || size != before.size;
    }
    if (set.uid.is_some() || set.gid.is_some()) && before.kind != FileKind::Directory {
        privileges::clear(&mut draft, inode, Privileges::Clear)?;
    }
    let record = draft.inode(inode)?;
    record.uid = set.uid.unwrap_or(record.uid);
    record.gid = set.gid.unwrap_or(record.gid);
    record.atime = time(set.atime, context, record.atime);
    record.mtime = time(set.mtime, context, record.mtime);
    if is_changed {
        record.ctime = set.ctime.unwrap_or(context.now);
    }
    if let Some(mode) = set.mode {
        // After the owner: a mode that is given is meant.
        record.mode = mode & 0o7777;
        let mode = record.mode;
        acl::follow_mode(&mut draft, inode, mode)?;
    }
    let record = draft.inode(inode)?.clone();
    // The old blocks below the new size are the new ones.
    let allocated = allocated(view, inode, &record)?;
    draft.finish(attributes_of(inode, &record, before.nlink, allocated))
}

fn time(set: Option<SetTime>, context: Context, old: Timestamp) -> Timestamp {
    match set {
        None => old,
        Some(SetTime::Now) => context.now,
        Some(SetTime::At(time)) => time,
    }
}

/// Bytes below the size that are not holes, in whole sectors.
fn allocated<R: Resident>(view: &View<R>, inode: Inode, record: &InodeRecord) -> Step<u64> {
    if record.kind != FileKind::Regular {
        return Ok(0);
    }
    if record.flags & SPARSE == 0 {
        return Ok(sectors(record.size));
    }
    let start = Key::block(inode, 0);
    let end = Key::block(inode, record.size.div_ceil(u64::from(BLOCK)));
    let mut bytes = 0;
    let mut seen = 0;
    let counted = view.scan(&start, &end, COUNTED)?;
    for (key, value) in &counted {
        let (Some(index), Value::Record(Record::Block(block))) = (index_of(key), &**value) else {
            continue;
        };
        let begin = index * u64::from(BLOCK);
        let within = record.size.saturating_sub(begin).min(u64::from(BLOCK)) as u32;
        bytes += blocks::stored(&blocks::cut(block, within));
        seen = begin + u64::from(within);
    }
    if counted.len() < COUNTED {
        return Ok(sectors(bytes));
    }
    let share = bytes as f64 / seen as f64;
    Ok(sectors((record.size as f64 * share) as u64))
}

fn sectors(bytes: u64) -> u64 {
    bytes.next_multiple_of(512)
}
