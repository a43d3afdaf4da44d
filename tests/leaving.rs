//! Leaving a provider: the same vault, opened at its new place, from a copy that needs no key.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::store::Prefix;
use coffre::store::Store;
use coffre::vault::copy::copy;
use coffre_tests::World;
use coffre_tests::s3::S3;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};

async fn filled() -> World {
    let world = World::local();
    drop(world.create("a").await);
    let files = world.files("a").await;
    for index in 0..5u8 {
        let (_, handle) = files
            .create(Inode::ROOT, &[b'f', b'0' + index], OWNER)
            .await
            .unwrap();
        let mut content = vec![0; 3 << 20];
        blake3::Hasher::new()
            .update(&[index])
            .finalize_xof()
            .fill(&mut content);
        files.write(handle, 0, Bytes::from(content)).await.unwrap();
        files.release(handle).await.unwrap();
    }
    files.close().await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_folder_to_s3_and_opened_there() {
    let world = filled().await;
    let s3 = tokio::task::spawn_blocking(S3::start).await.unwrap();
    let there = World::at(s3.uri("moved"));
    let report = copy(&world.store(), &there.store(), &|_| ()).await.unwrap();
    assert!(report.copied > 3 && report.damaged.is_empty(), "{report:?}");
    let files = there.files("b").await;
    for index in 0..5u8 {
        let mut expected = vec![0; 3 << 20];
        blake3::Hasher::new()
            .update(&[index])
            .finalize_xof()
            .fill(&mut expected);
        let found = files
            .resolve(&[b'/', b'f', b'0' + index], Follow::No)
            .await
            .unwrap();
        let handle = files.open_file(found.inode, OpenMode::Read).await.unwrap();
        assert!(files.read(handle, 0, 3 << 20).await.unwrap() == expected);
        files.release(handle).await.unwrap();
    }
    files.close().await.unwrap();
    // Another run finds everything there.
    let again = copy(&world.store(), &there.store(), &|_| ()).await.unwrap();
    assert_eq!((again.copied, again.present), (0, report.copied));
    tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_is_named_and_the_rest_is_copied() {
    let world = filled().await;
    let packs = world.store().list(Prefix::Packs).await.unwrap().objects;
    let victim = world.folder().join(packs[0].name.to_string());
    let mut bytes = std::fs::read(&victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let destination = Store::memory();
    let report = copy(&world.store(), &destination, &|_| ()).await.unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert!(
        report.damaged[0].contains(&packs[0].name.to_string()),
        "{:?}",
        report.damaged
    );
    assert_eq!(
        destination.list(Prefix::Packs).await.unwrap().objects.len(),
        packs.len() - 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_are_not_mixed() {
    let (one, other) = (filled().await, filled().await);
    let mixed = copy(&one.store(), &other.store(), &|_| ()).await;
    assert!(matches!(mixed, Err(Error::WrongVault { .. })), "{mixed:?}");
    let empty = copy(&Store::memory(), &other.store(), &|_| ()).await;
    assert!(matches!(empty, Err(Error::NoVault { .. })), "{empty:?}");
}
