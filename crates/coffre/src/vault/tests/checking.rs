//! `check` finds each kind of damage and names the file.

use std::fs;
use std::sync::Arc;

use coffre_format::frame::Compression;
use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::id::PackName;
use coffre_format::name::ObjectName;
use coffre_format::node::Entries;
use coffre_format::record::Block;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::Entry;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::Place;
use coffre_format::record::Record;
use coffre_format::record::Stamp;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::record::tag;

use super::World;
use super::fold;
use super::nodes;
use crate::tree::Changes;
use crate::tree::Nodes;
use crate::tree::Source;
use crate::vault::CheckReport;
use crate::vault::Depth;
use crate::vault::PackSink;
use crate::vault::Vault;
use crate::vault::check;

const FILE: Inode = Inode(0x1_0000_0001);

fn put(changes: &mut Changes, key: Key, record: Record) {
    changes.put(key, Arc::new(Value::Record(record)));
}

fn inode(kind: FileKind, size: u64) -> Record {
    let time = Timestamp::default();
    let device = DeviceId([0; 16]);
    Record::Inode(InodeRecord {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        rdev: 0,
        flags: 0,
        target: None,
        subdirectories: 0,
        stamp: Stamp { lamport: 2, device },
    })
}

/// A tree with `/report.txt`, whose content lies in a data pack of its own.
async fn with_file(vault: &Vault, also: impl FnOnce(&mut Changes)) -> (Child, PackName) {
    let mut sink = PackSink::new(vault.ring(), 0).unwrap();
    let content = vec![7; 5000];
    let pointer = sink.put_data(&content, Compression::Off).unwrap();
    let sealed = sink.finish().unwrap();
    let pack = &sealed.packs[0];
    let name = ObjectName::Pack(pack.name());
    vault.store().put(&name, pack.bytes.clone()).await.unwrap();
    let piece = Piece {
        at: 0,
        len: 5000,
        skip: 0,
        content: Content::Frame(sealed.settled.pointer(pointer)),
    };
    let block = Block {
        pieces: vec![piece],
    };
    let mut changes = Changes::default();
    let entry = Entry {
        inode: FILE,
        kind: FileKind::Regular,
    };
    put(
        &mut changes,
        Key::entry(Inode::ROOT, b"report.txt"),
        Record::Entry(entry),
    );
    put(
        &mut changes,
        Key::inode(FILE),
        inode(FileKind::Regular, 5000),
    );
    put(
        &mut changes,
        Key::link(FILE, Inode::ROOT, b"report.txt"),
        Record::Link,
    );
    put(&mut changes, Key::block(FILE, 0), Record::Block(block));
    also(&mut changes);
    let base = vault.heads().base.commit.body.root;
    let (root, _) = fold(vault, &base, &changes).await;
    (root, pack.name())
}

async fn run(vault: &Vault, root: &Child, depth: Depth) -> CheckReport {
    check(vault, &nodes(vault), root, depth, &|_| ())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_sound_vault_has_no_problems() {
    let world = World::new();
    let vault = world.create("a").await;
    let (root, _) = with_file(&vault, |_| ()).await;
    for depth in [Depth::Structure, Depth::Data] {
        let report = run(&vault, &root, depth).await;
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.files, report.directories), (1, 1));
        assert_eq!(report.content_bytes, 5000);
        assert!(report.unused_bytes > 0 && report.live_bytes > 5000);
    }
}

#[tokio::test]
async fn damage_to_content_names_the_file() {
    let world = World::new();
    let vault = world.create("a").await;
    let (root, pack) = with_file(&vault, |_| ()).await;
    let path = world.object(&ObjectName::Pack(pack));
    let whole = fs::read(&path).unwrap();
    let expect = async |depth, damage: &str| {
        let report = run(&vault, &root, depth).await;
        let problem = report.problems.first().expect("a problem");
        assert_eq!(format!("{:?}", problem.damage), damage, "{problem:?}");
        assert!(problem.object.contains(&pack.to_string()));
        assert_eq!(problem.paths, ["/report.txt"]);
    };
    let mut flipped = whole.clone();
    flipped[2000] ^= 1;
    fs::write(&path, flipped).unwrap();
    assert!(run(&vault, &root, Depth::Structure).await.is_sound());
    expect(Depth::Data, "Forged").await;
    fs::write(&path, &whole[..3000]).unwrap();
    expect(Depth::Structure, "Truncated").await;
    fs::remove_file(&path).unwrap();
    expect(Depth::Structure, "Missing").await;
    expect(Depth::Data, "Missing").await;
    fs::write(&path, whole).unwrap();
    assert!(run(&vault, &root, Depth::Data).await.is_sound());
}

