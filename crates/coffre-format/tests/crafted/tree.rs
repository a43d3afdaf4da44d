//! What the tree may hold: keys, records and nodes, byte by byte, with one thing wrong in each.

use coffre_format::id::*;
use coffre_format::record::*;

use super::store::child;
use super::*;

pub fn all(shelf: &mut Shelf) {
    names(shelf);
    vault_keys(shelf);
    layouts(shelf);
    tables(shelf);
    inodes(shelf);
    blocks(shelf);
    spills(shelf);
    vault_records(shelf);
    inner_nodes(shelf);
}

fn names(shelf: &mut Shelf) {
    let longest = [b'n'; 255];
    let mut add = |what: &str, inode: u64, tag: u8, rest: &[u8], expect| {
        let key = [&inode.to_be_bytes()[..], &[tag], rest].concat();
        shelf.add("key", what, &key, expect);
    };
    add("the longest name", 1, tag::ENTRY, &longest, "accepted");
    add(
        "any byte but / and NUL",
        1,
        tag::ENTRY,
        b"\xff\x01 ",
        "accepted",
    );
    add("three dots", 1, tag::ENTRY, b"...", "accepted");
    let long = [b'n'; 256];
    for (what, name) in [
        ("256 bytes", &long[..]),
        (".", b"."),
        ("a NUL", b"a\0b"),
        ("/", b"/"),
        ("a slash at its end", b"a/"),
    ] {
        let named = |record: &str| format!("{record} whose name is or has {what}");
        add(&named("an entry"), 1, tag::ENTRY, name, "malformed");
        let link = [&1u64.to_be_bytes()[..], name].concat();
        add(&named("a link"), 7, tag::LINK, &link, "malformed");
    }
    for (what, tag, rest) in [
        ("a link without a name", tag::LINK, &[0; 8][..]),
        ("a link with half a parent", tag::LINK, &[0; 4]),
        ("an attribute without a name", tag::XATTR, b""),
        ("an attribute with a NUL", tag::XATTR, b"user.\0"),
        ("an attribute of 256 bytes", tag::XATTR, &long),
        ("a block whose index has 7 bytes", tag::BLOCK, &[0; 7]),
        ("a block whose index has 9 bytes", tag::BLOCK, &[0; 9]),
        ("tag 0", 0, b""),
        ("a tag between those of files", 0x60, b"x"),
        ("a vault's record under a file", tag::SETTING, b"x"),
        ("a tag to be kept, over its bound", 0x80, &[0; 513]),
    ] {
        add(what, 7, tag, rest, "malformed");
    }
    add("a tag to be kept", 7, 0x80, &[0; 512], "accepted");
    shelf.add("key", "nothing", b"", "malformed");
}

fn vault_keys(shelf: &mut Shelf) {
    for (tag, length) in [
        (tag::PACK, 28),
        (tag::ORPHAN, 24),
        (tag::SESSION, 4),
        (tag::SLOT, 16),
        (tag::DEVICE, 16),
    ] {
        let key = |length| Key::new(Inode::VAULT, tag, &vec![1; length]);
        let good = key(length);
        let what = format!("tag {tag:02x} of the vault");
        shelf.add("key", &what, good.as_bytes(), "accepted");
        let what = format!("tag {tag:02x} of the vault, a byte short");
        shelf.add("key", &what, key(length - 1).as_bytes(), "malformed");
    }
    for tag in [tag::INODE, tag::ENTRY, tag::BLOCK] {
        let rest: &[u8] = match tag {
            tag::INODE => b"",
            _ => b"12345678",
        };
        let what = format!("tag {tag:02x} under inode 0");
        let key = Key::new(Inode::VAULT, tag, rest);
        shelf.add("key", &what, key.as_bytes(), "malformed");
    }
}

/// A leaf's entry that shares nothing with the one before.
fn entry(key: &Key, value: &[u8]) -> Vec<u8> {
    let key = key.as_bytes();
    let length = leb(value.len() as u64);
    [&[0][..], &leb(key.len() as u64), key, &length, value].concat()
}

