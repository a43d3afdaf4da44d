//! Device keys: Ed25519 signatures under a fixed context.
use crate::error::Result;
use crate::id::*;

/// Signs one device's commits. Never printed; wiped when dropped.
#[derive(Clone)]
pub struct DeviceKey(pub(crate) ed25519_dalek::SigningKey);
impl DeviceKey {
    /// A fresh one.
    pub fn generate() -> Result<Self> {
        todo!()
    }
    /// Its public half.
    pub fn public(&self) -> PublicKey {
        todo!()
    }
    /// Id of the device: H(device, vault id ‖ public key)[..16].
    pub fn device(&self, vault: VaultId) -> DeviceId {
        todo!()
    }
}
/// Id of the device with this key.
pub fn device_id(vault: VaultId, public_key: &PublicKey) -> DeviceId {
    todo!()
}
