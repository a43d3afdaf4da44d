//! What makes a program more than its user: set-id bits and capabilities, which go when it changes.

use coffre_format::id::Inode;
use coffre_format::record::Key;

use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::view::Step;
use crate::tree::Resident;

/// The attribute that gives a program capabilities.
const CAPABILITY: &[u8] = b"security.capability";

/// What a write does to set-id bits and capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// Leaves them.
    Keep,
    /// Takes them away.
    Clear,
}

/// Takes set-user-id, set-group-id and capabilities from a program.
pub(super) fn clear<R: Resident>(draft: &mut Draft<R>, inode: Inode) -> Step<()> {
    let record = draft.inode(inode)?;
    record.mode &= !0o4000;
    // Without group execution the bit means mandatory locking, not privilege.
    if record.mode & 0o010 != 0 {
        record.mode &= !0o2000;
    }
    let capability = Key::xattr(inode, CAPABILITY);
    if draft.view.get(&capability)?.is_some() {
        draft.delete(capability);
    }
    Ok(())
}