/// A leaf with a table of packs (36 bytes each).
fn leaf_with(table: &[PackRef], entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [vec![1, 0], leb(table.len() as u64)].concat();
    for pack in table {
        bytes.extend_from_slice(&pack.name.0);
        bytes.extend_from_slice(&pack.salt.0);
        bytes.extend_from_slice(&pack.epoch.0.to_le_bytes());
    }
    [bytes, leb(entries.len() as u64), entries.concat()].concat()
}

/// A leaf with one entry.
pub fn leaf(key: &Key, value: &[u8]) -> Vec<u8> {
    leaf_with(&[], &[entry(key, value)])
}

fn layouts(shelf: &mut Shelf) {
    let (a, b) = (
        Key::new(Inode(1), 0x80, b"a"),
        Key::new(Inode(1), 0x80, b"b"),
    );
    let good = leaf(&a, b"x");
    shelf.add("node", "made by the letter", &good, "accepted");
    shelf.add("node", "without entries", &[1, 0, 0, 0], "accepted");
    shelf.add("node", "a level without a count", &[1, 0], "truncated");
    let shared = |count: u8, suffix: &[u8]| {
        let second = [&[count, suffix.len() as u8], suffix, &[1, b'y']].concat();
        leaf_with(&[], &[entry(&a, b"x"), second])
    };
    shelf.add("node", "two keys", &shared(9, b"b"), "accepted");
    for (what, bytes) in [
        (
            "a key that shares less than it could",
            shared(8, &b.as_bytes()[8..]),
        ),
        ("a key that shares more than there is", shared(11, b"b")),
        ("a key that is the one before", shared(10, b"")),
        ("a key that is before the one before", shared(9, b"A")),
        (
            "a count in two bytes",
            [&[1, 0, 0, 0x81, 0][..], &good[4..]].concat(),
        ),
        (
            "a count of packs in two bytes",
            [&[1, 0, 0x80, 0][..], &good[3..]].concat(),
        ),
        (
            "a number of 70 bits",
            [&[1, 0, 0][..], &[0xff; 9], &[0x7f]].concat(),
        ),
        (
            "a name that is ..",
            leaf(&Key::entry(Inode(1), b".."), &[1, 70, 0]),
        ),
        (
            "a name with a slash",
            leaf(&Key::entry(Inode(1), b"../../etc"), &[1, 70, 0]),
        ),
        (
            "a name of 256 bytes",
            leaf(&Key::entry(Inode(1), &[b'n'; 256]), &[1, 70, 0]),
        ),
    ] {
        shelf.add("node", what, &bytes, "malformed");
    }
    for (what, bytes) in [
        ("more entries than bytes", vec![1, 0, 0, 0xff, 0x7f]),
        (
            "2^63 entries",
            [&[1, 0, 0][..], &leb(1 << 63), &[0]].concat(),
        ),
        ("2^63 packs", [&[1, 0][..], &leb(1 << 63), &[0]].concat()),
        ("a pack cut", [&[1, 0, 1][..], &[0; 35]].concat()),
        ("a key longer than the node", vec![1, 0, 0, 1, 0, 0x7f]),
        (
            "a value longer than the node",
            [&good[..good.len() - 2], &[9, b'x']].concat(),
        ),
    ] {
        shelf.add("node", what, &bytes, "truncated");
    }
}

/// The pack of this number.
fn pack(number: u8) -> PackRef {
    PackRef {
        name: PackName([number; 16]),
        salt: Salt([number; 16]),
        epoch: Epoch(1),
    }
}

/// A stored pointer: index of the pack, offset, stored length, D.
fn pointer(index: u8, stored: u64) -> Vec<u8> {
    [&[index, 32][..], &leb(stored), &[5; 32]].concat()
}

/// A piece as a node stores it.
fn piece(at: u64, len: u64, skip: u64, index: u8) -> Vec<u8> {
    [leb(at), leb(len), leb(skip), pointer(index, 400)].concat()
}

/// A block of pieces.
fn block(pieces: &[Vec<u8>]) -> Vec<u8> {
    [vec![1, 1, pieces.len() as u8], pieces.concat()].concat()
}

