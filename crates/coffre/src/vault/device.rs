//! This state folder as a device: its key, and giving a chain up that somebody else writes too.

use coffre_format::anchor::Anchor;
use coffre_format::crypto::sign::DeviceKey;
use coffre_format::id::DeviceId;
use coffre_format::record::DeviceRecord;
use coffre_format::record::DeviceState;

use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::vault::Access;
use crate::vault::Vault;

#[doc(hidden)]
impl Vault {
    /// Makes this state folder a device: generates and anchors its key. Returns the record to put
    /// under the tree's inode 0; it becomes known with the first publish.
    ///
    /// Until that publish it may be called again (after a crash lost the record) and answers the same.
    pub fn enrol(&self, name: &str) -> Result<(DeviceId, DeviceRecord)> {
        if self.access() == Access::ReadOnly {
            return Err(Refusal::ReadOnly.into());
        }
        let mut memory = self.memory();
        let key = match &memory.anchor.device_key {
            Some(key) => key.clone(),
            None => {
                let key = DeviceKey::generate().map_err(Error::Secret)?;
                memory.anchor.device_key = Some(key.clone());
                memory.anchor.last = None;
                // On the disk before anything is signed: a key that is lost with a commit in the
                // store would leave a chain that nobody can continue.
                self.save(&mut memory)?;
                key
            }
        };
        let record = DeviceRecord {
            public_key: key.public(),
            epoch: memory.ring.current().epoch,
            name: name.to_owned(),
            state: DeviceState::Active,
        };
        Ok((key.device(self.inner.id), record))
    }
}

/// Gives a device id up: its chain is never written again.
pub(super) fn retire(anchor: &mut Anchor, device: DeviceId) {
    if !anchor.retired.contains(&device) {
        anchor.retired.push(device);
    }
    anchor.device_key = None;
    anchor.last = None;
    anchor.intent = None;
}
