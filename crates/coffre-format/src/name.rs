//! Names of objects in a store.
use crate::error::Result;
use crate::id::DeviceId;
use crate::id::PackName;
use crate::id::Seq;
use crate::id::SlotId;

/// An object's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// `vault`
    Vault,
    /// `keys/<slot-id>`
    Slot(SlotId),
    /// `packs/<2 hex>/<pack name>`
    Pack(PackName),
    /// `commits/<device-id>/<16 hex of 2^64−1−seq>.<32 hex of the commit hash's first 16 bytes>`
    Commit {
        /// Whose chain.
        device: DeviceId,
        /// Place in it.
        seq: Seq,
        /// First 16 bytes of the commit hash.
        hash: [u8; 16],
    },
    /// `inventory/<device-id>/<seq>.<hash>`
    Inventory {
        /// Whose chain.
        device: DeviceId,
        /// Floor it goes up to.
        seq: Seq,
        /// First 16 bytes of BLAKE3 of the object.
        hash: [u8; 16],
    },
}
impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
impl std::str::FromStr for ObjectName {
    type Err = crate::error::FormatError;
    fn from_str(name: &str) -> Result<Self> {
        todo!()
    }
}
