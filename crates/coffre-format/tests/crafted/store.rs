//! What a store may offer: frames, ends of packs, commits, signatures and key slots with one thing wrong inside.

use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::crypto::sign::device_id;
use coffre_format::id::*;
use coffre_format::record::*;

use super::*;

/// Passphrase of the slots.
pub const PASSPHRASE: &str = "correct horse battery staple";

pub fn all(shelf: &mut Shelf) {
    frames(shelf);
    compressed_frames(shelf);
    ends(shelf);
    sealed(shelf);
    signatures(shelf);
    clear_parts(shelf);
    bodies(shelf);
    slot_headers(shelf);
    slots(shelf);
}

/// Adds a frame as one that a pointer leads to, and as one that is found by scanning.
fn both(shelf: &mut Shelf, what: &str, made: (Vec<u8>, [u8; 32]), expect: &'static str) {
    let digest = data_encoding::HEXLOWER.encode(&made.1);
    shelf.add_with("frame", what, &made.0, &digest, expect);
    shelf.add("frame scan", what, &made.0, expect);
}

fn frames(shelf: &mut Shelf) {
    let text = b"what the provider must not read";
    let head = Head::plain(1, text);
    let good = frame(head, text);
    both(shelf, "made by the letter", good.clone(), "accepted");
    both(
        shelf,
        "empty content",
        frame(Head::plain(1, b""), b""),
        "accepted",
    );
    let more = [&good.0[..], b"the next frame"].concat();
    shelf.add("frame scan", "with another behind it", &more, "accepted");
    shelf.add(
        "frame scan",
        "cut",
        &good.0[..good.0.len() - 1],
        "truncated",
    );
    shelf.add(
        "frame scan",
        "shorter than its header",
        &good.0[..35],
        "truncated",
    );
    shelf.add_with(
        "frame",
        "shorter than its header",
        &good.0[..35],
        &"00".repeat(32),
        "truncated",
    );
    for (what, head) in [
        ("a kind that is not known", Head { kind: 9, ..head }),
        (
            "a flag that is not known",
            Head {
                flags: 0x80,
                ..head
            },
        ),
        ("reserved bytes set", Head { zero: 1, ..head }),
        (
            "another length before compression, though nothing is compressed",
            Head { raw: 32, ..head },
        ),
        (
            "a length of 4 GiB",
            Head {
                stored: u32::MAX,
                raw: u32::MAX,
                ..head
            },
        ),
    ] {
        both(shelf, what, frame(head, text), "forged");
    }
    both(
        shelf,
        "of a journal segment",
        journal_frame(head, text),
        "forged",
    );
    let keys = h("pack", &[&purpose("data"), &OWN.salt.0]);
    let other = frame_under(&keys, "coffre1 journal", head, text, &good.1);
    both(
        shelf,
        "the label of journal frames",
        (other, good.1),
        "forged",
    );
    let foreign = h("pack", &[&purpose("data"), &[0x56; 16]]);
    let foreign = frame_under(&foreign, "coffre1 frame", head, text, &good.1);
    both(shelf, "of another pack", (foreign, good.1), "forged");
    // Who holds the keys can seal anything under any nonce; a scan recomputes D and finds out.
    let lie = frame_under(&keys, "coffre1 frame", head, text, &[7; 32]);
    shelf.add("frame scan", "a nonce made from another D", &lie, "forged");
}

fn compressed_frames(shelf: &mut Shelf) {
    let zeros = zstd::bulk::compress(&[0; 1 << 20], 1).unwrap();
    let most = 128 * 1024;
    let bomb = |raw| frame(Head::zstd(&zeros, raw), &zeros);
    both(
        shelf,
        "1 MiB compressed, 128 KiB promised",
        bomb(most),
        "malformed",
    );
    both(
        shelf,
        "1 MiB compressed and promised",
        bomb(1 << 20),
        "forged",
    );
    both(shelf, "one byte over the bound", bomb(most + 1), "forged");
    let small = zstd::bulk::compress(&[7; 400], 1).unwrap();
    both(
        shelf,
        "compressed, by the letter",
        frame(Head::zstd(&small, 400), &small),
        "accepted",
    );
    for (what, raw) in [
        ("more than there is promised", 401),
        ("less than there is promised", 399),
    ] {
        both(
            shelf,
            what,
            frame(Head::zstd(&small, raw), &small),
            "malformed",
        );
    }
    let garbage = b"this is not zstd";
    both(
        shelf,
        "compressed, it says",
        frame(Head::zstd(garbage, 400), garbage),
        "malformed",
    );
    let head = Head::zstd(&small, small.len() as u32);
    both(
        shelf,
        "compressed, but not shorter",
        frame(head, &small),
        "forged",
    );
    let head = Head {
        kind: 2,
        ..Head::zstd(&small, 400)
    };
    both(shelf, "a compressed node", frame(head, &small), "forged");
}

