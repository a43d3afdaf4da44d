//! The checkpoint string: one state of a vault, short enough for a person to carry to another device.
//!
//! version ‖ vault id ‖ epoch ‖ device id ‖ seq ‖ commit hash ‖ checksum, in base32.

use std::fmt;
use std::str::FromStr;

use crate::crypto::hash;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::CommitHash;
use crate::id::DeviceId;
use crate::id::Epoch;
use crate::id::Seq;
use crate::id::VaultId;

const WHAT: &str = "checkpoint string";
const VERSION: u8 = 1;
/// Bytes before the checksum.
const BODY: usize = 1 + 16 + 4 + 16 + 8 + 32;
const CHECKSUM: usize = 4;

/// A commit that a device has accepted, for another device to insist on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointString {
    /// Vault.
    pub vault: VaultId,
    /// Its epoch at that time.
    pub epoch: Epoch,
    /// Whose commit it is.
    pub device: DeviceId,
    /// Its place.
    pub seq: Seq,
    /// The commit.
    pub hash: CommitHash,
}

impl fmt::Display for CheckpointString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.vault.0);
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.device.0);
        bytes.extend_from_slice(&self.seq.0.to_le_bytes());
        bytes.extend_from_slice(&self.hash.0);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        f.write_str(&data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase())
    }
}

impl FromStr for CheckpointString {
    type Err = FormatError;

    /// Case, spaces and line breaks are forgiven; the checksum is not.
    fn from_str(text: &str) -> Result<Self> {
        let text: String = text.split_whitespace().collect();
        let bytes = data_encoding::BASE32_NOPAD
            .decode(text.to_uppercase().as_bytes())
            .map_err(|_| malformed("not base32, or incomplete"))?;
        let (body, sum) = bytes
            .split_at_checked(BODY)
            .ok_or_else(|| malformed("too short"))?;
        if body.first() != Some(&VERSION) {
            let version = body.first().copied().unwrap_or(0).into();
            return Err(FormatError::Unsupported {
                what: WHAT,
                version,
            });
        }
        if sum != checksum(body) {
            return Err(malformed("mistyped: its checksum is wrong"));
        }
        let mut rest = body.get(1..).unwrap_or(&[]);
        Ok(Self {
            vault: VaultId(take(&mut rest)?),
            epoch: Epoch(u32::from_le_bytes(take(&mut rest)?)),
            device: DeviceId(take(&mut rest)?),
            seq: Seq(u64::from_le_bytes(take(&mut rest)?)),
            hash: CommitHash(take(&mut rest)?),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (first, after) = rest
        .split_first_chunk::<N>()
        .ok_or_else(|| malformed("too short"))?;
    *rest = after;
    Ok(*first)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    *hash::derive::<CHECKSUM>(hash::context::CHECKPOINT, &[body])
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> CheckpointString {
        CheckpointString {
            vault: VaultId([1; 16]),
            epoch: Epoch(2),
            device: DeviceId([3; 16]),
            seq: Seq(4),
            hash: CommitHash([5; 32]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = example().to_string();
        assert_eq!(text.parse::<CheckpointString>().unwrap(), example());
        let spaced = format!(" {} \n{}", &text[..40], text[40..].to_uppercase());
        assert_eq!(spaced.parse::<CheckpointString>().unwrap(), example());
    }

    #[test]
    fn any_change_is_noticed() {
        let text = example().to_string();
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            let other = String::from_utf8(other).unwrap();
            assert!(other.parse::<CheckpointString>().is_err(), "{at}");
            assert!(text[..at].parse::<CheckpointString>().is_err(), "{at}");
        }
    }
}
