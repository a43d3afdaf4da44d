//! All decoders by name, with the keys of the vectors.
#![allow(dead_code)]

use std::path::PathBuf;

use coffre_format::FormatError;
use coffre_format::anchor::Anchor;
use coffre_format::checkpoint::CheckpointString;
use coffre_format::commit::Verified;
use coffre_format::crypto::key::Keyring;
use coffre_format::crypto::key::RootKey;
use coffre_format::crypto::key::StructureKey;
use coffre_format::crypto::seal::Label;
use coffre_format::crypto::seal::open;
use coffre_format::crypto::seal::seal;
use coffre_format::crypto::sign::DeviceKey;
use coffre_format::crypto::sign::verify;
use coffre_format::frame::FrameKind;
use coffre_format::header::VaultHeader;
use coffre_format::id::*;
use coffre_format::keyslot::Ceiling;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::KeyFile;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::RecoveryCode;
use coffre_format::keyslot::Secret;
use coffre_format::keyslot::SlotHeader;
use coffre_format::keyslot::open_slot;
use coffre_format::name::ObjectName;
use coffre_format::node::Node;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::*;
use coffre_format::transaction::*;
use data_encoding::HEXLOWER;

pub const VAULT: VaultId = VaultId([0x11; 16]);
pub const ROOT: [u8; 32] = [0x22; 32];
pub const STRUCTURE: [u8; 32] = [0x33; 32];
/// Seed of the device that signs.
pub const DEVICE: [u8; 32] = [0x66; 32];
pub const OWN: PackRef = PackRef {
    name: PackName([0x44; 16]),
    salt: Salt([0x55; 16]),
    epoch: Epoch(1),
};
/// Where a frame of a vector stands in its pack.
pub const OFFSET: u32 = 32;
/// Decoders that must have a vector each.
pub const DECODERS: [&str; 24] = [
    "anchor",
    "anchor header",
    "checkpoint string",
    "commit",
    "frame",
    "frame scan",
    "journal checkpoint",
    "journal frame",
    "journal watermark",
    "key",
    "key file",
    "key slot",
    "key slot header",
    "node",
    "object name",
    "pack end",
    "pack preamble",
    "passphrase",
    "recovery code",
    "sealed",
    "signature",
    "spilled value",
    "transactions",
    "vault header",
];

pub fn ring() -> Keyring {
    Keyring::new(
        VAULT,
        Epoch(1),
        RootKey::from_bytes(ROOT),
        StructureKey::from_bytes(STRUCTURE),
    )
}

pub fn pack_keys() -> PackKeys {
    let preamble = Preamble {
        purpose: Purpose::Pack,
        epoch: OWN.epoch,
        salt: OWN.salt,
    };
    PackKeys::new(&ring(), &preamble).unwrap()
}

pub fn text(input: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(input).map_err(|_| FormatError::Malformed {
        what: "text",
        why: "it is not UTF-8",
    })
}

/// Runs one decoder; what it accepts and can be encoded is the same bytes again.
pub fn run_canonically(decoder: &str, input: &[u8], with: &str) {
    if run(decoder, input, with).is_err() {
        return;
    }
    let again = match decoder {
        "vault header" => VaultHeader::decode(input).unwrap().encode(),
        "object name" => text(input)
            .unwrap()
            .parse::<ObjectName>()
            .unwrap()
            .to_string()
            .into(),
        // What follows the preamble is none of its bytes.
        "pack preamble" => [&Preamble::decode(input).unwrap().encode()[..], &input[32..]].concat(),
        "node" => Node::decode(input, OWN).unwrap().encode(OWN.salt).unwrap(),
        "transactions" => {
            let mut bytes = Vec::new();
            for transaction in decode_transactions(input).unwrap() {
                encode_transaction(&transaction, &mut bytes);
            }
            bytes
        }
        "journal frame" => journal(FrameKind::Transaction, input).unwrap().encode(),
        "journal checkpoint" => journal(FrameKind::Checkpoint, input).unwrap().encode(),
        "journal watermark" => journal(FrameKind::Watermark, input).unwrap().encode(),
        // Sealing and signing take nothing random, so even these have one encoding.
        "anchor" => Anchor::open(input, &ring()).unwrap().seal(&ring()).unwrap(),
        "commit" => {
            let verified = Verified::check(input, &with.parse().unwrap()).unwrap();
            let device = DeviceKey::from_bytes(&DEVICE);
            verified
                .open(&ring())
                .unwrap()
                .seal(&ring(), &device)
                .unwrap()
                .bytes
        }
        "sealed" => {
            let ring = ring();
            seal(
                &ring.current().anchor,
                Label::ANCHOR,
                b"aad",
                &open_sealed(input).unwrap(),
            )
        }
        "key" => {
            let key = Key::from_bytes(input);
            let parsed = key.parse().unwrap();
            Key::new(parsed.inode, parsed.tag, parsed.rest)
                .as_bytes()
                .to_vec()
        }
        "key slot header" => {
            let header = SlotHeader::decode(input, Ceiling::Enforced).unwrap();
            [&slot_clear(&header)[..], &input[96..]].concat()
        }
        "spilled value" => Value::decode_spilled(tag::XATTR, input)
            .unwrap()
            .encoded_plain(),
        _ => return,
    };
    assert!(again == input, "{decoder}: two encodings of one thing");
}

