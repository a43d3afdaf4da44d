//! What makes a program more than its user: set-id bits and capabilities, which go when it changes.

use coffre_format::id::Inode;
use coffre_format::record::Key;

use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::view::Step;
use crate::tree::Resident;

/// The attribute that gives a program capabilities.
pub(super) const CAPABILITY: &[u8] = b"security.capability";

/// What changing a program does to its set-id bits. Its capabilities go in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privileges {
    /// Leaves them: who changes it could set them again.
    KeepSetId,
    /// Takes them away.
    #[default]
    Clear,
}

/// Takes capabilities, and set-user-id and set-group-id where that is asked for, from a program; answers whether it had any.
pub(super) fn clear<R: Resident>(
    draft: &mut Draft<R>,
    inode: Inode,
    privileges: Privileges,
) -> Step<bool> {
    let mut had = false;
    if privileges == Privileges::Clear {
        let record = draft.inode(inode)?;
        let before = record.mode;
        record.mode &= !0o4000;
        // Without group execution the bit means mandatory locking, not privilege.
        if record.mode & 0o010 != 0 {
            record.mode &= !0o2000;
        }
        had = record.mode != before;
    }
    let capability = Key::xattr(inode, CAPABILITY);
    if draft.view.get(&capability)?.is_some() {
        draft.delete(capability);
        had = true;
    }
    Ok(had)
}