fn block_key() -> Key {
    Key::block(Inode(7), 0)
}

fn tables(shelf: &mut Shelf) {
    let with = |table: &[PackRef], indices: &[u8]| {
        let pieces: Vec<Vec<u8>> = indices
            .iter()
            .enumerate()
            .map(|(at, index)| piece(at as u64, 1, 0, *index))
            .collect();
        leaf_with(table, &[entry(&block_key(), &block(&pieces))])
    };
    let (one, two) = (pack(1), pack(2));
    shelf.add(
        "node",
        "its own pack and two",
        &with(&[one, two], &[1, 0, 2]),
        "accepted",
    );
    for (what, bytes) in [
        ("a pack that nothing names", with(&[one, two], &[1])),
        ("packs not in order of use", with(&[one, two], &[2, 1])),
        ("a pack twice in the table", with(&[one, one], &[1, 2])),
        ("its own pack in the table", with(&[OWN], &[1])),
        ("a pack beyond the table", with(&[one], &[1, 2])),
    ] {
        shelf.add("node", what, &bytes, "malformed");
    }
}

/// A regular file's record.
fn inode_record() -> InodeRecord {
    let time = Timestamp {
        seconds: -1,
        nanos: 999_999_999,
    };
    InodeRecord {
        kind: FileKind::Regular,
        mode: 0o7777,
        uid: 1,
        gid: 2,
        size: i64::MAX as u64,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        rdev: 0,
        flags: 0,
        target: None,
        subdirectories: 0,
        stamp: Stamp {
            lamport: 7,
            device: DeviceId([3; 16]),
        },
    }
}

fn inodes(shelf: &mut Shelf) {
    let key = Key::inode(Inode(7));
    let good = inode_record();
    let link = |target: &[u8]| {
        let mut record = inode_record();
        record.kind = FileKind::Symlink;
        record.target = Some(target.to_vec());
        record
    };
    let mut add = |what: &str, value: &[u8], expect| {
        shelf.add("node", what, &leaf(&key, value), expect);
    };
    let bytes = versioned(&good);
    add("a file with all at its bound", &bytes, "accepted");
    add("a symlink", &versioned(&link(b"/a")), "accepted");
    let mut wrong = Vec::new();
    for (what, change) in [
        (
            "10^9 nanoseconds",
            (|r| r.mtime.nanos = 1_000_000_000) as fn(&mut InodeRecord),
        ),
        ("10^9 nanoseconds at creation", |r| {
            r.btime.nanos = 1_000_000_000;
        }),
        ("a size of 2^63", |r| r.size = 1 << 63),
        ("a mode beyond 07777", |r| r.mode = 0o10_000),
        ("a file with a target", |r| r.target = Some(vec![b'x'])),
        ("a symlink without a target", |r| {
            r.kind = FileKind::Symlink;
        }),
    ] {
        let mut record = good.clone();
        change(&mut record);
        wrong.push((what, versioned(&record)));
    }
    wrong.push(("a symlink to nothing", versioned(&link(b""))));
    wrong.push(("a symlink to a NUL", versioned(&link(b"a\0"))));
    wrong.push(("more behind a record", [&bytes[..], b"x"].concat()));
    wrong.push(("a record cut", bytes[..bytes.len() - 1].to_vec()));
    let mut kind = bytes.clone();
    kind[1] = 7;
    wrong.push(("a kind of file that is not known", kind));
    let mut kind = bytes.clone();
    kind.splice(1..2, [0x80, 0]);
    wrong.push(("a number in more bytes than it needs", kind));
    let mut newer = bytes.clone();
    newer[0] = 2;
    for (what, value) in wrong {
        add(what, &value, "malformed");
    }
    add("a record of a newer version", &newer, "unsupported");
    add("a record without bytes", b"", "truncated");
    let link = Key::link(Inode(7), Inode(1), b"a");
    shelf.add(
        "node",
        "a link that holds something",
        &leaf(&link, &[1, 0]),
        "malformed",
    );
}

