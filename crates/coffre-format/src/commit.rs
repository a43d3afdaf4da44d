//! A commit: one signed, sealed state of the whole vault on one device's chain.
//!
//! ```text
//!  clear ‖ nonce 24 ‖ sealed body ‖ tag 16 ‖ signature 64
//!  └────────────── commit hash ──────────┘
//! ```
//! Anyone can check name, device id and signature of a commit; only who holds the commit key reads the body.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::FORMAT;
use crate::codec::Cursor;
use crate::codec::decode;
use crate::codec::encode;
use crate::crypto::hash::context;
use crate::crypto::hash::derive;
use crate::crypto::key::Keyring;
use crate::crypto::key::RootKey;
use crate::crypto::locked::Locked;
use crate::crypto::seal::Label;
use crate::crypto::seal::open;
use crate::crypto::seal::seal;
use crate::crypto::sign::DeviceKey;
use crate::crypto::sign::device_id;
use crate::crypto::sign::verify;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::CommitHash;
use crate::id::DeviceId;
use crate::id::Epoch;
use crate::id::Lsn;
use crate::id::ObjectHash;
use crate::id::PackName;
use crate::id::PublicKey;
use crate::id::Seq;
use crate::id::SessionPrefix;
use crate::id::VaultId;
use crate::name::ObjectName;
use crate::record::Child;
use crate::record::Place;
use crate::record::Timestamp;

const MAGIC: [u8; 8] = *b"coffreC1";
const WHAT: &str = "commit";
/// Length of the signature.
const SIGNATURE: usize = 64;
/// The sealed body is padded to a power of two of at least this, in bytes.
const BODY_LEAST: usize = 4096;
/// Feature bits this program knows: none yet.
const KNOWN_FEATURES: u32 = 0;

/// Largest commit object, in bytes.
pub const COMMIT_MAX: u64 = 1024 * 1024;
/// Packs one commit may add.
pub const PACKS_MAX: usize = 16_384;

/// Feature bits: what a reader must understand, may ignore when reading, may ignore altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Refuse the vault if one is unknown.
    pub required: u32,
    /// Refuse to write if one is unknown.
    pub read_only: u32,
    /// Harmless.
    pub ignorable: u32,
}
/// A pack that this commit is the first of its chain to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedPack {
    /// Its name.
    pub name: PackName,
    /// BLAKE3 of the object.
    pub hash: ObjectHash,
    /// Its length, in bytes.
    pub length: u64,
}
/// The part that anyone may read and verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// Features.
    pub features: Features,
    /// Vault.
    pub vault: VaultId,
    /// Epoch of the commit key.
    pub epoch: Epoch,
    /// Device.
    pub device: DeviceId,
    /// Its key.
    pub public_key: PublicKey,
    /// Place in the chain, from 1.
    pub seq: Seq,
    /// Commit before it; `NONE` for seq 1.
    pub previous: CommitHash,
    /// Hash of the inventory object if floor > 1.
    pub inventory: Option<ObjectHash>,
    /// Packs added.
    pub packs: Vec<AddedPack>,
}
/// A point of a chain.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Point {
    /// Place in the chain.
    pub seq: Seq,
    /// The commit there.
    pub hash: CommitHash,
}
/// Device → point.
pub type Vector = BTreeMap<DeviceId, Point>;
/// The sealed part.
#[derive(Clone)]
pub struct Body {
    /// The tree.
    pub root: Child,
    /// What this root contains.
    pub merged: Vector,
    /// What this device knows of; merged ≤ seen.
    pub seen: Vector,
    /// Oldest commit of this chain still kept.
    pub floor: Seq,
    /// Older epochs' root keys.
    pub keyring: Vec<(Epoch, RootKey)>,
    /// Packs that hold this root's own nodes (root and the path just changed).
    pub node_packs: Vec<PackName>,
    /// Session of the journal.
    pub session: SessionPrefix,
    /// Last transaction contained.
    pub lsn: Lsn,
    /// Packs whose condemnation this device acknowledges.
    pub acknowledged: Vec<PackName>,
    /// When (advisory).
    pub time: Timestamp,
    /// For people.
    pub label: String,
}
/// A whole commit.
#[derive(Clone)]
pub struct Commit {
    /// Clear part.
    pub clear: Clear,
    /// Sealed part.
    pub body: Body,
}
/// The bytes of a commit and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCommit {
    /// The whole object.
    pub bytes: Vec<u8>,
    /// Its commit hash.
    pub hash: CommitHash,
    /// Its name.
    pub name: ObjectName,
}
/// A commit whose name, device id and signature were checked, but that was not opened.
pub struct Verified {
    /// The clear part.
    pub clear: Clear,
    /// Its hash.
    pub hash: CommitHash,
    sealed: Vec<u8>,
}

