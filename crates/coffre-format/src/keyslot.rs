//! A key slot: the root keys, wrapped under a passphrase, key file or recovery code.
//!
//! ```text
//!  h 96 (magic 8, format u16, kind u8, 0 u8, m u32, t u32, p u32, epoch u32, flags u32, vault 16, slot 16, salt 32)
//!  ‖ commitment 32 ‖ nonce 24 ‖ sealed 128 (epoch 4 ‖ root key 32 ‖ structure key 32 ‖ zeros) ‖ tag 16 ‖ zeros
//! ```
//! The commitment is compared before anything is opened, so that no slot opens under two passphrases
//! (partitioning oracles: Len, Grubbs, Ristenpart, USENIX Security 2021).

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::Version;
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::FORMAT;
use crate::crypto::hash::context;
use crate::crypto::hash::derive;
use crate::crypto::key::Keyring;
use crate::crypto::key::PurposeKey;
use crate::crypto::key::RootKey;
use crate::crypto::key::StructureKey;
use crate::crypto::locked::Locked;
use crate::crypto::locked::wipe_stack;
use crate::crypto::seal::Label;
use crate::crypto::seal::open;
use crate::crypto::seal::seal;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::Epoch;
use crate::id::SlotId;
use crate::id::VaultId;
use crate::random;

/// Length of a key slot object, in bytes.
pub const SLOT_LENGTH: usize = 1024;

const MAGIC: [u8; 8] = *b"coffreK1";
const WHAT: &str = "key slot";
/// Length of the clear part.
const CLEAR: usize = 96;
/// Length of the sealed payload.
const PAYLOAD: usize = 128;
/// Nonce, payload and tag.
const SEALED: usize = 24 + PAYLOAD + 16;
/// Stack that a derivation uses, generously, in bytes: the passphrase enters a hash there.
const STRETCHING: usize = 128 * 1024;

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

impl Secret {
    /// A passphrase, as [`Passphrase::new`] takes it.
    ///
    /// ```
    /// # use coffre_format::keyslot::Secret;
    /// let secret = Secret::passphrase("correct horse battery staple\n")?;
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn passphrase(text: impl AsRef<[u8]>) -> Result<Self> {
        Passphrase::new(text.as_ref()).map(Self::Passphrase)
    }

    /// The bytes of a key file, as [`KeyFile::new`] takes them.
    ///
    /// ```
    /// # use coffre_format::keyslot::{KeyFile, Secret};
    /// # let file = KeyFile::generate()?;
    /// let secret = Secret::key_file(file.as_bytes())?;
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn key_file(file: impl AsRef<[u8]>) -> Result<Self> {
        KeyFile::new(file.as_ref()).map(Self::KeyFile)
    }

    /// What somebody presented may be, in the order in which it is worth a try. A recovery code may be typed wherever a
    /// passphrase is asked for.
    #[doc(hidden)]
    pub fn candidates(passphrase: Option<&[u8]>, key_file: Option<&[u8]>) -> Result<Vec<Self>> {
        let mut candidates = Vec::new();
        if let Some(text) = passphrase {
            let code = std::str::from_utf8(text).ok();
            if let Some(Ok(code)) = code.map(RecoveryCode::parse) {
                candidates.push(Self::Recovery(code));
            }
            if let Some(file) = key_file {
                let both = (Passphrase::new(text)?, KeyFile::new(file)?);
                candidates.push(Self::PassphraseAndKeyFile(both.0, both.1));
            }
            candidates.push(Self::Passphrase(Passphrase::new(text)?));
        }
        if let Some(file) = key_file {
            candidates.push(Self::KeyFile(KeyFile::new(file)?));
        }
        Ok(candidates)
    }