/// Runs one decoder; `with` is what it needs beside the bytes (a name, a digest).
pub fn run(decoder: &str, input: &[u8], with: &str) -> Result<(), FormatError> {
    match decoder {
        "vault header" => VaultHeader::decode(input).map(drop),
        "key slot header" => SlotHeader::decode(input, Ceiling::Enforced).map(drop),
        "key slot" => {
            let secret = Secret::Passphrase(Passphrase::new(with.as_bytes())?);
            open_slot(input, &secret, Ceiling::Enforced).map(drop)
        }
        "recovery code" => RecoveryCode::parse(text(input)?).map(drop),
        "object name" => text(input)?.parse::<ObjectName>().map(drop),
        "checkpoint string" => text(input)?.parse::<CheckpointString>().map(drop),
        "pack preamble" => Preamble::decode(input).map(drop),
        "frame" => {
            let digest: [u8; 32] = hex(with).try_into().unwrap();
            pack_keys()
                .open(FrameKind::Data, OFFSET, input, &Digest(digest))
                .map(drop)
        }
        "frame scan" => pack_keys().scan(OFFSET, input).map(drop),
        "pack end" => pack_keys().verify_end(OFFSET, input, 0),
        "sealed" => open_sealed(input).map(drop),
        "signature" => {
            let mut fields = input.chunks(32);
            let mut next = || fields.next().unwrap_or_default();
            let key = PublicKey::from_slice(next())?;
            let hash = CommitHash::from_slice(next())?;
            let signature = [next(), next()].concat().try_into();
            let truncated = FormatError::Truncated { what: "signature" };
            verify(&key, &hash, &signature.map_err(|_| truncated)?)
        }
        "node" => Node::decode(input, OWN).map(drop),
        "commit" => {
            let verified = Verified::check(input, &with.parse()?)?;
            verified.open(&ring()).map(drop)
        }
        "anchor" => Anchor::open(input, &ring()).map(drop),
        "anchor header" => Anchor::peek(input).map(drop),
        "passphrase" => Passphrase::new(input).map(drop),
        "key file" => KeyFile::new(input).map(drop),
        "transactions" => decode_transactions(input).map(drop),
        "journal frame" => journal(FrameKind::Transaction, input).map(drop),
        "journal checkpoint" => journal(FrameKind::Checkpoint, input).map(drop),
        "journal watermark" => journal(FrameKind::Watermark, input).map(drop),
        "key" => Key::from_bytes(input).parse().map(drop),
        "spilled value" => Value::decode_spilled(tag::XATTR, input).map(drop),
        other => panic!("no decoder is called {other}"),
    }
}

fn journal(kind: FrameKind, input: &[u8]) -> Result<JournalFrame, FormatError> {
    JournalFrame::decode(kind, input)
}

/// Opens with the anchor's key and label, and the associated data `aad`.
fn open_sealed(input: &[u8]) -> Result<Vec<u8>, FormatError> {
    let ring = ring();
    open(
        &ring.current().anchor,
        Label::ANCHOR,
        b"aad",
        input,
        "sealed",
    )
    .map(|plain| plain.to_vec())
}

/// The 96 clear bytes of a slot.
fn slot_clear(header: &SlotHeader) -> Vec<u8> {
    let KdfParams { m, t, p } = header.params;
    let numbers = [m, t, p, header.epoch.0, 0].map(u32::to_le_bytes);
    [
        b"coffreK1\x01\0" as &[u8],
        &[header.kind as u8, 0],
        numbers.as_flattened(),
        &header.vault.0,
        &header.slot.0,
        &header.salt,
    ]
    .concat()
}

pub fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}