fn blocks(shelf: &mut Shelf) {
    let mut add = |what: &str, value: &[u8], expect| {
        shelf.add("node", what, &leaf(&block_key(), value), expect);
    };
    let most = 128 * 1024;
    let inline = |length: usize| [vec![1, 0], leb(length as u64), vec![9; length]].concat();
    add(
        "a block of one whole frame",
        &block(&[piece(0, most, 0, 0)]),
        "accepted",
    );
    add("512 bytes inline", &inline(512), "accepted");
    let many = |count| (0..count).map(|at| piece(at, 1, 0, 0)).collect::<Vec<_>>();
    add("16 pieces", &block(&many(16)), "accepted");
    let long = [leb(0), leb(1), leb(0), pointer(0, most + 1)].concat();
    for (what, value) in [
        ("17 pieces", block(&many(17))),
        ("a block without pieces", block(&[])),
        ("an empty piece", block(&[piece(0, 0, 0, 0)])),
        (
            "pieces that overlap",
            block(&[piece(0, 5, 0, 0), piece(4, 5, 0, 0)]),
        ),
        (
            "pieces out of order",
            block(&[piece(9, 5, 0, 0), piece(0, 5, 0, 0)]),
        ),
        ("a piece beyond its block", block(&[piece(1, most, 0, 0)])),
        ("a piece beyond its frame", block(&[piece(0, most, 1, 0)])),
        (
            "a piece that ends after 2^32",
            block(&[piece(u64::from(u32::MAX), 2, 0, 0)]),
        ),
        (
            "a piece that is skipped to after 2^32",
            block(&[piece(0, 2, u64::from(u32::MAX), 0)]),
        ),
        ("a place of 33 bits", block(&[piece(1 << 32, 1, 0, 0)])),
        ("a frame of more than 128 KiB", block(&[long])),
        ("513 bytes inline", inline(513)),
        ("nothing inline", inline(0)),
        ("a block that is neither", vec![1, 2, 0]),
    ] {
        add(what, &value, "malformed");
    }
}

fn spills(shelf: &mut Shelf) {
    let spill = |length| [vec![0], leb(length), pointer(0, 400)].concat();
    let key = Key::xattr(Inode(7), b"user.a");
    let mut add = |what: &str, key: &Key, value: &[u8], expect| {
        shelf.add("node", what, &leaf(key, value), expect);
    };
    let bytes = |length| versioned(&vec![7u8; length]);
    add("a spilled attribute", &key, &spill(4097), "accepted");
    // Two bytes of length and one of version.
    add(
        "the longest attribute in a leaf",
        &key,
        &bytes(4093),
        "accepted",
    );
    for (what, key, value) in [
        ("spilled without need", &key, spill(4096)),
        ("spilled over a frame", &key, spill(128 * 1024 + 1)),
        ("not spilled at 4097 bytes", &key, bytes(4094)),
        ("a spilled block", &block_key(), spill(4097)),
        ("a spilled entry", &Key::entry(Inode(1), b"a"), spill(4097)),
        (
            "a spilled device",
            &Key::new(Inode::VAULT, tag::DEVICE, &[3; 16]),
            spill(4097),
        ),
    ] {
        add(what, key, &value, "malformed");
    }
    let good = bytes(4094);
    shelf.add("spilled value", "the shortest", &good, "accepted");
    shelf.add("spilled value", "a byte shorter", &bytes(4093), "malformed");
    let more = [&good[..], b"x"].concat();
    shelf.add("spilled value", "more behind it", &more, "malformed");
    let cut = bytes(4095);
    let cut = &cut[..cut.len() - 1];
    shelf.add("spilled value", "cut", cut, "malformed");
    let mut newer = good;
    newer[0] = 2;
    shelf.add("spilled value", "of a newer version", &newer, "unsupported");
    let mut again = spill(5000);
    again.resize(4097, 0);
    shelf.add("spilled value", "spilled once more", &again, "malformed");
}

