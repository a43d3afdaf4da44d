//! Nodes, commits, transactions and anchors are read back as they were written, and no flipped byte passes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::anchor::Anchor;
use coffre_format::anchor::AnchorHeader;
use coffre_format::commit::*;
use coffre_format::crypto::key::Keyring;
use coffre_format::crypto::sign::DeviceKey;
use coffre_format::id::*;
use coffre_format::keyslot::KdfParams;
use coffre_format::name::ObjectName;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::*;
use coffre_format::transaction::*;
use proptest::prelude::*;

const OWN: PackRef = PackRef {
    name: PackName([1; 16]),
    salt: Salt([2; 16]),
    epoch: Epoch(1),
};

fn pointer() -> impl Strategy<Value = Pointer> {
    (any::<[u8; 32]>(), 0u8..4, 0u32..1 << 24, 1u32..131_073).prop_map(
        |(digest, pack, offset, stored)| {
            let pack = match pack {
                0 => OWN,
                n => PackRef {
                    name: PackName([n + 10; 16]),
                    salt: Salt([n + 20; 16]),
                    epoch: Epoch(u32::from(n)),
                },
            };
            Pointer {
                place: Place::Pack { pack, offset },
                stored,
                digest: Digest(digest),
            }
        },
    )
}

fn block() -> impl Strategy<Value = Block> {
    let inline = proptest::collection::vec(any::<u8>(), 1..=INLINE).prop_map(|bytes| {
        let len = bytes.len() as u32;
        Block {
            pieces: vec![Piece {
                at: 0,
                len,
                skip: 0,
                content: Content::Bytes(bytes.into()),
            }],
        }
    });
    let pieces =
        proptest::collection::vec((1u32..4000, 0u32..4000, 0u32..1000, pointer()), 1..=PIECES)
            .prop_map(|parts| {
                let mut at = 0;
                let pieces = parts
                    .into_iter()
                    .map(|(len, gap, skip, pointer)| {
                        let piece = Piece {
                            at: at + gap,
                            len,
                            skip,
                            content: Content::Frame(pointer),
                        };
                        at += gap + len;
                        piece
                    })
                    .collect();
                Block { pieces }
            });
    prop_oneof![inline, pieces]
}

fn inode_record() -> impl Strategy<Value = InodeRecord> {
    (
        any::<(u16, u32, u32, u32, i64)>(),
        0u32..1_000_000_000,
        proptest::option::of(1usize..200),
    )
        .prop_map(|((mode, uid, gid, size, seconds), nanos, target)| {
            let time = Timestamp { seconds, nanos };
            InodeRecord {
                kind: if target.is_some() {
                    FileKind::Symlink
                } else {
                    FileKind::Regular
                },
                mode: u32::from(mode) & 0o7777,
                uid,
                gid,
                size: u64::from(size),
                atime: time,
                mtime: time,
                ctime: time,
                btime: time,
                rdev: 0,
                flags: 0,
                target: target.map(|length| vec![b'x'; length]),
                subdirectories: 0,
                stamp: Stamp {
                    lamport: 7,
                    device: DeviceId([3; 16]),
                },
            }
        })
}

fn entry() -> impl Strategy<Value = (Key, Value)> {
    let name = proptest::collection::vec(1u8..=255, 1..60)
        .prop_filter("a name", |n| coffre_format::value::is_name(n));
    (1u64..500, name, 0u8..6, block(), inode_record(), pointer()).prop_map(
        |(inode, name, which, block, record, pointer)| {
            let inode = Inode(inode);
            match which {
                0 => (Key::inode(inode), Value::Record(Record::Inode(record))),
                1 => (
                    Key::link(inode, Inode(1), &name),
                    Value::Record(Record::Link),
                ),
                2 => (
                    Key::xattr(inode, &name),
                    Value::Record(Record::Xattr(Bytes::from_static(b"value"))),
                ),
                3 => (
                    Key::entry(inode, &name),
                    Value::Record(Record::Entry(Entry {
                        inode: Inode(77),
                        kind: FileKind::Regular,
                    })),
                ),
                4 => (
                    Key::block(inode, u64::from(name[0])),
                    Value::Record(Record::Block(block)),
                ),
                _ => (
                    Key::xattr(inode, &name),
                    Value::Spilled {
                        length: 5000,
                        pointer,
                    },
                ),
            }
        },
    )
}