/// The body as it is encoded.
#[derive(serde::Serialize, serde::Deserialize)]
struct BodyWire {
    root: Child,
    merged: Vector,
    seen: Vector,
    floor: Seq,
    keyring: Vec<(Epoch, Zeroizing<[u8; 32]>)>,
    node_packs: Vec<PackName>,
    session: SessionPrefix,
    lsn: Lsn,
    acknowledged: Vec<PackName>,
    time: Timestamp,
    label: String,
}

impl Commit {
    /// Seals and signs.
    pub fn seal(&self, ring: &Keyring, device: &DeviceKey) -> Result<SealedCommit> {
        let clear = self.clear.encode()?;
        // Holds the root keys of older epochs.
        let body = Zeroizing::new(pad(&self.body.encode()?));
        let mut bytes = clear.clone();
        bytes.extend_from_slice(&seal(
            &ring.epoch(self.clear.epoch)?.commit,
            Label::COMMIT,
            &clear,
            &body,
        ));
        let hash = commit_hash(&bytes);
        bytes.extend_from_slice(&device.sign(&hash));
        if bytes.len() as u64 > COMMIT_MAX {
            return Err(FormatError::TooLarge {
                what: WHAT,
                limit: COMMIT_MAX,
            });
        }
        let name = ObjectName::Commit {
            device: self.clear.device,
            seq: self.clear.seq,
            hash: hash.short(),
        };
        Ok(SealedCommit { bytes, hash, name })
    }
}

impl Verified {
    /// Checks, without keys: size, content against `name`, device id, signature, layout.
    pub fn check(bytes: &[u8], name: &ObjectName) -> Result<Self> {
        if bytes.len() as u64 > COMMIT_MAX {
            return Err(FormatError::TooLarge {
                what: WHAT,
                limit: COMMIT_MAX,
            });
        }
        let forged = FormatError::Forged { what: WHAT };
        let ObjectName::Commit {
            device,
            seq,
            hash: short,
        } = name
        else {
            return Err(forged);
        };
        let (signed, signature) = bytes
            .split_last_chunk::<SIGNATURE>()
            .ok_or(FormatError::Truncated { what: WHAT })?;
        let hash = commit_hash(signed);
        if hash.short() != *short {
            return Err(forged);
        }
        let (clear, length) = Clear::decode(signed)?;
        if clear.device != *device
            || clear.seq != *seq
            || device_id(clear.vault, &clear.public_key) != clear.device
        {
            return Err(forged);
        }
        verify(&clear.public_key, &hash, signature)?;
        // Clear part and sealed part together are what opening needs.
        debug_assert!(length <= signed.len());
        Ok(Self {
            clear,
            hash,
            sealed: signed.to_vec(),
        })
    }