    /// A recovery code, as [`RecoveryCode::parse`] takes it.
    ///
    /// ```
    /// # use coffre_format::keyslot::{RecoveryCode, Secret};
    /// # let typed = RecoveryCode::generate()?.to_text();
    /// let secret = Secret::recovery_code(&typed)?;
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn recovery_code(text: &str) -> Result<Self> {
        RecoveryCode::parse(text).map(Self::Recovery)
    }
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
    /// From what was typed or read from a file: UTF-8, one trailing newline stripped, NFC, not empty.
    ///
    /// ```
    /// # use coffre_format::keyslot::Passphrase;
    /// let passphrase = Passphrase::new(b"correct horse battery staple")?;
    /// assert!(Passphrase::new(b"\n").is_err());
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn new(text: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| FormatError::BadSecret {
            why: "the passphrase is not UTF-8",
        })?;
        let text = text
            .strip_suffix('\n')
            .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() {
            return Err(FormatError::BadSecret {
                why: "the passphrase is empty",
            });
        }
        // Room for the longest expansion, so that no copy is left behind by growing.
        let mut normal = Zeroizing::new(String::with_capacity(text.len() * 4));
        normal.extend(text.nfc());
        Ok(Self(Zeroizing::new(normal.as_bytes().to_vec())))
    }
}

const KEY_FILE_TITLE: &str =
    "# Coffre key file, version 1. Whoever has it can open the vault: keep it apart from it.";

impl KeyFile {
    /// The text of a new key file: a title line, then 32 random bytes and a checksum in base32.
    ///
    /// ```
    /// # use coffre_format::keyslot::KeyFile;
    /// let text = KeyFile::generate()?; // to be written to a file that nobody else can read
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn generate() -> Result<Zeroizing<String>> {
        let mut bytes = Zeroizing::new([0; 36]);
        let (secret, check) = bytes.split_at_mut(32);
        random::fill(secret)?;
        let sum = blake3::hash(secret);
        check.copy_from_slice(sum.as_bytes().get(..4).unwrap_or_default());
        let line = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(bytes.as_ref()));
        Ok(Zeroizing::new(format!("{KEY_FILE_TITLE}\n{}\n", *line)))
    }

    /// From the bytes of a key file; other files than generated ones are refused.
    ///
    /// ```
    /// # use coffre_format::keyslot::KeyFile;
    /// let key = KeyFile::new(KeyFile::generate()?.as_bytes())?;
    /// assert!(KeyFile::new(b"any other file").is_err());
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn new(file: &[u8]) -> Result<Self> {
        let bad = FormatError::BadSecret {
            why: "the file is no key file that Coffre generated",
        };
        if file.len() > 1024 {
            return Err(bad);
        }
        let text = std::str::from_utf8(file).map_err(|_| bad.clone())?;
        let line = text
            .lines()
            .find(|line| !line.starts_with('#') && !line.trim().is_empty())
            .ok_or(bad.clone())?;
        let bytes = Zeroizing::new(
            data_encoding::BASE32_NOPAD
                .decode(line.trim().as_bytes())
                .map_err(|_| bad.clone())?,
        );
        let (secret, check) = bytes.split_first_chunk::<32>().ok_or(bad.clone())?;
        if blake3::hash(secret).as_bytes().get(..4) != Some(check) {
            return Err(FormatError::BadSecret {
                why: "the key file is damaged",
            });
        }
        // What enters the derivation is the hash of the secret, so that line ends and comments may change.
        Ok(Self(Zeroizing::new(*blake3::hash(secret).as_bytes())))
    }
}

/// Crockford's alphabet.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 160 bits and a checksum of 20, in 5-bit digits.
const CODE_DIGITS: usize = 36;