fn leaf() -> impl Strategy<Value = Node> {
    proptest::collection::btree_map(any::<u32>(), entry(), 0..60).prop_map(|entries| {
        let sorted: BTreeMap<Key, Value> = entries.into_values().collect();
        Node {
            level: 0,
            entries: Entries::Leaf(sorted.into_iter().map(|(k, v)| (k, Arc::new(v))).collect()),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn leaves(node in leaf()) {
        let bytes = node.encode(OWN.salt).unwrap();
        prop_assert_eq!(&Node::decode(&bytes, OWN).unwrap(), &node);
    }

    #[test]
    fn a_damaged_leaf_is_refused_or_another_canonical_one(node in leaf(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = node.encode(OWN.salt).unwrap();
        let index = at.index(bytes.len());
        bytes[index] ^= 1 << bit;
        if let Ok(other) = Node::decode(&bytes, OWN) {
            prop_assert_eq!(other.encode(OWN.salt).unwrap(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Node::decode(&bytes, OWN);
        let _ = decode_transactions(&bytes);
        let _ = Anchor::peek(&bytes);
        let name = ObjectName::Commit { device: DeviceId([0; 16]), seq: Seq(1), hash: [0; 16] };
        prop_assert!(Verified::check(&bytes, &name).is_err());
        for kind in [coffre_format::frame::FrameKind::Transaction, coffre_format::frame::FrameKind::Checkpoint, coffre_format::frame::FrameKind::Watermark] {
            let _ = JournalFrame::decode(kind, &bytes);
        }
    }

    #[test]
    fn transactions(entries in proptest::collection::vec(entry(), 0..20), lsn: u64) {
        let mut edits: Vec<Edit> = entries.iter().map(|(key, value)| Edit::Put(key.clone(), value.clone())).collect();
        edits.push(Edit::DeleteRange(Key::inode(Inode(4)), Key::inode(Inode(9))));
        let place = Place::Open { salt: Salt([8; 16]), offset: 32 };
        let open = Pointer { place, stored: 9, digest: Digest([4; 32]) };
        for content in [Content::Frame(open), Content::Bytes(Bytes::from(vec![7; 3000]))] {
            let piece = Piece { at: 5, len: 3000, skip: 0, content };
            edits.push(Edit::Splice { key: Key::block(Inode(4), 0), piece });
        }
        let transaction = Transaction { lsn: Lsn(lsn), edits };
        let mut bytes = Vec::new();
        encode_transaction(&transaction, &mut bytes);
        encode_transaction(&transaction, &mut bytes);
        prop_assert_eq!(decode_transactions(&bytes).unwrap(), vec![transaction.clone(), transaction]);
        prop_assert!(decode_transactions(&bytes[..bytes.len() - 1]).is_err());
    }
}

fn child() -> Child {
    let place = Place::Pack {
        pack: OWN,
        offset: 99,
    };
    let pointer = Pointer {
        place,
        stored: 400,
        digest: Digest([5; 32]),
    };
    Child {
        pointer,
        hash: LogicalHash([6; 32]),
        sums: Sums {
            inodes: 3,
            bytes: 1 << 40,
        },
    }
}

fn commit(ring: &Keyring, device: &DeviceKey) -> Commit {
    let hash = ObjectHash([9; 32]);
    let point = Point {
        seq: Seq(4),
        hash: CommitHash([1; 32]),
    };
    let vector = Vector::from([(DeviceId([1; 16]), point)]);
    Commit {
        clear: Clear {
            features: Features::default(),
            vault: ring.vault(),
            epoch: Epoch(1),
            device: device.device(ring.vault()),
            public_key: device.public(),
            seq: Seq(2),
            previous: CommitHash([8; 32]),
            inventory: None,
            packs: vec![AddedPack {
                name: PackName::of(&hash),
                hash,
                length: 32_768,
            }],
        },
        body: Body {
            root: child(),
            merged: vector.clone(),
            seen: vector,
            floor: Seq(1),
            keyring: Vec::new(),
            node_packs: vec![OWN.name],
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

#[test]
fn a_commit_is_checked_without_keys_and_opened_with_them() {
    let ring = Keyring::generate(VaultId([1; 16])).unwrap();
    let device = DeviceKey::generate().unwrap();
    let sealed = commit(&ring, &device).seal(&ring, &device).unwrap();
    let verified = Verified::check(&sealed.bytes, &sealed.name).unwrap();
    assert_eq!(verified.hash, sealed.hash);
    let opened = verified.open(&ring).unwrap();
    assert_eq!(opened.body.root, child());
    assert_eq!(opened.clear, verified.clear);
    let other = Keyring::generate(VaultId([1; 16])).unwrap();
    assert!(verified.open(&other).is_err());
    for at in 0..sealed.bytes.len() {
        let mut flipped = sealed.bytes.clone();
        flipped[at] ^= 0x10;
        assert!(
            Verified::check(&flipped, &sealed.name).is_err(),
            "byte {at}"
        );
    }
    assert!(Verified::check(&sealed.bytes[..sealed.bytes.len() - 1], &sealed.name).is_err());
}

#[test]
fn an_anchor_opens_with_its_vault_s_keys_only() {
    let ring = Keyring::generate(VaultId([1; 16])).unwrap();
    let device = DeviceKey::generate().unwrap();
    let anchor = Anchor {
        header: AnchorHeader {
            vault: ring.vault(),
            epoch: Epoch(1),
            kdf_floor: KdfParams::FLOOR,
            slots: vec![(SlotId([2; 16]), vec![0; 1024])],
        },
        accepted: Vector::new(),
        last: None,
        intent: None,
        device_key: Some(device.clone()),
        retired: Vec::new(),
        minimum_epoch: Epoch(1),
        session: SessionPrefix(1),
        lsn: Lsn(0),
    };
    let bytes = anchor.seal(&ring).unwrap();
    assert_eq!(Anchor::peek(&bytes).unwrap(), anchor.header);
    assert_eq!(
        Anchor::open(&bytes, &ring)
            .unwrap()
            .device_key
            .unwrap()
            .public(),
        device.public()
    );
    assert!(Anchor::open(&bytes, &Keyring::generate(VaultId([1; 16])).unwrap()).is_err());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(Anchor::open(&flipped, &ring).is_err(), "byte {at}");
    }
}

/// Keys and records that weigh most in their physical form for what they weigh in the tree.
fn heavy_leaf(names: &[Vec<u8>], packs: u8) -> Vec<(Key, Arc<Value>)> {
    let mut entries = BTreeMap::new();
    let mut weight = 0;
    for (index, name) in names.iter().cycle().enumerate() {
        let pack = PackRef {
            name: PackName([(index as u8) % packs.max(1) + 40; 16]),
            salt: Salt([index as u8; 16]),
            epoch: Epoch(1),
        };
        let pointer = Pointer {
            place: Place::Pack {
                pack,
                offset: 1 << 23,
            },
            stored: 131_072,
            digest: Digest([9; 32]),
        };
        let pieces = (0..PIECES as u32)
            .map(|at| Piece {
                at: at * 5,
                len: 3,
                skip: 7,
                content: Content::Frame(pointer),
            })
            .collect();
        let (key, value) = match index % 3 {
            0 => (
                Key::block(Inode(index as u64), 1),
                Value::Record(Record::Block(Block { pieces })),
            ),
            1 => (
                Key::entry(Inode(index as u64), name),
                Value::Record(Record::Link),
            ),
            _ => (
                Key::xattr(Inode(index as u64), name),
                Value::Spilled {
                    length: 5000,
                    pointer,
                },
            ),
        };
        weight += coffre_format::node::leaf_weight(&key, &value);
        if weight > coffre_format::node::RUN_MAX || index > 50_000 {
            break;
        }
        entries.insert(key, Arc::new(value));
    }
    entries.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A node is cut by its weight; what is written must fit into a frame whatever it holds.
    #[test]
    fn a_full_leaf_fits_into_a_frame(
        names in proptest::collection::vec(proptest::collection::vec(1u8..=255, 1..255), 1..20),
        packs in 1u8..200,
    ) {
        let entries = heavy_leaf(&names, packs);
        prop_assert!(entries.len() > 20);
        let node = Node { level: 0, entries: Entries::Leaf(entries) };
        let bytes = node.encode(OWN.salt).unwrap();
        prop_assert!(bytes.len() <= coffre_format::frame::FRAME_MAX as usize, "{} bytes", bytes.len());
    }
}
