//! The `vault` object: a hint of which vault a store holds.

use crate::FORMAT;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::VaultId;

const MAGIC: [u8; 8] = *b"coffreV1";
const WHAT: &str = "vault header";
/// Length of the object: magic 8, format u16, 0 u16 × 3, vault id 16.
pub const HEADER_LENGTH: usize = 32;

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
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&self.vault.0);
        bytes
    }

    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let truncated = FormatError::Truncated { what: WHAT };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(truncated.clone())?;
        let (format, rest) = rest.split_first_chunk::<2>().ok_or(truncated.clone())?;
        let (zeros, rest) = rest.split_first_chunk::<6>().ok_or(truncated)?;
        if *magic != MAGIC {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "the magic is not a vault's",
            });
        }
        let format = u16::from_le_bytes(*format);
        if format != FORMAT {
            return Err(FormatError::Unsupported {
                what: WHAT,
                version: u32::from(format),
            });
        }
        if *zeros != [0; 6] {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "reserved bytes are set",
            });
        }
        Ok(Self {
            format,
            vault: VaultId::from_slice(rest)?,
        })
    }
}