impl RecoveryCode {
    /// A fresh one.
    ///
    /// ```
    /// # use coffre_format::keyslot::RecoveryCode;
    /// println!("keep this on paper: {}", *RecoveryCode::generate()?.to_text());
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 20]);
        random::fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// As shown to people: nine groups of four.
    ///
    /// ```
    /// # use coffre_format::keyslot::RecoveryCode;
    /// assert_eq!(RecoveryCode::generate()?.to_text().split('-').count(), 9);
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(CODE_DIGITS + 8));
        for (index, digit) in self.digits().iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(
                CROCKFORD.get(usize::from(*digit)).copied().unwrap_or(b'0'),
            ));
        }
        text
    }

    /// As typed by people: case, spaces, hyphens, O for 0, I and L for 1 are forgiven; the checksum is not.
    ///
    /// ```
    /// # use coffre_format::keyslot::RecoveryCode;
    /// let code = RecoveryCode::generate()?;
    /// let typed = code.to_text().to_lowercase().replace('-', " ");
    /// assert_eq!(RecoveryCode::parse(&typed)?.to_text(), code.to_text());
    /// # Ok::<(), coffre_format::FormatError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        let mut digits = Zeroizing::new(Vec::with_capacity(CODE_DIGITS));
        for letter in text
            .chars()
            .filter(|letter| !letter.is_whitespace() && *letter != '-')
        {
            let letter = match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let digit = CROCKFORD
                .iter()
                .position(|known| char::from(*known) == letter);
            let digit = digit.and_then(|digit| u8::try_from(digit).ok());
            digits.push(digit.ok_or(FormatError::BadSecret {
                why: "a recovery code has other letters",
            })?);
        }
        if digits.len() != CODE_DIGITS {
            return Err(FormatError::BadSecret {
                why: "a recovery code has 36 letters",
            });
        }
        let mut code = Self(Zeroizing::new([0; 20]));
        for (group, bytes) in digits.chunks(8).zip(code.0.chunks_mut(5)) {
            let number = group
                .iter()
                .fold(0u64, |number, digit| number << 5 | u64::from(*digit));
            bytes.copy_from_slice(number.to_be_bytes().get(3..).unwrap_or_default());
        }
        if *code.digits() != *digits {
            return Err(FormatError::BadSecret {
                why: "the recovery code is mistyped (its checksum is wrong)",
            });
        }
        Ok(code)
    }

    /// 32 digits of the secret, 4 of its hash.
    fn digits(&self) -> Zeroizing<Vec<u8>> {
        let mut digits = Zeroizing::new(Vec::with_capacity(CODE_DIGITS));
        let split = |bytes: &[u8], digits: &mut Vec<u8>, count: u32| {
            let number = bytes
                .iter()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            digits.extend(
                (0..count)
                    .rev()
                    .map(|place| (number >> (5 * place)) as u8 & 31),
            );
        };
        for group in self.0.chunks(5) {
            split(group, &mut digits, 8);
        }
        let sum = blake3::hash(self.0.as_ref());
        let check = u32::from_be_bytes(
            *sum.as_bytes()
                .first_chunk::<4>()
                .expect("a hash has 32 bytes"),
        ) >> 12;
        split(&check.to_be_bytes(), &mut digits, 4);
        digits
    }
}

impl Secret {
    /// The kind of slot it opens.
    #[doc(hidden)]
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::PassphraseAndKeyFile(..) => SlotKind::PassphraseAndKeyFile,
            Self::Recovery(_) => SlotKind::Recovery,
            Self::KeyFile(_) => SlotKind::KeyFile,
        }
    }

    /// What enters Argon2, and what is mixed in after it.
    fn parts(&self) -> (&[u8], [u8; 32]) {
        const NONE: [u8; 32] = [0; 32];
        match self {
            Self::Passphrase(passphrase) => (&passphrase.0, NONE),
            Self::PassphraseAndKeyFile(passphrase, file) => (&passphrase.0, *file.0),
            Self::Recovery(code) => (code.0.as_ref(), NONE),
            Self::KeyFile(file) => (&[], *file.0),
        }
    }
}

impl TryFrom<u8> for SlotKind {
    type Error = FormatError;

    fn try_from(kind: u8) -> Result<Self> {
        Ok(match kind {
            1 => Self::Passphrase,
            2 => Self::PassphraseAndKeyFile,
            3 => Self::Recovery,
            4 => Self::KeyFile,
            _ => {
                return Err(FormatError::Unsupported {
                    what: "kind of key slot",
                    version: u32::from(kind),
                });
            }
        })
    }
}