    /// Opens the sealed part.
    pub fn open(&self, ring: &Keyring) -> Result<Commit> {
        if self.clear.vault != ring.vault() {
            return Err(FormatError::Forged { what: WHAT });
        }
        if self.clear.features.required & !KNOWN_FEATURES != 0 {
            return Err(FormatError::Unsupported {
                what: WHAT,
                version: self.clear.features.required,
            });
        }
        let clear = self.clear.encode()?;
        let sealed = self
            .sealed
            .strip_prefix(clear.as_slice())
            .ok_or(FormatError::Forged { what: WHAT })?;
        let key = &ring.epoch(self.clear.epoch)?.commit;
        let padded = open(key, Label::COMMIT, &clear, sealed, WHAT)?;
        let body = Body::decode(unpad(&padded)?)?;
        Ok(Commit {
            clear: self.clear.clone(),
            body,
        })
    }
}

fn commit_hash(signed: &[u8]) -> CommitHash {
    CommitHash(*derive::<32>(context::COMMIT_HASH, &[signed]))
}

impl Clear {
    /// magic 8, format u16, 0 u16, features 3 × u32, vault 16, epoch u32, device 16, public key 32, seq u64,
    /// previous 32, inventory u8 ‖ 32, packs u32, then 56 bytes for each pack.
    fn encode(&self) -> Result<Vec<u8>> {
        let count = u32::try_from(self.packs.len())
            .ok()
            .filter(|count| *count as usize <= PACKS_MAX);
        let count = count.ok_or(FormatError::TooLarge {
            what: "list of added packs",
            limit: PACKS_MAX as u64,
        })?;
        let Features {
            required,
            read_only,
            ignorable,
        } = self.features;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        for bits in [required, read_only, ignorable] {
            bytes.extend_from_slice(&bits.to_le_bytes());
        }
        bytes.extend_from_slice(&self.vault.0);
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.device.0);
        bytes.extend_from_slice(&self.public_key.0);
        bytes.extend_from_slice(&self.seq.0.to_le_bytes());
        bytes.extend_from_slice(&self.previous.0);
        bytes.push(u8::from(self.inventory.is_some()));
        bytes.extend_from_slice(&self.inventory.map_or([0; 32], |hash| hash.0));
        bytes.extend_from_slice(&count.to_le_bytes());
        for pack in &self.packs {
            bytes.extend_from_slice(&pack.name.0);
            bytes.extend_from_slice(&pack.hash.0);
            bytes.extend_from_slice(&pack.length.to_le_bytes());
        }
        Ok(bytes)
    }

    /// Reads the clear part at the start of `bytes`; answers its length as well.
    fn decode(bytes: &[u8]) -> Result<(Self, usize)> {
        let malformed = |why| FormatError::Malformed { what: WHAT, why };
        let mut cursor = Cursor::new(bytes, WHAT);
        if cursor.take::<8>()? != MAGIC {
            return Err(malformed("the magic is not a commit's"));
        }
        let format = u16::from_le_bytes(cursor.take()?);
        if format != FORMAT {
            return Err(FormatError::Unsupported {
                what: WHAT,
                version: u32::from(format),
            });
        }
        if cursor.take::<2>()? != [0; 2] {
            return Err(malformed("reserved bytes are set"));
        }
        let features = Features {
            required: cursor.u32()?,
            read_only: cursor.u32()?,
            ignorable: cursor.u32()?,
        };
        let vault = VaultId(cursor.take()?);
        let epoch = Epoch(cursor.u32()?);
        let device = DeviceId(cursor.take()?);
        let public_key = PublicKey(cursor.take()?);
        let seq = Seq(cursor.u64()?);
        let previous = CommitHash(cursor.take()?);
        let [has_inventory] = cursor.take()?;
        let inventory = ObjectHash(cursor.take()?);
        let inventory = match has_inventory {
            0 if inventory.0 == [0; 32] => None,
            1 => Some(inventory),
            _ => return Err(malformed("the inventory is neither there nor absent")),
        };
        if seq.0 == 0 || (seq.0 == 1) != (previous == CommitHash::NONE) {
            return Err(malformed(
                "only the first commit of a chain has none before it",
            ));
        }
        let count = cursor.u32()? as usize;
        if count > PACKS_MAX {
            return Err(FormatError::TooLarge {
                what: "list of added packs",
                limit: PACKS_MAX as u64,
            });
        }
        let mut packs = Vec::with_capacity(count.min(bytes.len() / 56));
        for _ in 0..count {
            let (name, hash) = (PackName(cursor.take()?), ObjectHash(cursor.take()?));
            if PackName::of(&hash) != name {
                return Err(malformed("a pack's name is not its hash's"));
            }
            packs.push(AddedPack {
                name,
                hash,
                length: cursor.u64()?,
            });
        }
        let length = bytes.len() - cursor.rest().len();
        let clear = Self {
            features,
            vault,
            epoch,
            device,
            public_key,
            seq,
            previous,
            inventory,
            packs,
        };
        Ok((clear, length))
    }
}

