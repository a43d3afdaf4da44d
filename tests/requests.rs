//! What the drive costs in requests and bytes: counted, not timed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use bytes::Bytes;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre::store::Counts;
use coffre::store::Outbox;
use coffre::store::Reader;
use coffre::store::StoreUri;
use coffre::tree;
use coffre::tree::Changes;
use coffre::tree::Nodes;
use coffre::tree::Source;
use coffre::vault::Access;
use coffre::vault::Draft;
use coffre::vault::PackSink;
use coffre_format::commit::Vector;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::name::ObjectName;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_tests::World;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};

fn memory(name: &str) -> World {
    World::at(StoreUri::parse(&format!("memory://requests-{name}")).unwrap())
}

fn counts(files: &Volume) -> Counts {
    files.vault().store().counts()
}

async fn write(files: &Volume, name: &str, content: &[u8]) {
    let (_, handle) = files
        .create(Inode::ROOT, name.as_bytes(), OWNER)
        .await
        .unwrap();
    for (index, chunk) in content.chunks(1 << 20).enumerate() {
        files
            .write(handle, (index << 20) as u64, Bytes::copy_from_slice(chunk))
            .await
            .unwrap();
    }
    files.release(handle).await.unwrap();
}

/// Requests that a machine which knows only the passphrase makes until it has listed the root with attributes.
async fn first_listing(world: &World, expected: usize) -> u64 {
    let vault = world.open("fresh", Access::ReadOnly).await.unwrap();
    let files = Volume::open(vault, world.options("fresh", Access::ReadOnly))
        .await
        .unwrap();
    let handle = files.open_directory(Inode::ROOT).await.unwrap();
    let mut cookie = 0;
    let mut names = 0;
    loop {
        let listed = files
            .read_directory(handle, cookie, 512, true)
            .await
            .unwrap();
        let Some(last) = listed.last() else { break };
        cookie = last.cookie;
        names += listed.len();
    }
    assert_eq!(names, expected + 2);
    counts(&files).requests()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_small_files_take_at_most_ten_puts() {
    let world = memory("small");
    drop(world.create("a").await);
    let files = world.files("a").await;
    let before = counts(&files);
    for index in 0..1000u32 {
        let content: Vec<u8> = (0..4096u32)
            .map(|at| ((at * index) >> 5) as u8 ^ (at as u8).rotate_left(3))
            .collect();
        write(&files, &format!("file {index}"), &content).await;
    }
    files.close().await.unwrap();
    let puts = counts(&files).puts - before.puts;
    assert!(puts <= 10, "{puts} PUTs");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_of_a_gibibyte_sends_little() {
    let world = memory("byte");
    drop(world.create("a").await);
    let files = world.files("a").await;
    let (_, handle) = files.create(Inode::ROOT, b"big", OWNER).await.unwrap();
    let mut chunk = vec![0; 1 << 20];
    for index in 0..1024u64 {
        blake3::Hasher::new()
            .update(&index.to_le_bytes())
            .finalize_xof()
            .fill(&mut chunk);
        files
            .write(handle, index << 20, Bytes::copy_from_slice(&chunk))
            .await
            .unwrap();
    }
    files.release(handle).await.unwrap();
    files.publish().await.unwrap();
    let before = counts(&files);
    assert!(
        before.sent > 1 << 30,
        "the content itself was sent: {} bytes",
        before.sent
    );
    let big = files.lookup(Inode::ROOT, b"big").await.unwrap();
    let handle = files.open_file(big.inode, OpenMode::Write).await.unwrap();
    files
        .write(handle, 777_777_777, Bytes::from_static(b"!"))
        .await
        .unwrap();
    files.publish().await.unwrap();
    let sent = counts(&files).sent - before.sent;
    assert!(sent <= 512 * 1024, "{sent} bytes were sent for one");
    assert_eq!(files.read(handle, 777_777_776, 3).await.unwrap()[1], b'!');
    files.release(handle).await.unwrap();
    files.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_lists_a_small_vault_in_ten_requests() {
    let world = memory("first");
    drop(world.create("a").await);
    let files = world.files("a").await;
    for index in 0..20 {
        write(&files, &format!("file {index}"), b"content").await;
    }
    files.close().await.unwrap();
    let requests = first_listing(&world, 20).await;
    assert!(requests <= 10, "{requests} requests");
}

/// Builds a tree of four levels through the library: far too many records to make one file at a time.
///
/// A key ends a node of level 2, and so makes a fourth level, with 21 leading zero bits: one in two million does. One is
/// looked for, because to add keys until one comes by would fail now and then.
async fn deep_vault(world: &World) {
    let vault = world.create("a").await;
    let outbox = Outbox::open(&world.dir.path().join("outbox")).unwrap();
    let nodes = Nodes::new(
        Reader::new(world.store(), None, outbox),
        vault.ring(),
        1 << 30,
    );
    let key = |index| Key::link(Inode((1 << 32) + index), Inode(2), b"x");
    let ring = vault.ring();
    let zeros = |index: &u64| ring.structure().boundary_zeros(key(*index).as_bytes());
    let end = (250_000..).find(|index| zeros(index) >= 21).unwrap();
    let mut changes = Changes::default();
    for index in (0..250_000).chain(end..end + 250_000) {
        changes.put(key(index), Arc::new(Value::Record(Record::Link)));
    }
    let mut sink = PackSink::new(ring.clone(), 16 << 20).unwrap();
    let root = vault.heads().base.commit.body.root;
    let edited = tree::edit(&root, &changes, ring.structure(), &nodes, &mut sink)
        .await
        .unwrap();
    let sealed = sink.finish().unwrap();
    let root = sealed.settled.child(edited);
    let mut packs = Vec::new();
    for pack in sealed.packs {
        packs.push(pack.added());
        vault
            .store()
            .put(&ObjectName::Pack(pack.name()), pack.bytes)
            .await
            .unwrap();
    }
    for (child, node) in sealed.nodes {
        nodes.insert(&child, node);
    }
    let level = nodes.fetch(&root).await.unwrap().level;
    assert!(level >= 3, "the tree has four levels");
    let draft = Draft {
        root,
        merged: Vector::new(),
        packs,
        node_packs: Vec::new(),
        session: SessionPrefix(1),
        lsn: Lsn(1),
        label: String::new(),
    };
    vault.publish(draft).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_lists_a_deep_vault_in_ten_requests() {
    let world = memory("deep");
    deep_vault(&world).await;
    world.forget("a");
    let requests = first_listing(&world, 0).await;
    assert!(requests <= 10, "{requests} requests");
}