impl KdfParams {
    /// Refuses what is outside floor and ceiling, before anything is derived or allocated.
    #[doc(hidden)]
    pub fn check(&self, ceiling: Ceiling) -> Result<()> {
        let refused = |why| Err(FormatError::KdfPolicy { why });
        if self.m < Self::FLOOR.m || self.t < Self::FLOOR.t || self.p < 1 {
            return refused("they are weaker than 64 MiB and 3 passes");
        }
        let over = self.m > 1024 * 1024 || self.t > 16 || self.p > 16;
        if over && ceiling == Ceiling::Enforced {
            return refused("they ask for more than 1 GiB, 16 passes or 16 lanes");
        }
        Ok(())
    }
}

impl SlotHeader {
    /// Reads the clear part; checks bounds of the parameters before anything is allocated.
    pub fn decode(slot: &[u8], ceiling: Ceiling) -> Result<Self> {
        if slot.len() != SLOT_LENGTH {
            return Err(FormatError::Truncated { what: WHAT });
        }
        let mut fields = Fields(slot);
        if fields.take::<8>()? != MAGIC {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "the magic is not a key slot's",
            });
        }
        let format = u16::from_le_bytes(fields.take()?);
        if format != FORMAT {
            return Err(FormatError::Unsupported {
                what: WHAT,
                version: u32::from(format),
            });
        }
        let [kind, zero] = fields.take()?;
        let mut number = || fields.take().map(u32::from_le_bytes);
        let params = KdfParams {
            m: number()?,
            t: number()?,
            p: number()?,
        };
        let (epoch, flags) = (Epoch(number()?), number()?);
        if zero != 0 || flags != 0 {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "reserved bits are set",
            });
        }
        params.check(ceiling)?;
        Ok(Self {
            kind: SlotKind::try_from(kind)?,
            params,
            epoch,
            vault: VaultId(fields.take()?),
            slot: SlotId(fields.take()?),
            salt: fields.take()?,
        })
    }

    fn encode(&self) -> [u8; CLEAR] {
        let mut bytes = [0; CLEAR];
        let fields: [&[u8]; 11] = [
            &MAGIC,
            &FORMAT.to_le_bytes(),
            &[self.kind as u8, 0],
            &self.params.m.to_le_bytes(),
            &self.params.t.to_le_bytes(),
            &self.params.p.to_le_bytes(),
            &self.epoch.0.to_le_bytes(),
            &[0; 4],
            &self.vault.0,
            &self.slot.0,
            &self.salt,
        ];
        let joined = fields.concat();
        bytes.copy_from_slice(&joined);
        bytes
    }

    /// Commitment and wrapping key: H(slot, Argon2id-64(secret, salt) ‖ key file 32 or zeros ‖ h).
    fn derive(&self, secret: &Secret) -> Result<(Zeroizing<[u8; 32]>, PurposeKey)> {
        let (text, file) = secret.parts();
        let file = Zeroizing::new(file);
        let stretched = random::once(&[text, &self.encode()], || self.stretch(text))?;
        let okm = derive::<64>(
            context::SLOT,
            &[stretched.as_ref(), file.as_ref(), &self.encode()],
        );
        let (first, second) = okm.split_at(32);
        let mut commitment = Zeroizing::new([0; 32]);
        commitment.copy_from_slice(first);
        let mut wrapping = Zeroizing::new([0; 32]);
        wrapping.copy_from_slice(second);
        // One key seals one payload under it, ever; its nonce key is itself.
        Ok((
            commitment,
            PurposeKey {
                encryption: *wrapping,
                nonce: *wrapping,
            },
        ))
    }

    fn stretch(&self, text: &[u8]) -> Result<Zeroizing<[u8; 64]>> {
        let KdfParams { m, t, p } = self.params;
        let params = Params::new(m, t, p, Some(64)).map_err(|_| FormatError::KdfPolicy {
            why: "Argon2 does not accept them",
        })?;
        let mut stretched = Zeroizing::new([0; 64]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(text, &self.salt, stretched.as_mut())
            .map_err(|_| FormatError::KdfPolicy {
                why: "there is not enough memory to derive the key",
            })?;
        Ok(stretched)
    }
}