impl Body {
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>> {
        if matches!(self.root.pointer.place, Place::Open { .. }) {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "its root is in a pack without a name",
            });
        }
        let wire = BodyWire {
            root: self.root,
            merged: self.merged.clone(),
            seen: self.seen.clone(),
            floor: self.floor,
            keyring: self
                .keyring
                .iter()
                .map(|(epoch, root)| (*epoch, Zeroizing::new(*root.0)))
                .collect(),
            node_packs: self.node_packs.clone(),
            session: self.session,
            lsn: self.lsn,
            acknowledged: self.acknowledged.clone(),
            time: self.time,
            label: self.label.clone(),
        };
        Ok(Zeroizing::new(encode(&wire)))
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let malformed = |why| FormatError::Malformed { what: WHAT, why };
        let wire: BodyWire = decode(bytes, WHAT)?;
        if matches!(wire.root.pointer.place, Place::Open { .. }) {
            return Err(malformed("its root is in a pack without a name"));
        }
        let contained = |(device, point): (&DeviceId, &Point)| {
            wire.seen
                .get(device)
                .is_some_and(|seen| seen.seq >= point.seq)
        };
        if !wire.merged.iter().all(contained) {
            return Err(malformed("it contains what it has not seen"));
        }
        if !wire.keyring.is_sorted_by_key(|(epoch, _)| *epoch) || wire.time.nanos >= 1_000_000_000 {
            return Err(malformed("keyring or time is out of order"));
        }
        Ok(Self {
            root: wire.root,
            merged: wire.merged,
            seen: wire.seen,
            floor: wire.floor,
            keyring: wire
                .keyring
                .into_iter()
                .map(|(epoch, root)| (epoch, RootKey(Locked::copy_of(&root))))
                .collect(),
            node_packs: wire.node_packs,
            session: wire.session,
            lsn: wire.lsn,
            acknowledged: wire.acknowledged,
            time: wire.time,
            label: wire.label,
        })
    }
}

/// length u32 ‖ body ‖ zeros, up to a power of two.
fn pad(body: &[u8]) -> Vec<u8> {
    let mut padded = (body.len() as u32).to_le_bytes().to_vec();
    padded.extend_from_slice(body);
    padded.resize(padded.len().next_power_of_two().max(BODY_LEAST), 0);
    padded
}

fn unpad(padded: &[u8]) -> Result<&[u8]> {
    let malformed = |why| FormatError::Malformed { what: WHAT, why };
    if !padded.len().is_power_of_two() || padded.len() < BODY_LEAST {
        return Err(malformed("its padding has another length"));
    }
    let mut cursor = Cursor::new(padded, WHAT);
    let length = cursor.u32()? as usize;
    let body = cursor.slice(length)?;
    if cursor.rest().iter().any(|byte| *byte != 0) || pad(body).len() != padded.len() {
        return Err(malformed("its padding is not zeros of the least length"));
    }
    Ok(body)
}