fn vault_records(shelf: &mut Shelf) {
    let time = |nanos| Timestamp { seconds: 1, nanos };
    let snapshot = |nanos, place| {
        let mut root = child();
        root.pointer.place = place;
        versioned(&SnapshotRecord {
            label: "kept".into(),
            time: time(nanos),
            root,
        })
    };
    let slot = |nanos| {
        versioned(&SlotRecord {
            hash: [1; 32],
            kind: 1,
            label: "laptop".into(),
            created: time(nanos),
        })
    };
    let (at, billion) = (child().pointer.place, 1_000_000_000);
    let open = Place::Open {
        salt: OWN.salt,
        offset: OFFSET,
    };
    let device = [vec![1], device().public().0.to_vec(), vec![1, 1, b'd']].concat();
    let kept = Key::new(Inode::VAULT, tag::SNAPSHOT, b"kept");
    let slot_key = Key::new(Inode::VAULT, tag::SLOT, &[3; 16]);
    let device_key = Key::new(Inode::VAULT, tag::DEVICE, &[3; 16]);
    let mut add = |what: &str, key: &Key, value: &[u8], expect| {
        shelf.add("node", what, &leaf(key, value), expect);
    };
    add("a snapshot", &kept, &snapshot(1, at), "accepted");
    add("a slot's record", &slot_key, &slot(1), "accepted");
    let state = |state: &[u8]| [&device[..], state].concat();
    add("a device", &device_key, &state(&[0]), "accepted");
    for (what, key, value) in [
        (
            "a snapshot at 10^9 nanoseconds",
            &kept,
            snapshot(billion, at),
        ),
        (
            "a snapshot in a pack without a name",
            &kept,
            snapshot(1, open),
        ),
        ("a slot made at 10^9 nanoseconds", &slot_key, slot(billion)),
        ("a device in no known state", &device_key, state(&[3])),
        ("a device without a state", &device_key, state(&[])),
        ("a device revoked after nothing", &device_key, state(&[2])),
    ] {
        add(what, key, &value, "malformed");
    }
    let mut text = state(&[0]);
    let at = text.len() - 2;
    text[at] = 0xff;
    add(
        "a device's name that is not UTF-8",
        &device_key,
        &text,
        "malformed",
    );
}

fn inner_nodes(shelf: &mut Shelf) {
    let key = |last| Key::entry(Inode(1), &[last]);
    let child = |key: &Key, stored: u64, inodes: &[u8]| {
        let key = key.as_bytes();
        let place = pointer(0, stored);
        [&[0, key.len() as u8], key, &place, &[6; 32], inodes, &[9]].concat()
    };
    let node = |level: u8, children: &[Vec<u8>]| {
        [vec![1, level, 0, children.len() as u8], children.concat()].concat()
    };
    let (one, most) = (child(&key(b'a'), 400, &[3]), 128 * 1024);
    shelf.add(
        "node",
        "a child",
        &node(1, std::slice::from_ref(&one)),
        "accepted",
    );
    shelf.add(
        "node",
        "the highest level",
        &node(7, std::slice::from_ref(&one)),
        "accepted",
    );
    for (what, bytes) in [
        ("one level too many", node(8, std::slice::from_ref(&one))),
        ("no children", node(1, &[])),
        (
            "a child of more than 128 KiB",
            node(1, &[child(&key(b'a'), most + 1, &[3])]),
        ),
        (
            "children out of order",
            node(1, &[child(&key(b'b'), 400, &[3]), one.clone()]),
        ),
        ("a child twice", node(1, &[one.clone(), one.clone()])),
        (
            "sums in more bytes than they need",
            node(1, &[child(&key(b'a'), 400, &[0x83, 0])]),
        ),
        (
            "sums of 70 bits",
            node(1, &[child(&key(b'a'), 400, &[0xff; 10])]),
        ),
        (
            "a child under a name that is .",
            node(1, &[child(&key(b'.'), 400, &[3])]),
        ),
    ] {
        shelf.add("node", what, &bytes, "malformed");
    }
    let cut = node(1, &[one[..one.len() - 1].to_vec()]);
    shelf.add("node", "a child cut", &cut, "truncated");
}
