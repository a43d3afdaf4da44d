//! The `vault` object: a hint of which vault a store holds.
use crate::error::Result;
use crate::id::VaultId;

/// Content of the `vault` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultHeader {
    /// Format of the vault.
    pub format: u16,
    /// Its id.
    pub vault: VaultId,
}
impl VaultHeader {
    /// The bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        todo!()
    }
}
