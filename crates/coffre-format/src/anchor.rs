//! The anchor: what a device remembers of a vault, so that its store cannot take it back.
use crate::commit::Point;
use crate::commit::Vector;
use crate::crypto::key::Keyring;
use crate::crypto::sign::DeviceKey;
use crate::error::Result;
use crate::id::*;
use crate::keyslot::KdfParams;

/// A commit that may be in the store already; only these bytes may ever stand under its seq.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its place.
    pub point: Point,
    /// The whole object.
    pub bytes: Vec<u8>,
}
/// The clear part: enough to know the vault and to unlock without the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorHeader {
    /// Vault.
    pub vault: VaultId,
    /// Epoch of the anchor key.
    pub epoch: Epoch,
    /// Weakest parameters accepted.
    pub kdf_floor: KdfParams,
    /// Copies of the slots (1024 bytes each).
    pub slots: Vec<(SlotId, Vec<u8>)>,
}
/// What the device remembers.
#[derive(Clone)]
pub struct Anchor {
    /// Clear part.
    pub header: AnchorHeader,
    /// Newest commit accepted from each device.
    pub accepted: Vector,
    /// Own last commit.
    pub last: Option<Point>,
    /// Commit being published.
    pub intent: Option<Intent>,
    /// Signs this device's commits; `None` before enrolment.
    pub device_key: Option<DeviceKey>,
    /// Device ids this state folder used before.
    pub retired: Vec<DeviceId>,
    /// Epochs below are refused.
    pub minimum_epoch: Epoch,
    /// Session that wrote last.
    pub session: SessionPrefix,
    /// Last transaction that is published.
    pub lsn: Lsn,
}
impl Anchor {
    /// The file's bytes.
    pub fn seal(&self, ring: &Keyring) -> Result<Vec<u8>> {
        todo!()
    }
    /// Reads the clear part (not authenticated until [`Anchor::open`]).
    pub fn peek(bytes: &[u8]) -> Result<AnchorHeader> {
        todo!()
    }
    /// Opens.
    pub fn open(bytes: &[u8], ring: &Keyring) -> Result<Self> {
        todo!()
    }
}
