//! S3 over HTTP: every request that Coffre makes, and a vault's life with two machines.
//!
//! The server is one in this process; `cargo xtask garage` runs the same against Garage.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::store::Prefix;
use coffre::vault::Depth;
use coffre_format::id::PackName;
use coffre_format::name::ObjectName;
use coffre_tests::World;
use coffre_tests::s3::S3;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};
/// More than one page of a listing holds.
const MANY: u16 = 1100;

fn name(number: u16) -> ObjectName {
    let mut id = [7; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    ObjectName::Pack(PackName(id))
}

async fn server() -> S3 {
    tokio::task::spawn_blocking(S3::start).await.unwrap()
}

async fn stop(s3: S3) {
    tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_s3_are_put_read_listed_and_deleted() {
    let s3 = server().await;
    let store = World::at(s3.uri("objects")).store();
    assert!(store.list(Prefix::All).await.unwrap().objects.is_empty());
    let bytes = Bytes::from((0..200_000u32).map(|n| n as u8).collect::<Vec<_>>());
    store.put(&name(1), bytes.clone()).await.unwrap();
    assert_eq!(store.length(&name(1)).await.unwrap(), Some(200_000));
    assert_eq!(store.length(&name(2)).await.unwrap(), None);
    let part = store.read(&name(1), 1000..150_000).await.unwrap();
    assert!(part == bytes.slice(1000..150_000));
    for range in [199_999..200_001, 200_000..200_010, 500_000..500_001] {
        let past = store.read(&name(1), range).await;
        assert!(matches!(past, Err(Error::Truncated { .. })), "{past:?}");
    }
    let gone = store.read(&name(2), 0..1).await;
    assert!(matches!(gone, Err(Error::Missing { .. })), "{gone:?}");
    // Put again: the newer bytes are read.
    store.put(&name(1), bytes.slice(..10)).await.unwrap();
    assert_eq!(store.length(&name(1)).await.unwrap(), Some(10));
    store.delete(&name(1)).await.unwrap();
    store.delete(&name(1)).await.unwrap();
    assert_eq!(store.length(&name(1)).await.unwrap(), None);
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_in_s3_of_several_pages_is_whole() {
    let s3 = server().await;
    let store = World::at(s3.uri("pages")).store();
    let puts = (0..MANY).map(|number| {
        let store = store.clone();
        async move { store.put(&name(number), Bytes::from_static(b"x")).await }
    });
    let puts: Vec<_> = futures::StreamExt::collect(futures::StreamExt::buffer_unordered(
        futures::stream::iter(puts),
        16,
    ))
    .await;
    assert!(puts.iter().all(Result::is_ok));
    let mut listed: Vec<_> = store.list(Prefix::Packs).await.unwrap().objects;
    listed.sort_by_key(|object| object.name.to_string());
    listed.dedup_by_key(|object| object.name);
    assert_eq!(listed.len(), usize::from(MANY));
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_in_s3_are_told_apart_from_an_absent_vault() {
    let s3 = server().await;
    let uri = s3.uri("vault").with_option("secret_access_key", "wrong");
    let denied = World::at(uri).store().list(Prefix::All).await;
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_in_s3_is_used_by_two_machines_in_turn() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    drop(world.create("a").await);
    let a = world.files("a").await;
    let mut content = vec![0; 5 << 20];
    getrandom::fill(&mut content).unwrap();
    let (made, handle) = a.create(Inode::ROOT, b"blob", OWNER).await.unwrap();
    a.write(handle, 0, Bytes::from(content.clone()))
        .await
        .unwrap();
    a.release(handle).await.unwrap();
    a.publish().await.unwrap();

    let b = world.files("b").await;
    let found = b.resolve(b"/blob", Follow::No).await.unwrap();
    assert_eq!((found.inode, found.size), (made.inode, 5 << 20));
    let handle = b.open_file(found.inode, OpenMode::Write).await.unwrap();
    assert!(b.read(handle, 0, 5 << 20).await.unwrap() == content);
    b.write(handle, 1 << 20, Bytes::from_static(b"from b"))
        .await
        .unwrap();
    b.release(handle).await.unwrap();
    b.close().await.unwrap();

    a.refresh().await.unwrap();
    let handle = a.open_file(made.inode, OpenMode::Read).await.unwrap();
    assert_eq!(a.read(handle, 1 << 20, 6).await.unwrap(), "from b");
    a.release(handle).await.unwrap();
    let root = a.root();
    let report = coffre::vault::check(a.vault(), a.nodes(), &root, Depth::Data, &|_| ())
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    a.close().await.unwrap();
    stop(s3).await;
}