/// Fixed-width fields from the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(FormatError::Truncated { what: WHAT })?;
        self.0 = rest;
        Ok(*field)
    }

    /// Straight into its place.
    fn key(&mut self) -> Result<Locked> {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .ok_or(FormatError::Truncated { what: WHAT })?;
        self.0 = rest;
        Ok(Locked::copy_of(field))
    }
}

/// Wraps the current keys of `ring` for `secret`. Returns the slot's id and its 1024 bytes.
pub fn seal_slot(ring: &Keyring, secret: &Secret, params: KdfParams) -> Result<(SlotId, Vec<u8>)> {
    let sealed = wrap(ring, secret, params);
    wipe_stack::<STRETCHING>();
    sealed
}

#[inline(never)]
fn wrap(ring: &Keyring, secret: &Secret, params: KdfParams) -> Result<(SlotId, Vec<u8>)> {
    params.check(Ceiling::Lifted)?;
    let mut salt = [0; 32];
    random::fill(&mut salt)?;
    let (epoch, root, structure) = ring.secrets();
    let slot = SlotId::random()?;
    let header = SlotHeader {
        kind: secret.kind(),
        params,
        epoch,
        vault: ring.vault(),
        slot,
        salt,
    };
    let (commitment, wrapping) = header.derive(secret)?;
    let mut payload = Zeroizing::new([0; PAYLOAD]);
    payload[..4].copy_from_slice(&epoch.0.to_le_bytes());
    payload[4..36].copy_from_slice(root.0.as_ref());
    payload[36..68].copy_from_slice(structure.0.as_ref());
    let clear = header.encode();
    let mut bytes = clear.to_vec();
    bytes.extend_from_slice(commitment.as_ref());
    bytes.extend_from_slice(&seal(&wrapping, Label::SLOT, &clear, payload.as_ref()));
    bytes.resize(SLOT_LENGTH, 0);
    Ok((slot, bytes))
}

/// Opens a slot. `WrongSecret` where the commitment does not match.
pub fn open_slot(slot: &[u8], secret: &Secret, ceiling: Ceiling) -> Result<Keyring> {
    let opened = unwrap(slot, secret, ceiling);
    wipe_stack::<STRETCHING>();
    opened
}