#[tokio::test]
async fn records_that_contradict_each_other_are_found() {
    let world = World::new();
    let vault = world.create("a").await;
    type Damage<'a> = (&'a str, &'a dyn Fn(&mut Changes));
    let cases: [Damage<'_>; 5] = [
        ("no such entry", &|c| {
            c.delete(Key::entry(Inode::ROOT, b"report.txt"))
        }),
        ("without a link", &|c| {
            c.delete(Key::link(FILE, Inode::ROOT, b"report.txt"))
        }),
        ("no inode record", &|c| c.delete(Key::inode(FILE))),
        ("content up to byte", &|c| {
            put(c, Key::inode(FILE), inode(FileKind::Regular, 10))
        }),
        ("does not lead to the root", &|c| {
            for (one, other) in [(Inode(500), Inode(501)), (Inode(501), Inode(500))] {
                let Record::Inode(mut record) = inode(FileKind::Directory, 0) else {
                    unreachable!();
                };
                record.subdirectories = 1;
                let entry = Entry {
                    inode: other,
                    kind: FileKind::Directory,
                };
                put(c, Key::inode(one), Record::Inode(record));
                put(c, Key::entry(one, b"loop"), Record::Entry(entry));
                put(c, Key::link(other, one, b"loop"), Record::Link);
            }
        }),
    ];
    for (what, change) in cases {
        let (root, _) = with_file(&vault, change).await;
        let report = run(&vault, &root, Depth::Structure).await;
        let found = report
            .problems
            .iter()
            .any(|problem| problem.what.contains(what));
        assert!(found, "{what}: {report:?}");
    }
}

#[tokio::test]
async fn a_damaged_node_is_reported_and_the_rest_checked() {
    let world = World::new();
    let vault = world.create("a").await;
    let many = |changes: &mut Changes| {
        for number in 0..3000_u64 {
            let file = Inode(0x2_0000_0000 + number);
            let name = format!("file {number}");
            let entry = Entry {
                inode: file,
                kind: FileKind::Regular,
            };
            put(
                changes,
                Key::entry(Inode::ROOT, name.as_bytes()),
                Record::Entry(entry),
            );
            put(changes, Key::inode(file), inode(FileKind::Regular, 0));
            put(
                changes,
                Key::link(file, Inode::ROOT, name.as_bytes()),
                Record::Link,
            );
        }
    };
    let (root, _) = with_file(&vault, many).await;
    let clean = run(&vault, &root, Depth::Structure).await;
    assert!(clean.is_sound() && clean.files == 3001, "{clean:?}");
    assert!(run(&vault, &root, Depth::Data).await.is_sound());
    let source = nodes(&vault);
    let leaf = leaf_of(&source, &root, &Key::inode(Inode(0x2_0000_0000 + 1500))).await;
    let Entries::Leaf(entries) = &source.fetch(&leaf).await.unwrap().entries else {
        panic!("not a leaf");
    };
    let lost = entries
        .iter()
        .filter(|(key, _)| key.tag() == Some(tag::INODE))
        .count() as u64;
    // Whatever the keys of this vault: 48 KiB of inodes with their links are far fewer than all.
    assert!((1..1000).contains(&lost), "{lost} inodes in one leaf");
    let Place::Pack { pack, offset } = leaf.pointer.place else {
        panic!("not frozen");
    };
    let path = world.object(&ObjectName::Pack(pack.name));
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset as usize + 60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = run(&vault, &root, Depth::Structure).await;
    let problem = report.problems.first().expect("a problem");
    assert!(problem.what.contains("are lost"), "{problem:?}");
    assert!(
        problem.paths.iter().any(|path| path.starts_with("/file ")),
        "{problem:?}"
    );
    assert_eq!(report.nodes, clean.nodes - 1);
    assert_eq!(report.directories, clean.directories);
    // The last inode of the leaf still counts if its link lies in the next one.
    let missed = clean.files - report.files;
    assert!(missed == lost || missed + 1 == lost, "{missed} of {lost}");
}

/// The leaf that holds this key.
async fn leaf_of(source: &Nodes, root: &Child, key: &Key) -> Child {
    let mut child = *root;
    while let Entries::Inner(children) = &source.fetch(&child).await.unwrap().entries {
        let index = children.partition_point(|(last, _)| last < key);
        child = children[index].1;
    }
    child
}
