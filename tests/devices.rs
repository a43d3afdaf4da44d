//! Several devices: in turn they follow each other; at once each keeps its own, and nothing is lost.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use coffre::Error;
use coffre::error::Refusal;
use coffre::fs::Filesystem;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::Invalidation;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre_tests::World;
use coffre_tests::world::copy_folder;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
};

async fn write(files: &Filesystem, name: &str, content: &str) {
    let handle = match files.lookup(Inode::ROOT, name.as_bytes()).await {
        Ok(found) => files.open_file(found.inode, OpenMode::Write).await.unwrap(),
        Err(Error::Refused(Refusal::NoEntry)) => {
            files
                .create(Inode::ROOT, name.as_bytes(), OWNER)
                .await
                .unwrap()
                .1
        }
        Err(error) => panic!("{error}"),
    };
    files
        .write(handle, 0, Bytes::copy_from_slice(content.as_bytes()))
        .await
        .unwrap();
    files.release(handle).await.unwrap();
}

async fn read(files: &Filesystem, name: &str) -> String {
    let found = files
        .resolve(format!("/{name}").as_bytes(), Follow::No)
        .await
        .unwrap();
    let handle = files.open_file(found.inode, OpenMode::Read).await.unwrap();
    let bytes = files.read(handle, 0, 1 << 20).await.unwrap();
    files.release(handle).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_turn_each_sees_what_the_other_published() {
    let world = World::local();
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "shared", "from a, once").await;
    a.publish().await.unwrap();

    let b = world.files("b").await;
    assert_eq!(read(&b, "shared").await, "from a, once");
    write(&b, "shared", "from b, then").await;
    write(&b, "new", "of b").await;
    b.publish().await.unwrap();

    let kernel = a.for_kernel();
    a.refresh().await.unwrap();
    let stale = kernel.invalidations().await.unwrap();
    assert!(
        stale
            .iter()
            .any(|one| matches!(one, Invalidation::Entry(Inode::ROOT, name) if name == b"new")),
        "{stale:?}"
    );
    drop(kernel);
    assert_eq!(read(&a, "shared").await, "from b, then");
    write(&a, "shared", "from a, last").await;
    // A crash right after: the journal knows on which tree the last write was made.
    a.fsync().await.unwrap();
    copy_folder(
        &world.dir.path().join("a"),
        &world.dir.path().join("crashed"),
    );
    let crashed = world.files("crashed").await;
    assert_eq!(read(&crashed, "shared").await, "from a, last");
    assert_eq!(read(&crashed, "new").await, "of b");
    drop(crashed);
    a.close().await.unwrap();

    b.refresh().await.unwrap();
    assert_eq!(read(&b, "shared").await, "from a, last");
    assert_eq!(read(&b, "new").await, "of b");
    assert!(b.status().diverged.is_empty());
    b.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_each_keeps_its_own_and_says_so() {
    let world = World::local();
    drop(world.create("a").await);
    let a = world.files("a").await;
    a.publish().await.unwrap();
    let b = world.files("b").await;
    b.publish().await.unwrap();
    a.refresh().await.unwrap();
    write(&a, "of a", "a's work").await;
    write(&b, "of b", "b's work").await;
    a.publish().await.unwrap();
    b.publish().await.unwrap();
    a.refresh().await.unwrap();
    b.refresh().await.unwrap();
    assert_eq!(a.status().diverged.len(), 1, "{:?}", a.status());
    assert_eq!(b.status().diverged.len(), 1, "{:?}", b.status());
    // Both go on publishing, through restarts as well.
    write(&a, "of a", "a's later").await;
    a.close().await.unwrap();
    drop(a);
    write(&b, "of b", "b's later").await;
    b.close().await.unwrap();
    drop(b);
    let a = world.files("a").await;
    assert_eq!(read(&a, "of a").await, "a's later");
    let b = world.files("b").await;
    assert_eq!(read(&b, "of b").await, "b's later");
    a.close().await.unwrap();
    b.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_state_folder_ends_with_a_chain_of_its_own() {
    let world = World::local();
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "before", "the copy").await;
    a.close().await.unwrap();
    drop(a);
    copy_folder(&world.dir.path().join("a"), &world.dir.path().join("twin"));
    let twin = world.files("twin").await;
    let a = world.files("a").await;
    write(&a, "of a", "a's work").await;
    write(&twin, "of the twin", "its work").await;
    a.publish().await.unwrap();
    twin.publish().await.unwrap();
    a.close().await.unwrap();
    twin.close().await.unwrap();
    drop((a, twin));
    let twin = world.files("twin").await;
    assert_eq!(
        (
            read(&twin, "before").await,
            read(&twin, "of the twin").await
        ),
        ("the copy".into(), "its work".into())
    );
    let a = world.files("a").await;
    assert_eq!(read(&a, "of a").await, "a's work");
    write(&a, "of a", "later").await;
    a.close().await.unwrap();
    twin.close().await.unwrap();
    assert_ne!(
        a.vault().device(),
        twin.vault().device(),
        "each has a chain of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_publishes_at_once_is_known_to_all() {
    for _ in 0..6 {
        let world = World::local();
        drop(world.create("maker").await);
        let quick = world.files("quick").await;
        write(&quick, "first", "of a new device").await;
        // Before anything in the background has had its turn.
        quick.publish().await.unwrap();
        let other = world.files("other").await;
        let warnings = other.status().warnings;
        assert!(
            !warnings.iter().any(|warning| warning.contains("skipped")),
            "{warnings:?}"
        );
        assert_eq!(read(&other, "first").await, "of a new device");
    }
}