#[inline(never)]
fn unwrap(slot: &[u8], secret: &Secret, ceiling: Ceiling) -> Result<Keyring> {
    let header = SlotHeader::decode(slot, ceiling)?;
    if header.kind != secret.kind() {
        return Err(FormatError::WrongSecret);
    }
    let mut fields = Fields(slot);
    let clear = fields.take::<CLEAR>()?;
    let commitment = fields.take::<32>()?;
    let sealed = fields.take::<SEALED>()?;
    if fields.0.iter().any(|byte| *byte != 0) {
        return Err(FormatError::Malformed {
            what: WHAT,
            why: "the rest is not zeros",
        });
    }
    let (expected, wrapping) = header.derive(secret)?;
    if !bool::from(expected.ct_eq(&commitment)) {
        return Err(FormatError::WrongSecret);
    }
    let payload = open(&wrapping, Label::SLOT, &clear, &sealed, WHAT)?;
    let mut fields = Fields(&payload);
    let epoch = Epoch(u32::from_le_bytes(fields.take()?));
    let root = RootKey(fields.key()?);
    let structure = StructureKey(fields.key()?);
    if epoch != header.epoch || fields.0.iter().any(|byte| *byte != 0) {
        return Err(FormatError::Malformed {
            what: WHAT,
            why: "the payload contradicts the header",
        });
    }
    Ok(Keyring::new(header.vault, epoch, root, structure))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Secret {
        Secret::Passphrase(Passphrase::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_slot_opens_with_its_secret_and_no_flipped_byte_is_accepted() {
        let ring = Keyring::generate(VaultId([5; 16])).unwrap();
        let (id, slot) = seal_slot(&ring, &passphrase("correct horse"), KdfParams::FLOOR).unwrap();
        assert_eq!(slot.len(), SLOT_LENGTH);
        let opened = open_slot(&slot, &passphrase("correct horse\n"), Ceiling::Enforced).unwrap();
        assert_eq!(opened.vault(), ring.vault());
        assert_eq!(*opened.secrets().1.0, *ring.secrets().1.0);
        assert_eq!(
            SlotHeader::decode(&slot, Ceiling::Enforced).unwrap().slot,
            id
        );
        let wrong = open_slot(&slot, &passphrase("wrong horse"), Ceiling::Enforced);
        assert_eq!(wrong.err(), Some(FormatError::WrongSecret));
        for region in [0, 8, 10, 11, 28, 32, 48, 64, 96, 128, 160, 290, 312, 1023] {
            let mut flipped = slot.clone();
            flipped[region] ^= 0x40;
            assert!(
                open_slot(&flipped, &passphrase("correct horse"), Ceiling::Enforced).is_err(),
                "byte {region}"
            );
        }
    }

    #[test]
    fn parameters_out_of_bounds_are_refused_before_any_work() {
        let ring = Keyring::generate(VaultId([5; 16])).unwrap();
        let (_, slot) = seal_slot(&ring, &passphrase("x"), KdfParams::FLOOR).unwrap();
        for (m, t, p) in [
            (8, 1, 1),
            (u32::MAX, 3, 1),
            (65_536, u32::MAX, 1),
            (65_536, 3, 1 << 24),
            (65_536, 2, 1),
        ] {
            let mut hostile = slot.clone();
            hostile[12..16].copy_from_slice(&u32::to_le_bytes(m));
            hostile[16..20].copy_from_slice(&u32::to_le_bytes(t));
            hostile[20..24].copy_from_slice(&u32::to_le_bytes(p));
            let error = open_slot(&hostile, &passphrase("x"), Ceiling::Enforced).err();
            assert!(
                matches!(error, Some(FormatError::KdfPolicy { .. })),
                "{m} {t} {p}: {error:?}"
            );
        }
    }

    #[test]
    fn a_key_file_is_needed_where_the_slot_asks_for_one() {
        let ring = Keyring::generate(VaultId([5; 16])).unwrap();
        let text = KeyFile::generate().unwrap();
        let both = || {
            let file = KeyFile::new(text.as_bytes()).unwrap();
            Secret::PassphraseAndKeyFile(Passphrase::new(b"pass").unwrap(), file)
        };
        let (_, slot) = seal_slot(&ring, &both(), KdfParams::FLOOR).unwrap();
        assert!(open_slot(&slot, &both(), Ceiling::Enforced).is_ok());
        assert!(open_slot(&slot, &passphrase("pass"), Ceiling::Enforced).is_err());
        let other = KeyFile::new(KeyFile::generate().unwrap().as_bytes()).unwrap();
        let wrong = Secret::PassphraseAndKeyFile(Passphrase::new(b"pass").unwrap(), other);
        assert_eq!(
            open_slot(&slot, &wrong, Ceiling::Enforced).err(),
            Some(FormatError::WrongSecret)
        );
        assert!(KeyFile::new(b"my holiday photo").is_err());
    }

    #[test]
    fn a_recovery_code_forgives_how_it_is_typed_but_not_what() {
        let code = RecoveryCode::generate().unwrap();
        let text = code.to_text();
        let sloppy = text
            .to_lowercase()
            .replace('-', "  ")
            .replace('0', "o")
            .replace('1', "l");
        assert_eq!(*RecoveryCode::parse(&sloppy).unwrap().0, *code.0);
        let mut caught = 0;
        for at in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            if wrong[at] == b'-' {
                continue;
            }
            wrong[at] = if wrong[at] == b'7' { b'8' } else { b'7' };
            caught +=
                usize::from(RecoveryCode::parse(std::str::from_utf8(&wrong).unwrap()).is_err());
        }
        assert_eq!(caught, CODE_DIGITS);
    }

    #[test]
    fn passphrases_are_normalised() {
        let composed = Passphrase::new("caf\u{e9}".as_bytes()).unwrap();
        let decomposed = Passphrase::new("cafe\u{301}\n".as_bytes()).unwrap();
        assert_eq!(composed.0, decomposed.0);
        assert!(Passphrase::new(b"\n").is_err());
        assert!(Passphrase::new(&[0xff]).is_err());
    }
}