fn ends(shelf: &mut Shelf) {
    let end = |kind, frames: u32, offset: u64| {
        let plain = [&frames.to_le_bytes()[..], &offset.to_le_bytes()].concat();
        frame(Head::plain(kind, &plain), &plain).0
    };
    let at = u64::from(OFFSET);
    let good = end(3, 0, at);
    shelf.add("pack end", "by the letter", &good, "accepted");
    let cut = &good[..good.len() - 1];
    for (what, bytes) in [
        ("another count of frames", &end(3, 1, at)[..]),
        ("another offset", &end(3, 0, at + 1)),
        ("content in its place", &end(1, 0, at)),
        ("cut", cut),
        ("nothing", b""),
    ] {
        shelf.add("pack end", what, bytes, "forged");
    }
}

fn sealed(shelf: &mut Shelf) {
    let key = purpose("anchor");
    let good = seal(&key, "coffre1 anchor", b"aad", b"content");
    shelf.add("sealed", "by the letter", &good, "accepted");
    for (what, bytes) in [
        (
            "another purpose's key",
            seal(&purpose("commit"), "coffre1 anchor", b"aad", b"content"),
        ),
        (
            "the label of commits",
            seal(&key, "coffre1 commit", b"aad", b"content"),
        ),
        (
            "other associated data",
            seal(&key, "coffre1 anchor", b"abd", b"content"),
        ),
        (
            "label and associated data shifted by a byte",
            seal(&key, "coffre1 ancho", b"r\0\0aad", b"content"),
        ),
    ] {
        shelf.add("sealed", what, &bytes, "forged");
    }
    for (what, at) in [
        ("a bit of the nonce", 3),
        ("a bit of the ciphertext", 24),
        ("a bit of the tag", good.len() - 1),
    ] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        shelf.add("sealed", what, &flipped, "forged");
    }
    shelf.add(
        "sealed",
        "shorter than nonce and tag",
        &good[..39],
        "truncated",
    );
    shelf.add("sealed", "nothing", b"", "truncated");
}

/// The order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The neutral element as a public key: a lax verifier accepts [`weak_signature`] under it for any message.
fn weak_key() -> [u8; 32] {
    let mut key = [0; 32];
    key[0] = 1;
    key
}

/// The same element in an encoding that is not reduced: y = p + 1.
fn unreduced_key() -> [u8; 32] {
    let mut key = [0xff; 32];
    key[0] = 0xee;
    key[31] = 0x7f;
    key
}

/// R = the base point, s = 1.
fn weak_signature() -> [u8; 64] {
    let mut signature = [0x66; 64];
    signature[0] = 0x58;
    signature[32..].fill(0);
    signature[32] = 1;
    signature
}

/// The same signature with s + the order: equal for a verifier that does not insist on the least s.
fn other_form(signature: &[u8]) -> Vec<u8> {
    let mut out = signature.to_vec();
    let mut carry = 0;
    for (byte, order) in out[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry as u8;
        carry >>= 8;
    }
    out
}

fn signatures(shelf: &mut Shelf) {
    let (key, hash) = (device().public().0, [5; 32]);
    let good = device().sign(&CommitHash(hash));
    let make = |key: &[u8], hash: &[u8], signature: &[u8]| [key, hash, signature].concat();
    shelf.add(
        "signature",
        "of this hash",
        &make(&key, &hash, &good),
        "accepted",
    );
    let bare = ed25519_dalek::SigningKey::from_bytes(&[0x66; 32]);
    let bare = ed25519_dalek::Signer::sign(&bare, &hash).to_bytes();
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let mut unsigned = good;
    unsigned[32..].fill(0);
    for (what, bytes) in [
        ("of another hash", make(&key, &[6; 32], &good)),
        ("without its context", make(&key, &hash, &bare)),
        (
            "s not below the order",
            make(&key, &hash, &other_form(&good)),
        ),
        ("s = 0", make(&key, &hash, &unsigned)),
        (
            "a public key of low order",
            make(&weak_key(), &hash, &weak_signature()),
        ),
        (
            "a public key of low order, not reduced",
            make(&unreduced_key(), &hash, &weak_signature()),
        ),
        (
            "a public key that is no point",
            make(&no_point, &hash, &good),
        ),
    ] {
        shelf.add("signature", what, &bytes, "forged");
    }
}

