//! A key slot: the root keys, wrapped under a passphrase, key file or recovery code.
use zeroize::Zeroizing;

use crate::crypto::key::Keyring;
use crate::error::Result;
use crate::id::Epoch;
use crate::id::SlotId;
use crate::id::VaultId;

/// Length of a key slot object, in bytes.
pub const SLOT_LENGTH: usize = 1024;

/// Argon2id cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory, in KiB.
    pub m: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}
impl KdfParams {
    /// 256 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Self = Self {
        m: 256 * 1024,
        t: 3,
        p: 4,
    };
    /// 64 MiB, 3 passes: the least that is accepted.
    pub const FLOOR: Self = Self {
        m: 64 * 1024,
        t: 3,
        p: 1,
    };
}

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase = 1,
    /// A passphrase and a key file.
    PassphraseAndKeyFile = 2,
    /// A recovery code.
    Recovery = 3,
    /// A key file.
    KeyFile = 4,
}

/// A passphrase: NFC, one trailing newline stripped, not empty.
pub struct Passphrase(Zeroizing<Vec<u8>>);
/// BLAKE3 of a key file that Coffre generated.
pub struct KeyFile(Zeroizing<[u8; 32]>);
/// 160 random bits shown as Crockford base32 with a checksum.
pub struct RecoveryCode(Zeroizing<[u8; 20]>);

/// What a person presents.
pub enum Secret {
    /// A passphrase.
    Passphrase(Passphrase),
    /// A passphrase and a key file.
    PassphraseAndKeyFile(Passphrase, KeyFile),
    /// A recovery code.
    Recovery(RecoveryCode),
    /// A key file.
    KeyFile(KeyFile),
}

/// The clear 96 bytes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotHeader {
    /// What opens it.
    pub kind: SlotKind,
    /// Cost.
    pub params: KdfParams,
    /// Epoch of the root key inside.
    pub epoch: Epoch,
    /// Vault it belongs to.
    pub vault: VaultId,
    /// Its id.
    pub slot: SlotId,
    /// Salt of the derivation.
    pub salt: [u8; 32],
}

/// Whether parameters above the ceiling (1 GiB, 16 passes, 16 lanes) may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Refuse them.
    Enforced,
    /// The user lifted it.
    Lifted,
}

impl Passphrase {
    /// From what was typed or read from a file.
    pub fn new(text: &[u8]) -> Result<Self> {
        todo!()
    }
}
impl KeyFile {
    /// The text of a new key file (32 random bytes in a text frame).
    pub fn generate() -> Result<Zeroizing<String>> {
        todo!()
    }
    /// From the bytes of a key file; others than generated ones are refused.
    pub fn new(file: &[u8]) -> Result<Self> {
        todo!()
    }
}
impl RecoveryCode {
    /// A fresh one.
    pub fn generate() -> Result<Self> {
        todo!()
    }
    /// As shown to people, in groups.
    pub fn to_text(&self) -> Zeroizing<String> {
        todo!()
    }
    /// As typed by people: case, spaces, hyphens, O for 0, I and L for 1 are forgiven; the checksum is not.
    pub fn parse(text: &str) -> Result<Self> {
        todo!()
    }
}
impl Secret {
    /// The kind of slot it opens.
    pub fn kind(&self) -> SlotKind {
        todo!()
    }
}
impl SlotHeader {
    /// Reads the clear part; checks bounds of the parameters before anything is allocated.
    pub fn decode(slot: &[u8], ceiling: Ceiling) -> Result<Self> {
        todo!()
    }
}
/// Wraps the current keys of `ring` for `secret`. Returns the slot's id and its 1024 bytes.
pub fn seal_slot(ring: &Keyring, secret: &Secret, params: KdfParams) -> Result<(SlotId, Vec<u8>)> {
    todo!()
}
/// Opens a slot. `WrongSecret` where the commitment does not match.
pub fn open_slot(slot: &[u8], secret: &Secret, ceiling: Ceiling) -> Result<Keyring> {
    todo!()
}
