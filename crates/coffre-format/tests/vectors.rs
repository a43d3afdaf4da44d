//! One failure each: the vectors under `tests/vectors`, which any reader of the format can be tested with.
//!
//! `COFFRE_WRITE_VECTORS=1` writes them anew; the test then compares what is on disk with what is decoded. All
//! are made with the keys in `keys.json`: nothing in them is random.
#![allow(clippy::unwrap_used)]

mod crafted;
mod decoders;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::FormatError;
use coffre_format::anchor::Anchor;
use coffre_format::anchor::AnchorHeader;
use coffre_format::commit::*;
use coffre_format::crypto::key::Keyring;
use coffre_format::crypto::key::RootKey;
use coffre_format::crypto::key::StructureKey;
use coffre_format::crypto::sign::DeviceKey;
use coffre_format::frame::Compression;
use coffre_format::frame::FrameKind;
use coffre_format::frame::prepare;
use coffre_format::header::VaultHeader;
use coffre_format::id::*;
use coffre_format::keyslot::KdfParams;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use coffre_format::record::*;
use coffre_format::transaction::*;
use data_encoding::HEXLOWER;
use serde_json::Value as Json;
use serde_json::json;

use crafted::store::PASSPHRASE;
use decoders::*;

fn outcome(result: &Result<(), FormatError>) -> &'static str {
    match result {
        Ok(()) => "accepted",
        Err(FormatError::Truncated { .. }) => "truncated",
        Err(FormatError::Forged { .. }) => "forged",
        Err(FormatError::Malformed { .. }) => "malformed",
        Err(FormatError::Unsupported { .. }) => "unsupported",
        Err(FormatError::TooLarge { .. }) => "too large",
        Err(FormatError::KdfPolicy { .. }) => "key derivation refused",
        Err(FormatError::WrongSecret) => "wrong secret",
        Err(FormatError::BadSecret { .. }) => "bad secret",
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_vector_fails_as_it_says() {
    if std::env::var_os("COFFRE_WRITE_VECTORS").is_some() {
        write_all();
    }
    let (mut count, mut decoders) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let vector: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(decoder) = vector["decoder"].as_str() else {
            assert!(path.ends_with("keys.json"), "{}", path.display());
            continue;
        };
        let input = hex(vector["input"].as_str().unwrap());
        let result = run(decoder, &input, vector["with"].as_str().unwrap_or_default());
        let (found, what) = (outcome(&result), &vector["what"]);
        assert_eq!(
            vector["expect"],
            found,
            "{}: {what}: {result:?}",
            path.display()
        );
        count += 1;
        decoders.insert(decoder.to_owned());
    }
    assert!(count >= 300, "only {count} vectors");
    assert_eq!(Vec::from_iter(decoders), DECODERS);
}

/// Vectors in the making.
#[derive(Default)]
struct Vectors(BTreeMap<String, Json>, Vec<String>);

impl Vectors {
    /// Adds one, and what is wrong if it does not do as `expect` says.
    fn add(&mut self, decoder: &str, what: &str, input: &[u8], with: &str, expect: &str) {
        let found = run(decoder, input, with);
        if outcome(&found) != expect {
            self.1
                .push(format!("{decoder}: {what}: {found:?}, not {expect}"));
        }
        let mut vector = json!({
            "decoder": decoder,
            "what": what,
            "input": HEXLOWER.encode(input),
            "expect": expect,
        });
        if !with.is_empty() {
            vector["with"] = with.into();
        }
        let number = self.0.values().filter(|v| v["decoder"] == decoder).count();
        let name = format!("{}-{number:02}.json", decoder.replace(' ', "-"));
        self.0.insert(name, vector);
    }

    /// A good one, and the same with one byte changed at each place.
    fn with_changes(
        &mut self,
        decoder: &str,
        good: &[u8],
        with: &str,
        changes: &[(&str, usize, u8, &str)],
    ) {
        self.add(decoder, "as it is written", good, with, "accepted");
        for (what, at, value, expect) in changes {
            let mut changed = good.to_vec();
            assert_ne!(changed[*at], *value, "{what}: nothing changes");
            changed[*at] = *value;
            self.add(decoder, what, &changed, with, expect);
        }
    }
}