/// Clear part of a first commit without packs.
pub fn clear() -> Vec<u8> {
    let key = device();
    [
        b"coffreC1\x01\0\0\0" as &[u8],
        &[0; 12],
        &VAULT.0,
        &1u32.to_le_bytes(),
        &key.device(VAULT).0,
        &key.public().0,
        &1u64.to_le_bytes(),
        &[0; 32],
        &[0; 33],
        &[0; 4],
    ]
    .concat()
}

/// A root in a pack.
pub fn child() -> Child {
    Child {
        pointer: Pointer {
            place: Place::Pack {
                pack: OWN,
                offset: OFFSET,
            },
            stored: 400,
            digest: Digest([5; 32]),
        },
        hash: LogicalHash([6; 32]),
        sums: Sums::default(),
    }
}

/// A commit's body as its fields in order.
#[derive(Clone)]
pub struct Body {
    pub root: Child,
    pub merged: Vector,
    pub seen: Vector,
    pub keyring: Vec<(u32, [u8; 32])>,
    pub time: Timestamp,
}

impl Body {
    pub fn new() -> Self {
        let seq = |seq| Point {
            seq: Seq(seq),
            hash: CommitHash([seq as u8; 32]),
        };
        let seen = Vector::from([(DeviceId([1; 16]), seq(4)), (DeviceId([2; 16]), seq(9))]);
        Self {
            root: child(),
            merged: seen.clone(),
            seen,
            keyring: Vec::new(),
            time: Timestamp {
                seconds: 1,
                nanos: 2,
            },
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let names: Vec<PackName> = vec![OWN.name];
        let first = (self.root, &self.merged, &self.seen, 1u64, &self.keyring);
        let rest = (&names, 5u32, 6u64, &names, self.time, "label");
        [versioned(&first), post(&rest)].concat()
    }
}

fn clear_parts(shelf: &mut Shelf) {
    let (good, body) = (clear(), padded(&Body::new().encode()));
    let mut add = |what: &str, clear: &[u8], expect| {
        let (bytes, name) = commit(clear, &body);
        shelf.add_with("commit", what, &bytes, &name, expect);
    };
    add("made by the letter", &good, "accepted");
    for (what, at, value, expect) in [
        ("signed, with another magic", 0, b'X', "malformed"),
        ("signed, with a newer format", 8, 2, "unsupported"),
        ("signed, with reserved bytes set", 10, 1, "malformed"),
        ("signed, of an epoch nobody knows", 40, 7, "forged"),
        ("signed, of another vault", 24, 0x12, "forged"),
        ("signed, under another device's id", 44, 0, "forged"),
        ("signed, number 0 of its chain", 92, 0, "malformed"),
        ("signed, number 2 after nothing", 92, 2, "malformed"),
        ("signed, the first after another", 100, 1, "malformed"),
        ("signed, an inventory that is neither", 132, 2, "malformed"),
        ("signed, no inventory but its hash", 133, 1, "malformed"),
        ("signed, 256 packs and none follows", 166, 1, "malformed"),
        ("signed, 2^24 packs", 168, 1, "too large"),
    ] {
        let mut clear = good.clone();
        assert_ne!(clear[at], value, "{what}");
        clear[at] = value;
        add(what, &clear, expect);
    }
    let mut named = good.clone();
    named[165] = 1;
    named.extend_from_slice(&[9; 16]);
    let (own, length) = ([9; 32], 32_768u64.to_le_bytes());
    add(
        "signed, with a pack",
        &[&named[..], &own, &length].concat(),
        "accepted",
    );
    let other = [&named[..], &[8; 32], &length].concat();
    add(
        "signed, with a pack whose name is not its hash's",
        &other,
        "malformed",
    );
    let (bytes, name) = sign(good.clone());
    shelf.add_with(
        "commit",
        "signed, with nothing sealed",
        &bytes,
        &name,
        "truncated",
    );
    let (bytes, name) = commit(&good, &body);
    let other_seq = name.replacen("fffffffffffffffe.", "fffffffffffffffd.", 1);
    assert_ne!(name, other_seq);
    shelf.add_with(
        "commit",
        "under another number of its chain",
        &bytes,
        &other_seq,
        "forged",
    );
    let last = bytes.len() - 64;
    let malleable = [&bytes[..last], &other_form(&bytes[last..])].concat();
    shelf.add_with(
        "commit",
        "a signature with s not below the order",
        &malleable,
        &name,
        "forged",
    );
    let mut weak = good;
    weak[KEY_AT..SEQ_AT].copy_from_slice(&weak_key());
    let id = device_id(VAULT, &PublicKey(weak_key()));
    weak[DEVICE_AT..KEY_AT].copy_from_slice(&id.0);
    let (mut bytes, name) = commit(&weak, &body);
    bytes[last..].copy_from_slice(&weak_signature());
    shelf.add_with(
        "commit",
        "a public key of low order, under which anything is signed",
        &bytes,
        &name,
        "forged",
    );
}

fn bodies(shelf: &mut Shelf) {
    let (clear, good) = (clear(), Body::new());
    let bytes = good.encode();
    let mut add = |what: &str, padded: &[u8], expect| {
        let (bytes, name) = commit(&clear, padded);
        shelf.add_with("commit", what, &bytes, &name, expect);
    };
    let mut newer = bytes.clone();
    newer[0] = 2;
    add("sealed, a newer body", &padded(&newer), "unsupported");
    let cut = padded(&bytes[..bytes.len() - 1]);
    add("sealed, a body cut", &cut, "malformed");
    let more = padded(&[&bytes[..], b"x"].concat());
    add("sealed, more behind the body", &more, "malformed");
    add("sealed, no body", &padded(b""), "truncated");
    let mut padding = padded(&bytes);
    padding[4095] = 1;
    add("sealed, padding that is not zeros", &padding, "malformed");
    let mut padding = padded(&bytes);
    padding.pop();
    add("sealed, padding one byte short", &padding, "malformed");
    let mut padding = padded(&bytes);
    padding.resize(8192, 0);
    add("sealed, twice the padding", &padding, "malformed");
    let mut length = padded(&bytes);
    length[3] = 0xff;
    add("sealed, a body longer than all", &length, "truncated");
    // Two devices of 16 + 1 + 32 bytes each, from the count that follows version and root.
    let at = 1 + post(&good.root).len() + 1;
    let mut swapped = bytes.clone();
    swapped[at..at + 98].rotate_left(49);
    add(
        "sealed, devices out of order",
        &padded(&swapped),
        "malformed",
    );
    let mut twice = bytes.clone();
    twice.copy_within(at..at + 49, at + 49);
    add("sealed, a device twice", &padded(&twice), "malformed");
    let mut long = bytes.clone();
    long.splice(at - 1..at, [0x82, 0]);
    add("sealed, a count in two bytes", &padded(&long), "malformed");
    let mut vast = bytes.clone();
    vast.splice(at - 1..at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    add("sealed, a count of 2^32", &padded(&vast), "malformed");
    let open = Place::Open {
        salt: OWN.salt,
        offset: OFFSET,
    };
    let mut with = good.clone();
    with.root.pointer.place = open;
    add(
        "sealed, a root in a pack without a name",
        &padded(&with.encode()),
        "malformed",
    );
    let mut with = good.clone();
    with.seen.pop_first();
    add(
        "sealed, contains what it has not seen",
        &padded(&with.encode()),
        "malformed",
    );
    let mut with = good.clone();
    with.time.nanos = 1_000_000_000;
    add(
        "sealed, 10^9 nanoseconds",
        &padded(&with.encode()),
        "malformed",
    );
    let mut with = good;
    with.keyring = vec![(2, [1; 32]), (1, [2; 32])];
    add(
        "sealed, epochs out of order",
        &padded(&with.encode()),
        "malformed",
    );
    let mut add = |what: &str, sealed: Vec<u8>| {
        let (bytes, name) = sign([&clear[..], &sealed].concat());
        shelf.add_with("commit", what, &bytes, &name, "forged");
    };
    let body = padded(&bytes);
    add(
        "sealed as an anchor",
        seal(&purpose("commit"), "coffre1 anchor", &clear, &body),
    );
    add(
        "sealed with the anchor's key",
        seal(&purpose("anchor"), "coffre1 commit", &clear, &body),
    );
    add(
        "sealed for another clear part",
        seal(&purpose("commit"), "coffre1 commit", &clear[1..], &body),
    );
}

/// The clear part of a slot for [`PASSPHRASE`]; nothing in it is random.
pub fn slot_clear(kind: u8, cost: [u32; 3]) -> Vec<u8> {
    let numbers: Vec<u8> = [cost[0], cost[1], cost[2], 1, 0]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let head: &[u8] = &[1, 0, kind, 0];
    [
        b"coffreK1" as &[u8],
        head,
        &numbers,
        &VAULT.0,
        &[0x77; 16],
        &[0x88; 32],
    ]
    .concat()
}

/// The least that is accepted.
pub const CHEAP: [u32; 3] = [64 * 1024, 3, 1];

/// A slot with this clear part and payload, sealed under this label.
pub fn slot(clear: &[u8], payload: &[u8; 128], text: &str) -> Vec<u8> {
    let params = argon2::Params::new(CHEAP[0], CHEAP[1], CHEAP[2], Some(64)).unwrap();
    let mut stretched = [0; 64];
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(PASSPHRASE.as_bytes(), &clear[64..96], &mut stretched)
        .unwrap();
    let okm: [u8; 64] = h("slot", &[&stretched, &[0; 32], clear]);
    let wrapping: [u8; 64] = [&okm[32..], &okm[32..]].concat().try_into().unwrap();
    let mut slot = [clear, &okm[..32], &seal(&wrapping, text, clear, payload)].concat();
    slot.resize(1024, 0);
    slot
}

/// What a slot holds.
pub fn payload() -> [u8; 128] {
    let mut payload = [0; 128];
    payload[0] = 1;
    payload[4..36].copy_from_slice(&ROOT);
    payload[36..68].copy_from_slice(&STRUCTURE);
    payload
}

fn slot_headers(shelf: &mut Shelf) {
    let make = |cost| [slot_clear(1, cost), vec![0; 928]].concat();
    let [m, t, p] = CHEAP;
    let most = 1024 * 1024;
    shelf.add(
        "key slot header",
        "all that is allowed",
        &make([most, 16, 16]),
        "accepted",
    );
    for (what, cost) in [
        ("1 TiB of memory", [1 << 30, t, p]),
        ("1 KiB more than allowed", [most + 1, t, p]),
        ("1 KiB less than allowed", [m - 1, t, p]),
        ("17 passes", [m, 17, p]),
        ("2 passes", [m, 2, p]),
        ("17 lanes", [m, t, 17]),
        ("2^32 - 1 of each", [u32::MAX; 3]),
        ("none of each", [0; 3]),
    ] {
        shelf.add(
            "key slot header",
            what,
            &make(cost),
            "key derivation refused",
        );
    }
    let long = [make(CHEAP), vec![0]].concat();
    shelf.add("key slot header", "a byte too many", &long, "truncated");
    shelf.add("key slot header", "nothing", b"", "truncated");
}

fn slots(shelf: &mut Shelf) {
    let clear = slot_clear(1, CHEAP);
    let good = slot(&clear, &payload(), "coffre1 slot");
    let mut add = |what: &str, slot: &[u8], expect| {
        shelf.add_with("key slot", what, slot, PASSPHRASE, expect);
    };
    add("made by the letter", &good, "accepted");
    for (what, at, expect) in [
        ("a bit of the commitment", 100, "wrong secret"),
        ("a bit of the nonce", 130, "forged"),
        ("a bit of the sealed payload", 200, "forged"),
        ("a bit of the tag", 295, "forged"),
    ] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        add(what, &flipped, expect);
    }
    let (mut epoch, mut zeros) = (payload(), payload());
    epoch[0] = 2;
    zeros[127] = 1;
    for (what, payload) in [
        ("the payload of another epoch", epoch),
        ("a payload that does not end in zeros", zeros),
    ] {
        add(what, &slot(&clear, &payload, "coffre1 slot"), "malformed");
    }
    let other = slot(&clear, &payload(), "coffre1 anchor");
    add("sealed as an anchor", &other, "forged");
    let recovery = slot(&slot_clear(3, CHEAP), &payload(), "coffre1 slot");
    add("a recovery code's slot", &recovery, "wrong secret");
}
