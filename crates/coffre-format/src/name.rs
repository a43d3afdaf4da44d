//! Names of objects in a store.

use std::fmt;
use std::str::FromStr;

use crate::error::FormatError;
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
    /// `inventory/<device-id>/<16 hex of seq>.<hash>`
    Inventory {
        /// Whose chain.
        device: DeviceId,
        /// Floor it goes up to.
        seq: Seq,
        /// First 16 bytes of BLAKE3 of the object.
        hash: [u8; 16],
    },
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault => f.write_str("vault"),
            Self::Slot(slot) => write!(f, "keys/{slot}"),
            Self::Pack(pack) => {
                let name = pack.to_string();
                write!(f, "packs/{}/{name}", name.get(..2).unwrap_or_default())
            }
            Self::Commit { device, seq, hash } => {
                write!(
                    f,
                    "commits/{device}/{:016x}.{}",
                    u64::MAX - seq.0,
                    PackName(*hash)
                )
            }
            Self::Inventory { device, seq, hash } => {
                write!(f, "inventory/{device}/{:016x}.{}", seq.0, PackName(*hash))
            }
        }
    }
}

impl FromStr for ObjectName {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self> {
        let malformed = FormatError::Malformed {
            what: "object name",
            why: "it is none of a vault's",
        };
        let parts: Vec<&str> = name.split('/').collect();
        let parsed = match *parts.as_slice() {
            ["vault"] => Self::Vault,
            ["keys", slot] => Self::Slot(slot.parse()?),
            ["packs", _, pack] => Self::Pack(pack.parse()?),
            ["commits", device, place] => {
                let (inverted, hash) = numbered(place).ok_or(malformed.clone())?;
                Self::Commit {
                    device: device.parse()?,
                    seq: Seq(u64::MAX - inverted),
                    hash,
                }
            }
            ["inventory", device, place] => {
                let (seq, hash) = numbered(place).ok_or(malformed.clone())?;
                Self::Inventory {
                    device: device.parse()?,
                    seq: Seq(seq),
                    hash,
                }
            }
            _ => return Err(malformed),
        };
        // One name, one spelling.
        if parsed.to_string() != name {
            return Err(malformed);
        }
        Ok(parsed)
    }
}

fn numbered(place: &str) -> Option<(u64, [u8; 16])> {
    let (number, hash) = place.split_once('.')?;
    let number = u64::from_str_radix(number, 16).ok()?;
    let hash: PackName = hash.parse().ok()?;
    Some((number, hash.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_have_one_spelling() {
        let device = DeviceId([0xab; 16]);
        for name in [
            ObjectName::Vault,
            ObjectName::Slot(SlotId([1; 16])),
            ObjectName::Pack(PackName([0x2f; 16])),
            ObjectName::Commit {
                device,
                seq: Seq(1),
                hash: [3; 16],
            },
            ObjectName::Inventory {
                device,
                seq: Seq(77),
                hash: [4; 16],
            },
        ] {
            let text = name.to_string();
            assert_eq!(text.parse::<ObjectName>().unwrap(), name);
            assert!(text.to_uppercase().parse::<ObjectName>().is_err());
            assert!(format!("{text}/x").parse::<ObjectName>().is_err());
        }
        assert!(
            "packs/00/2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f"
                .parse::<ObjectName>()
                .is_err()
        );
    }

    #[test]
    fn newer_commits_sort_first() {
        let name = |seq| {
            ObjectName::Commit {
                device: DeviceId([0; 16]),
                seq: Seq(seq),
                hash: [0; 16],
            }
            .to_string()
        };
        assert!(name(2) < name(1) && name(256) < name(255));
    }
}
