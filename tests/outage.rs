//! The store is away: at the start, during a copy, for reads. Everything goes on, nothing hangs, and it resumes by itself.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Filesystem;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre_tests::World;
use coffre_tests::s3::Reach;
use coffre_tests::s3::S3;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
};
/// A read of what is not here fails within this time.
const BOUND: Duration = Duration::from_secs(60);

fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

async fn write(files: &Filesystem, name: &str, content: Vec<u8>) {
    let created = files.create(Inode::ROOT, name.as_bytes(), OWNER).await;
    let (_, handle) = created.unwrap();
    files.write(handle, 0, Bytes::from(content)).await.unwrap();
    files.release(handle).await.unwrap();
}

async fn read(files: &Filesystem, name: &str) -> coffre::Result<Bytes> {
    let found = files
        .resolve(format!("/{name}").as_bytes(), Follow::No)
        .await?;
    let handle = files.open_file(found.inode, OpenMode::Read).await?;
    let size = u32::try_from(found.size).unwrap();
    let bytes = files.read(handle, 0, size).await;
    files.release(handle).await?;
    bytes
}

async fn names(files: &Filesystem) -> Vec<String> {
    let handle = files.open_directory(Inode::ROOT).await.unwrap();
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let listed = files.read_directory(handle, cookie, 500, true).await;
        let listed = listed.unwrap();
        let Some(last) = listed.last() else { break };
        cookie = last.cookie;
        let read = listed
            .into_iter()
            .map(|entry| String::from_utf8(entry.name).unwrap());
        names.extend(read.filter(|name| !name.starts_with('.')));
    }
    files.release(handle).await.unwrap();
    names.sort();
    names
}

async fn server() -> S3 {
    tokio::task::spawn_blocking(S3::in_process).await.unwrap()
}

async fn stop(s3: S3) {
    tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_a_mount_serves_what_it_has_and_keeps_what_is_written() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "read before", noise(300_000, 1)).await;
    a.close().await.unwrap();
    drop(a);
    // Another device adds what the first one has not read.
    let b = world.files("b").await;
    write(&b, "never read here", noise(300_000, 2)).await;
    b.close().await.unwrap();
    drop(b);
    let a = world.files("a").await;
    assert_eq!(names(&a).await, ["never read here", "read before"]);
    assert!(read(&a, "read before").await.unwrap() == noise(300_000, 1));
    a.close().await.unwrap();
    drop(a);

    s3.set_reach(Reach::Away);
    let begin = Instant::now();
    let a = world.files("a").await;
    assert!(begin.elapsed() < BOUND, "{:?} to start", begin.elapsed());
    assert_eq!(names(&a).await, ["never read here", "read before"]);
    assert!(read(&a, "read before").await.unwrap() == noise(300_000, 1));
    let begin = Instant::now();
    let absent = read(&a, "never read here").await;
    assert!(
        matches!(absent, Err(Error::Unreachable { .. })),
        "{absent:?}"
    );
    assert!(begin.elapsed() < BOUND, "{:?} to fail", begin.elapsed());
    write(&a, "written offline", noise(300_000, 3)).await;
    a.fsync().await.unwrap();
    assert!(read(&a, "written offline").await.unwrap() == noise(300_000, 3));
    // Another start without the network finds it again.
    a.close_now().await.unwrap();
    drop(a);
    let a = world.files("a").await;
    assert!(read(&a, "written offline").await.unwrap() == noise(300_000, 3));
    let status = a.status();
    assert!(status.unpublished_bytes >= 300_000, "{status:?}");

    s3.set_reach(Reach::Reachable);
    assert!(read(&a, "never read here").await.unwrap() == noise(300_000, 2));
    a.close().await.unwrap();
    let b = world.files("b").await;
    assert!(read(&b, "written offline").await.unwrap() == noise(300_000, 3));
    b.close().await.unwrap();
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_names_are_here_a_while_after_the_first_start() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    drop(world.create("a").await);
    let a = world.files("a").await;
    for index in 0..1500 {
        write(&a, &format!("file {index:04}"), noise(100, 0)).await;
    }
    a.close().await.unwrap();
    let b = world.files("b").await;
    let used = || b.status().cache_bytes;
    let begin = Instant::now();
    let mut before = 0;
    // Until it has come, and comes no more.
    while used() == 0 || used() != before {
        before = used();
        assert!(begin.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    b.close_now().await.unwrap();
    drop(b);
    s3.set_reach(Reach::Away);
    let b = world.files("b").await;
    assert_eq!(names(&b).await.len(), 1500);
    assert!(read(&b, "file 1499").await.unwrap() == noise(100, 0));
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_during_a_copy_is_waited_out() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    drop(world.create("a").await);
    let a = world.files("a").await;
    for index in 0..10 {
        write(&a, &format!("{index}"), noise(4 << 20, index)).await;
        if index == 3 {
            s3.set_reach(Reach::Away);
        }
    }
    a.fsync().await.unwrap();
    // What is away is told, with its age and the last failure.
    let told = async {
        while a.status().last_error.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(BOUND, told).await.unwrap();
    let status = a.status();
    assert!(status.unpublished_bytes > 20 << 20, "{status:?}");
    assert!(status.unpublished_seconds > 0);
    for index in 0..10 {
        assert!(read(&a, &format!("{index}")).await.unwrap() == noise(4 << 20, index));
    }
    s3.set_reach(Reach::Reachable);
    // Nobody asks for anything: it resumes by itself.
    let resumed = async {
        while a.status().unpublished_operations > 0 || a.status().last_error.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(BOUND, resumed).await.unwrap();
    a.close().await.unwrap();
    let b = world.files("b").await;
    for index in 0..10 {
        assert!(read(&b, &format!("{index}")).await.unwrap() == noise(4 << 20, index));
    }
    b.close().await.unwrap();
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_contact_without_a_network_says_so() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    drop(world.create("a").await);
    s3.set_reach(Reach::Away);
    let begin = Instant::now();
    let opened = world.open("b", coffre::vault::Access::ReadWrite).await;
    assert!(
        matches!(opened, Err(Error::Unreachable { .. })),
        "{:?}",
        opened.err()
    );
    assert!(begin.elapsed() < BOUND);
    stop(s3).await;
}
