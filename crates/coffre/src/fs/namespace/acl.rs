//! POSIX access lists: what a directory's default list gives to new files, and list and mode in step.
//!
//! A list is an extended attribute in Linux's layout: version u32 LE = 2, then entries of
//! tag u16, permissions u16, id u32. The kernel enforces it; here it is only kept true:
//! the mode's group bits are the list's mask, in both directions.

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;

use crate::error::Refusal;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::view::Step;
use crate::tree::Resident;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
const SYSTEM: &[u8] = b"system.";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whether an attribute is kept as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is stored.
    Yes,
    /// It says no more than the mode: none is stored, one that was there goes.
    No,
}

/// Gives a new inode what its directory's default list says; its mode follows. Without one the umask holds.
pub(super) fn inherit<R: Resident>(
    draft: &mut Draft<R>,
    parent: Inode,
    inode: Inode,
    record: &mut InodeRecord,
    umask: u32,
) -> Step<()> {
    if record.kind == FileKind::Symlink {
        return Ok(());
    }
    let Some(default) = draft.view.xattr(parent, DEFAULT)? else {
        record.mode &= !(umask & 0o777);
        return Ok(());
    };
    let mut list = List::parse(&default)?;
    record.mode = list.restrict(record.mode);
    if list.says_more_than_mode() {
        draft.put(Key::xattr(inode, ACCESS), Record::Xattr(list.encode()));
    }
    if record.kind == FileKind::Directory {
        draft.put(Key::xattr(inode, DEFAULT), Record::Xattr(default));
    }
    Ok(())
}

/// Brings an access list in step with a mode that was set.
pub(super) fn follow_mode<R: Resident>(draft: &mut Draft<R>, inode: Inode, mode: u32) -> Step<()> {
    if let Some(value) = draft.view.xattr(inode, ACCESS)? {
        let mut list = List::parse(&value)?;
        list.follow(mode);
        draft.put(Key::xattr(inode, ACCESS), Record::Xattr(list.encode()));
    }
    Ok(())
}

/// Checks an attribute that is to be set, and brings the mode in step with an access list.
pub(super) fn accept<R: Resident>(
    draft: &mut Draft<R>,
    inode: Inode,
    name: &[u8],
    value: &Bytes,
) -> Step<Kept> {
    if name != ACCESS && name != DEFAULT {
        if name.starts_with(SYSTEM) {
            return Err(Refusal::Unsupported.into());
        }
        return Ok(Kept::Yes);
    }
    let record = draft.inode(inode)?;
    if record.kind == FileKind::Symlink {
        return Err(Refusal::Unsupported.into());
    }
    let list = List::parse(value)?;
    if name == DEFAULT {
        if record.kind != FileKind::Directory {
            return Err(Refusal::NotPermitted.into());
        }
        let kept = if list.0.is_empty() {
            Kept::No
        } else {
            Kept::Yes
        };
        return Ok(kept);
    }
    if !list.0.is_empty() {
        record.mode = (record.mode & !0o777) | list.mode();
    }
    Ok(if list.says_more_than_mode() {
        Kept::Yes
    } else {
        Kept::No
    })
}

/// An access list: (tag, permissions, id), in the order of the attribute.
struct List(Vec<(u16, u16, u32)>);

impl List {
    fn parse(mut bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.is_empty() {
            return Ok(Self(Vec::new()));
        }
        if bytes.len() < 4 || bytes.get_u32_le() != VERSION || !bytes.len().is_multiple_of(8) {
            return Err(Refusal::Invalid);
        }
        let mut entries = Vec::new();
        while bytes.has_remaining() {
            entries.push((bytes.get_u16_le(), bytes.get_u16_le(), bytes.get_u32_le()));
        }
        let list = Self(entries);
        if list.is_valid() {
            Ok(list)
        } else {
            Err(Refusal::Invalid)
        }
    }

    /// One entry for owner, group and others each, and a mask where someone else is named; tags ascend.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.0 == tag).count();
        let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];
        let well_formed = self
            .0
            .iter()
            .all(|(tag, permissions, _)| known.contains(tag) && permissions & !0o7 == 0);
        let named = count(USER) + count(GROUP);
        let one_each = [USER_OBJ, GROUP_OBJ, OTHER]
            .iter()
            .all(|tag| count(*tag) == 1);
        let mask = count(MASK) == 1 || (count(MASK) == 0 && named == 0);
        self.0.is_empty()
            || (well_formed && one_each && mask && self.0.is_sorted_by_key(|entry| entry.0))
    }

    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(4 + 8 * self.0.len());
        bytes.put_u32_le(VERSION);
        for (tag, permissions, id) in &self.0 {
            bytes.put_u16_le(*tag);
            bytes.put_u16_le(*permissions);
            bytes.put_u32_le(*id);
        }
        bytes.freeze()
    }

    fn says_more_than_mode(&self) -> bool {
        let more = |tag: u16| matches!(tag, USER | GROUP | MASK);
        self.0.iter().any(|(tag, ..)| more(*tag))
    }

    /// The permission bits that the list amounts to.
    fn mode(&self) -> u32 {
        let classes = self.classes();
        let bits = self.0.iter().map(|(tag, permissions, _)| {
            let shift = classes.shift(*tag);
            shift.map_or(0, |shift| u32::from(*permissions) << shift)
        });
        bits.fold(0, |mode, bits| mode | bits)
    }

    /// Sets the classes' permissions from a mode.
    fn follow(&mut self, mode: u32) {
        let classes = self.classes();
        for (tag, permissions, _) in &mut self.0 {
            if let Some(shift) = classes.shift(*tag) {
                *permissions = (mode >> shift & 0o7) as u16;
            }
        }
    }

    /// Takes from list and mode what the other does not grant; the mode that results.
    fn restrict(&mut self, mode: u32) -> u32 {
        if self.0.is_empty() {
            return mode;
        }
        let classes = self.classes();
        for (tag, permissions, _) in &mut self.0 {
            if let Some(shift) = classes.shift(*tag) {
                *permissions &= (mode >> shift & 0o7) as u16;
            }
        }
        (mode & !0o777) | self.mode()
    }

    fn classes(&self) -> Classes {
        let masked = self.0.iter().any(|(tag, ..)| *tag == MASK);
        Classes {
            group: if masked { MASK } else { GROUP_OBJ },
        }
    }
}

/// Which entry stands for the mode's group bits.
struct Classes {
    group: u16,
}

impl Classes {
    fn shift(&self, tag: u16) -> Option<u32> {
        match tag {
            USER_OBJ => Some(6),
            OTHER => Some(0),
            _ if tag == self.group => Some(3),
            _ => None,
        }
    }
}
