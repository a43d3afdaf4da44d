//! The anchor: what a device remembers of a vault, so that its store cannot take it back.
//!
//! ```text
//!  clear header (magic 8 ‖ version ‖ length u32 ‖ postcard) ‖ nonce 24 ‖ sealed body ‖ tag 16
//! ```

use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::codec::Cursor;
use crate::codec::decode;
use crate::codec::encode;
use crate::commit::Point;
use crate::commit::Vector;
use crate::crypto::key::Keyring;
use crate::crypto::seal::Label;
use crate::crypto::seal::open;
use crate::crypto::seal::seal;
use crate::crypto::sign::DeviceKey;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::DeviceId;
use crate::id::Epoch;
use crate::id::Lsn;
use crate::id::SessionPrefix;
use crate::id::SlotId;
use crate::id::VaultId;
use crate::keyslot::KdfParams;
use crate::keyslot::SLOT_LENGTH;

const MAGIC: [u8; 8] = *b"coffreA1";
const WHAT: &str = "anchor";

/// A commit that may be in the store already; only these bytes may ever stand under its seq.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Serialize, Deserialize)]
struct HeaderWire {
    vault: VaultId,
    epoch: Epoch,
    kdf_floor: (u32, u32, u32),
    slots: Vec<(SlotId, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
struct BodyWire {
    accepted: Vector,
    last: Option<Point>,
    intent: Option<Intent>,
    /// The key's seed, sealed once more under the device key's own label and purpose key.
    device_key: Option<Vec<u8>>,
    retired: Vec<DeviceId>,
    minimum_epoch: Epoch,
    session: SessionPrefix,
    lsn: Lsn,
}

impl Anchor {
    /// The file's bytes.
    pub fn seal(&self, ring: &Keyring) -> Result<Vec<u8>> {
        let keys = ring.epoch(self.header.epoch)?;
        let KdfParams { m, t, p } = self.header.kdf_floor;
        let wire = HeaderWire {
            vault: self.header.vault,
            epoch: self.header.epoch,
            kdf_floor: (m, t, p),
            slots: self.header.slots.clone(),
        };
        let header = encode(&wire);
        let mut clear = MAGIC.to_vec();
        clear.extend_from_slice(&(header.len() as u32).to_le_bytes());
        clear.extend_from_slice(&header);
        let sealed_key = self.device_key.as_ref().map(|key| {
            seal(
                &keys.device_key,
                Label::DEVICE_KEY,
                &self.header.vault.0,
                key.to_bytes().as_ref(),
            )
        });
        let body = BodyWire {
            accepted: self.accepted.clone(),
            last: self.last,
            intent: self.intent.clone(),
            device_key: sealed_key,
            retired: self.retired.clone(),
            minimum_epoch: self.minimum_epoch,
            session: self.session,
            lsn: self.lsn,
        };
        let sealed = seal(&keys.anchor, Label::ANCHOR, &clear, &encode(&body));
        clear.extend_from_slice(&sealed);
        Ok(clear)
    }

    /// Reads the clear part (not authenticated until [`Anchor::open`]).
    pub fn peek(bytes: &[u8]) -> Result<AnchorHeader> {
        split(bytes).map(|(header, _, _)| header)
    }

    /// Opens.
    pub fn open(bytes: &[u8], ring: &Keyring) -> Result<Self> {
        let (header, clear, sealed) = split(bytes)?;
        if header.vault != ring.vault() {
            return Err(FormatError::Forged { what: WHAT });
        }
        let keys = ring.epoch(header.epoch)?;
        let plaintext = open(&keys.anchor, Label::ANCHOR, clear, sealed, WHAT)?;
        let body: BodyWire = decode(&plaintext, WHAT)?;
        let device_key = match body.device_key {
            None => None,
            Some(sealed) => {
                let seed: Zeroizing<Vec<u8>> = open(
                    &keys.device_key,
                    Label::DEVICE_KEY,
                    &header.vault.0,
                    &sealed,
                    "device key",
                )?;
                let (seed, rest) = seed
                    .split_first_chunk::<32>()
                    .ok_or(FormatError::Truncated { what: "device key" })?;
                if !rest.is_empty() {
                    return Err(FormatError::Malformed {
                        what: "device key",
                        why: "more stands behind it",
                    });
                }
                Some(DeviceKey::from_bytes(seed))
            }
        };
        Ok(Self {
            header,
            accepted: body.accepted,
            last: body.last,
            intent: body.intent,
            device_key,
            retired: body.retired,
            minimum_epoch: body.minimum_epoch,
            session: body.session,
            lsn: body.lsn,
        })
    }
}

/// Header, clear bytes, sealed bytes.
fn split(bytes: &[u8]) -> Result<(AnchorHeader, &[u8], &[u8])> {
    let malformed = |why| FormatError::Malformed { what: WHAT, why };
    let mut cursor = Cursor::new(bytes, WHAT);
    if cursor.take::<8>()? != MAGIC {
        return Err(malformed("the magic is not an anchor's"));
    }
    let length = cursor.u32()? as usize;
    let wire: HeaderWire = decode(cursor.slice(length)?, WHAT)?;
    if wire.slots.iter().any(|(_, slot)| slot.len() != SLOT_LENGTH) {
        return Err(malformed("a copy of a slot has another length"));
    }
    let sealed = cursor.rest();
    let clear = bytes.get(..bytes.len() - sealed.len()).unwrap_or_default();
    let (m, t, p) = wire.kdf_floor;
    let header = AnchorHeader {
        vault: wire.vault,
        epoch: wire.epoch,
        kdf_floor: KdfParams { m, t, p },
        slots: wire.slots,
    };
    Ok((header, clear, sealed))
}