fn write_all() {
    let mut vectors = Vectors::default();
    clear_headers(&mut vectors);
    slots(&mut vectors);
    names(&mut vectors);
    packs(&mut vectors);
    nodes(&mut vectors);
    commits(&mut vectors);
    local(&mut vectors);
    let mut shelf = crafted::Shelf::default();
    crafted::store::all(&mut shelf);
    crafted::tree::all(&mut shelf);
    crafted::local::all(&mut shelf);
    for made in &shelf.0 {
        vectors.add(
            made.decoder,
            &made.what,
            &made.input,
            &made.with,
            made.expect,
        );
    }
    assert!(vectors.1.is_empty(), "{}", vectors.1.join("\n"));
    let folder = folder();
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let keys = json!({
        "what": "Keys and places of all vectors",
        "vault": HEXLOWER.encode(&VAULT.0),
        "root_key": HEXLOWER.encode(&ROOT),
        "structure_key": HEXLOWER.encode(&STRUCTURE),
        "epoch": 1,
        "pack": HEXLOWER.encode(&OWN.name.0),
        "salt": HEXLOWER.encode(&OWN.salt.0),
        "frame_offset": OFFSET,
        "device_seed": HEXLOWER.encode(&DEVICE),
        "with": "frame: D of the frame; commit: its name; key slot: the passphrase",
        "decoders": "frame: of data; pack end: after 0 frames; sealed: as an anchor, with the data \"aad\"; \
            signature: public key, hash, signature; spilled value: of an attribute",
    });
    vectors.0.insert("keys.json".into(), keys);
    for (name, vector) in vectors.0 {
        let text = serde_json::to_string_pretty(&vector).unwrap() + "\n";
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn clear_headers(vectors: &mut Vectors) {
    let header = VaultHeader {
        format: 1,
        vault: VAULT,
    };
    let good = header.encode();
    vectors.with_changes(
        "vault header",
        &good,
        "",
        &[
            ("another magic", 0, b'X', "malformed"),
            ("a newer format", 8, 2, "unsupported"),
            ("reserved bytes set", 12, 1, "malformed"),
        ],
    );
    vectors.add(
        "vault header",
        "one byte short",
        &good[..good.len() - 1],
        "",
        "truncated",
    );
    let preamble = Preamble {
        purpose: Purpose::Pack,
        epoch: OWN.epoch,
        salt: OWN.salt,
    };
    let good = preamble.encode();
    vectors.with_changes(
        "pack preamble",
        &good,
        "",
        &[
            ("another magic", 7, b'?', "malformed"),
            ("flags that are not known", 12, 1, "unsupported"),
        ],
    );
    vectors.add("pack preamble", "31 bytes", &good[..31], "", "truncated");
}

fn slots(vectors: &mut Vectors) {
    // Slots that the program seals have a random salt; this one is the same each time.
    let clear = crafted::store::slot_clear(1, crafted::store::CHEAP);
    let good = crafted::store::slot(&clear, &crafted::store::payload(), "coffre1 slot");
    vectors.with_changes(
        "key slot header",
        &good,
        "",
        &[
            ("another magic", 0, b'X', "malformed"),
            ("a newer format", 8, 9, "unsupported"),
            ("a kind that is not known", 10, 77, "unsupported"),
            ("a reserved byte set", 11, 1, "malformed"),
            (
                "4 TiB of memory asked for",
                15,
                0xff,
                "key derivation refused",
            ),
            ("one pass only", 16, 1, "key derivation refused"),
            ("2^24 passes", 19, 1, "key derivation refused"),
            ("no lanes", 20, 0, "key derivation refused"),
            ("flags that are not known", 28, 1, "malformed"),
        ],
    );
    vectors.add(
        "key slot header",
        "too short",
        &good[..1023],
        "",
        "truncated",
    );
    vectors.with_changes(
        "key slot",
        &good,
        PASSPHRASE,
        &[
            ("another vault's id", 32, 0x12, "wrong secret"),
            ("another salt", 64, !good[64], "wrong secret"),
            (
                "padding that is not what was made",
                1023,
                !good[1023],
                "malformed",
            ),
        ],
    );
    vectors.add(
        "key slot",
        "another passphrase",
        &good,
        "correct horse battery stapler",
        "wrong secret",
    );
    vectors.add("key slot", "an empty passphrase", &good, "", "bad secret");
    let code = "0123-4567-89AB-CDEF";
    vectors.add(
        "recovery code",
        "too short",
        code.as_bytes(),
        "",
        "bad secret",
    );
    let letters = "U".repeat(35);
    vectors.add(
        "recovery code",
        "a letter outside the alphabet",
        letters.as_bytes(),
        "",
        "bad secret",
    );
}

fn names(vectors: &mut Vectors) {
    let good = format!("packs/44/{}", "4".repeat(32));
    vectors.add("object name", "a pack", good.as_bytes(), "", "accepted");
    let bad = [
        (
            "the folder of another pack",
            format!("packs/45/{}", "4".repeat(32)),
        ),
        ("upper case", format!("packs/4A/4A{}", "4".repeat(30))),
        (
            "a pack's id one digit short",
            format!("packs/44/{}", "4".repeat(31)),
        ),
        ("a path upwards", "../vault".to_owned()),
        ("an absolute path", "/vault".to_owned()),
        (
            "a commit without its hash",
            format!("commits/{}/0000000000000001", "1".repeat(32)),
        ),
        ("nothing", String::new()),
    ];
    for (what, name) in bad {
        vectors.add("object name", what, name.as_bytes(), "", "malformed");
    }
    vectors.add("checkpoint string", "nothing", b"", "", "malformed");
    vectors.add(
        "checkpoint string",
        "another program's",
        b"other1-abcdef",
        "",
        "malformed",
    );
    for (what, inode, tag, rest) in [
        ("no tag", 1u64, None, &b""[..]),
        (
            "an entry with a slash in its name",
            1,
            Some(tag::ENTRY),
            b"a/b",
        ),
        ("an entry called ..", 1, Some(tag::ENTRY), b".."),
        ("an entry without a name", 1, Some(tag::ENTRY), b""),
        (
            "an inode's record with more behind it",
            1,
            Some(tag::INODE),
            b"x",
        ),
    ] {
        let mut key = inode.to_be_bytes().to_vec();
        key.extend(tag);
        key.extend_from_slice(rest);
        vectors.add("key", what, &key, "", "malformed");
    }
    let good = Key::entry(Inode(1), b"photos");
    vectors.add("key", "an entry", good.as_bytes(), "", "accepted");
}

fn packs(vectors: &mut Vectors) {
    let (ring, keys) = (ring(), pack_keys());
    let content = b"what the provider must not read ".repeat(20);
    let prepared = prepare(
        ring.structure(),
        FrameKind::Data,
        &content,
        Compression::Try,
    )
    .unwrap();
    let mut frame = Vec::new();
    keys.seal(OFFSET, &prepared, &mut frame);
    let digest = HEXLOWER.encode(&prepared.digest().0);
    vectors.with_changes(
        "frame",
        &frame,
        &digest,
        &[
            ("a bit of the nonce", 0, frame[0] ^ 1, "forged"),
            ("a bit of the masked header", 24, frame[24] ^ 1, "forged"),
            ("a bit of the length", 28, frame[28] ^ 1, "forged"),
            ("a bit of the ciphertext", 40, frame[40] ^ 1, "forged"),
            (
                "a bit of the tag",
                frame.len() - 1,
                frame[frame.len() - 1] ^ 1,
                "forged",
            ),
        ],
    );
    vectors.add("frame", "cut", &frame[..frame.len() - 1], &digest, "forged");
    vectors.add(
        "frame",
        "the content that another pointer promised",
        &frame,
        &"00".repeat(32),
        "forged",
    );
    let mut elsewhere = Vec::new();
    keys.seal(OFFSET + 1, &prepared, &mut elsewhere);
    vectors.add(
        "frame",
        "from another place of the pack",
        &elsewhere,
        &digest,
        "forged",
    );
    let node = prepare(
        ring.structure(),
        FrameKind::Node,
        &content,
        Compression::Off,
    )
    .unwrap();
    let mut other = Vec::new();
    keys.seal(OFFSET, &node, &mut other);
    let its_digest = HEXLOWER.encode(&node.digest().0);
    vectors.add(
        "frame",
        "a node where content is expected",
        &other,
        &its_digest,
        "forged",
    );
    let mut pack = vec![0; OFFSET as usize];
    keys.close(&mut pack, 0, coffre_format::pack::PackSize::Padded)
        .unwrap();
    let end = &pack[OFFSET as usize..];
    vectors.add(
        "pack end",
        "of a pack without frames, and its first padding",
        &end[..200],
        "",
        "accepted",
    );
    let mut flipped = end[..200].to_vec();
    flipped[100] ^= 1;
    vectors.add(
        "pack end",
        "padding that is not what was made",
        &flipped,
        "",
        "forged",
    );
}

fn leaf() -> Node {
    let entry = |name: &[u8], inode: u64| {
        let entry = Entry {
            inode: Inode(inode),
            kind: FileKind::Regular,
        };
        (
            Key::entry(Inode(1), name),
            Arc::new(Value::Record(Record::Entry(entry))),
        )
    };
    let xattr = Value::Record(Record::Xattr(Bytes::from_static(b"blue")));
    Node {
        level: 0,
        entries: Entries::Leaf(vec![
            entry(b"a", 70),
            entry(b"b", 71),
            (Key::xattr(Inode(70), b"user.colour"), Arc::new(xattr)),
        ]),
    }
}

fn nodes(vectors: &mut Vectors) {
    let good = leaf().encode(OWN.salt).unwrap();
    vectors.with_changes(
        "node",
        &good,
        "",
        &[
            ("a newer version", 0, 99, "unsupported"),
            ("a level that has no children", 1, 1, "malformed"),
            ("a level beyond any tree", 1, 60, "malformed"),
        ],
    );
    vectors.add("node", "cut", &good[..good.len() - 1], "", "truncated");
    vectors.add(
        "node",
        "more behind it",
        &[&good[..], b"x"].concat(),
        "",
        "malformed",
    );
    vectors.add("node", "nothing", b"", "", "truncated");
    let Entries::Leaf(mut entries) = leaf().entries else {
        return;
    };
    entries.swap(0, 1);
    let disordered = Node {
        level: 0,
        entries: Entries::Leaf(entries.clone()),
    };
    let bytes = disordered.encode(OWN.salt).unwrap();
    vectors.add("node", "keys out of order", &bytes, "", "malformed");
    let twice = Node {
        level: 0,
        entries: Entries::Leaf(vec![entries[0].clone(), entries[0].clone()]),
    };
    let bytes = twice.encode(OWN.salt).unwrap();
    vectors.add("node", "a key twice", &bytes, "", "malformed");
    let long = Value::Record(Record::Xattr(Bytes::from(vec![7; 5000])));
    let spilled = long.encoded_plain();
    vectors.add(
        "spilled value",
        "a long attribute",
        &spilled,
        "",
        "accepted",
    );
    vectors.add(
        "spilled value",
        "one that is short enough to stand in its leaf",
        b"\x01short",
        "",
        "malformed",
    );
}

fn device() -> DeviceKey {
    DeviceKey::from_bytes(&DEVICE)
}

fn commit(device: &DeviceKey) -> Commit {
    let pointer = Pointer {
        place: Place::Pack {
            pack: OWN,
            offset: OFFSET,
        },
        stored: 400,
        digest: Digest([5; 32]),
    };
    Commit {
        clear: Clear {
            features: Features::default(),
            vault: VAULT,
            epoch: Epoch(1),
            device: device.device(VAULT),
            public_key: device.public(),
            seq: Seq(1),
            previous: CommitHash([0; 32]),
            inventory: None,
            packs: Vec::new(),
        },
        body: Body {
            root: Child {
                pointer,
                hash: LogicalHash([6; 32]),
                sums: Sums::default(),
            },
            merged: Vector::new(),
            seen: Vector::new(),
            floor: Seq(1),
            keyring: Vec::new(),
            node_packs: Vec::new(),
            session: SessionPrefix(5),
            lsn: Lsn(6),
            acknowledged: Vec::new(),
            time: Timestamp {
                seconds: 1,
                nanos: 2,
            },
            label: "label".into(),
        },
    }
}

fn commits(vectors: &mut Vectors) {
    let device = device();
    let sealed = commit(&device).seal(&ring(), &device).unwrap();
    let (good, name) = (&sealed.bytes, sealed.name.to_string());
    let middle = good.len() / 2;
    vectors.with_changes(
        "commit",
        good,
        &name,
        &[
            ("a bit of its clear part", 20, good[20] ^ 1, "forged"),
            (
                "a bit of its sealed part",
                middle,
                good[middle] ^ 1,
                "forged",
            ),
            (
                "a bit of its signature",
                good.len() - 1,
                good[good.len() - 1] ^ 1,
                "forged",
            ),
        ],
    );
    vectors.add(
        "commit",
        "shorter than a signature",
        &good[..40],
        &name,
        "truncated",
    );
    let (last, other) = (name.len() - 1, if name.ends_with('0') { "1" } else { "0" });
    let renamed = format!("{}{other}", &name[..last]);
    vectors.add(
        "commit",
        "under the name of another",
        good,
        &renamed,
        "forged",
    );
    let pack = format!("packs/44/{}", "4".repeat(32));
    vectors.add("commit", "under the name of a pack", good, &pack, "forged");
    let other = DeviceKey::from_bytes(&[0x67; 32]);
    let stolen = commit(&device).seal(&ring(), &other).unwrap();
    vectors.add(
        "commit",
        "signed by another device",
        &stolen.bytes,
        &stolen.name.to_string(),
        "forged",
    );
    let mut strange = commit(&device);
    strange.clear.features.required = 1 << 30;
    let strange = strange.seal(&ring(), &device).unwrap();
    vectors.add(
        "commit",
        "needs what this version does not know",
        &strange.bytes,
        &strange.name.to_string(),
        "unsupported",
    );
    let other = Keyring::new(
        VaultId([0x12; 16]),
        Epoch(1),
        RootKey::from_bytes(ROOT),
        StructureKey::from_bytes(STRUCTURE),
    );
    let mut foreign = commit(&device);
    foreign.clear.vault = other.vault();
    foreign.clear.device = device.device(other.vault());
    let foreign = foreign.seal(&other, &device).unwrap();
    vectors.add(
        "commit",
        "of another vault",
        &foreign.bytes,
        &foreign.name.to_string(),
        "forged",
    );
}

fn local(vectors: &mut Vectors) {
    let anchor = Anchor {
        header: AnchorHeader {
            vault: VAULT,
            epoch: Epoch(1),
            kdf_floor: KdfParams::FLOOR,
            slots: Vec::new(),
        },
        accepted: Vector::new(),
        last: None,
        intent: None,
        device_key: Some(device()),
        retired: Vec::new(),
        minimum_epoch: Epoch(1),
        session: SessionPrefix(1),
        lsn: Lsn(0),
    };
    let good = anchor.seal(&ring()).unwrap();
    let last = good.len() - 1;
    vectors.with_changes(
        "anchor",
        &good,
        "",
        &[
            ("another magic", 0, b'X', "malformed"),
            ("a bit of its sealed part", last, good[last] ^ 1, "forged"),
        ],
    );
    vectors.add("anchor", "cut", &good[..3], "", "truncated");
    let transaction = Transaction {
        lsn: Lsn(5),
        edits: vec![Edit::Delete(Key::inode(Inode(9)))],
    };
    let mut good = Vec::new();
    encode_transaction(&transaction, &mut good);
    vectors.add("transactions", "one", &good, "", "accepted");
    vectors.add(
        "transactions",
        "cut",
        &good[..good.len() - 1],
        "",
        "truncated",
    );
    let mut longer = good.clone();
    longer[0] += 1;
    longer.push(0);
    vectors.add(
        "transactions",
        "bytes that say nothing",
        &longer,
        "",
        "malformed",
    );
    let header = FrameHeader {
        session: SessionPrefix(1),
        lsn: Lsn(5),
        previous: Digest::NONE,
        watermark: Watermark {
            segment: 1,
            offset: 32,
            pack: None,
        },
    };
    let frame = JournalFrame::Transactions(header, Part::Last, good.clone());
    let bytes = frame.encode();
    vectors.add("journal frame", "one transaction", &bytes, "", "accepted");
    vectors.add(
        "journal frame",
        "a header longer than the frame",
        &[&[0xff; 4][..], &bytes[4..]].concat(),
        "",
        "truncated",
    );
    let part = 4 + u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut strange = bytes.clone();
    strange[part] = 9;
    vectors.add(
        "journal frame",
        "neither the last part nor another",
        &strange,
        "",
        "malformed",
    );
}
