//! What waits for its upload: writers are slowed down and refused in time, and a long queue drains after days.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use coffre::Error;
use coffre::Refusal;
use coffre::fs::Follow;
use coffre::fs::Handle;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Options;
use coffre::fs::Queue;
use coffre::fs::RenameMode;
use coffre::fs::SetAttributes;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre_tests::World;
use coffre_tests::content::BOUND;
use coffre_tests::content::OWNER;
use coffre_tests::content::is_drained;
use coffre_tests::content::late_times;
use coffre_tests::content::names;
use coffre_tests::content::noise;
use coffre_tests::content::read;
use coffre_tests::content::server;
use coffre_tests::content::server_and_proxy;
use coffre_tests::content::stop;
use coffre_tests::content::until;
use coffre_tests::content::write;
use coffre_tests::proxy::Action;
use coffre_tests::proxy::Rule;
use coffre_tests::s3::Reach;
use coffre_tests::s3::S3;

/// Two days and a second, until the store is asked again for certain.
const DAYS: Duration = Duration::from_secs(2 * 86_400);
const NEXT_PROBE: Duration = Duration::from_secs(61);

const LIMIT: u64 = 64 << 20;
const PIECE: u64 = 1 << 20;

/// A machine with a short queue, whose store is away.
async fn with_a_short_queue(s3: &S3, world: &World) -> Volume {
    drop(world.create("a").await);
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    let options = Options {
        queue: Queue::Bytes(LIMIT),
        ..world.options("a", Access::ReadWrite)
    };
    let a = Volume::open(vault, options).await.unwrap();
    write(&a, "small", noise(1000, 9)).await;
    a.publish().await.unwrap();
    s3.set_reach(Reach::Away);
    a
}

/// Writes until it is refused; answers how long each write took, the refused one last.
async fn fill(files: &Volume, handle: Handle) -> (Vec<Duration>, Error) {
    let mut delays = Vec::new();
    loop {
        let piece = noise(PIECE as usize, delays.len() as u8);
        let begin = tokio::time::Instant::now();
        let at = delays.len() as u64 * PIECE;
        let written = files.write(handle, at, piece.into()).await;
        delays.push(begin.elapsed());
        if let Err(error) = written {
            return (delays, error);
        }
    }
}

#[tokio::test]
async fn what_is_deleted_before_its_upload_makes_room_without_the_store() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    let a = with_a_short_queue(&s3, &world).await;
    for name in ["first", "second"] {
        let created = a.create(Inode::ROOT, name.as_bytes(), OWNER).await;
        let (_, handle) = created.unwrap();
        tokio::time::pause();
        let (delays, refused) = fill(&a, handle).await;
        // The fold that follows works on the disk, whose time cannot be stopped.
        tokio::time::resume();
        assert!(delays.len() > 40, "{name}: {} MiB", delays.len());
        assert!(matches!(refused, Error::Refused(Refusal::NoSpace)));
        a.release(handle).await.unwrap();
        a.unlink(Inode::ROOT, name.as_bytes()).await.unwrap();
        until("there is room", || a.status().local_bytes < LIMIT / 2).await;
        assert!(a.vault().store().is_away());
    }
    write(&a, "kept", noise(3 << 20, 5)).await;
    assert!(read(&a, "kept").await.unwrap() == noise(3 << 20, 5));
    s3.set_reach(Reach::Reachable);
    // A look at the store that was under way may still have failed, and the next one is a minute off: as long as is waited.
    let begin = Instant::now();
    while !is_drained(&a) {
        assert!(begin.elapsed() < BOUND, "{:?}", a.status());
        tokio::time::pause();
        tokio::time::advance(NEXT_PROBE).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    a.close().await.unwrap();
    let b = world.files("b").await;
    assert_eq!(names(&b).await, ["kept", "small"]);
    assert!(read(&b, "kept").await.unwrap() == noise(3 << 20, 5));
    b.close().await.unwrap();
    stop(s3).await;
}

#[tokio::test]
async fn a_full_queue_slows_writers_down_then_refuses_them_and_goes_on_when_the_store_is_back() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    let a = with_a_short_queue(&s3, &world).await;
    // The waits of writers pass in no time.
    tokio::time::pause();
    let (_, handle) = a.create(Inode::ROOT, b"large", OWNER).await.unwrap();
    let (mut delays, refused) = fill(&a, handle).await;
    let waited = delays.pop().unwrap();
    assert!(
        matches!(refused, Error::Refused(Refusal::NoSpace)),
        "{refused:?}"
    );
    assert!((30..40).contains(&waited.as_secs()), "{waited:?}");
    assert!((50..=70).contains(&delays.len()), "{} MiB", delays.len());
    let sum = |part: &[Duration]| part.iter().sum::<Duration>();
    assert!(sum(&delays[..20]) < Duration::from_secs(1), "{delays:?}");
    let (third, last) = (&delays[35..40], &delays[delays.len() - 8..]);
    assert!(sum(last) / 8 > 2 * sum(third) / 5, "{delays:?}");
    assert!(sum(&delays) > Duration::from_secs(8), "{delays:?}");
    let status = a.status();
    assert_eq!(status.local_limit, LIMIT);
    assert!(status.local_bytes > LIMIT / 10 * 9, "{status:?}");
    assert!(status.local_bytes < LIMIT / 10 * 12, "{status:?}");
    let told = |warning: &String| warning.contains("no room for new content");
    assert!(status.warnings.iter().any(told), "{status:?}");
    // What makes room, and what reads, goes on.
    let begin = tokio::time::Instant::now();
    let root = Inode::ROOT;
    let renamed = a.rename((root, b"small"), (root, b"moved"), RenameMode::Replace);
    renamed.await.unwrap();
    a.unlink(root, b"moved").await.unwrap();
    let cut = SetAttributes {
        size: Some(40 * PIECE),
        ..SetAttributes::default()
    };
    let large = a.resolve(b"/large", Follow::No).await.unwrap().inode;
    // A kernel does not look at the answer to these.
    let times = late_times();
    let told = a.set_attributes(large, times).await.unwrap();
    assert_eq!(Some(told.ctime), times.ctime);
    assert_eq!(told.mtime, told.ctime);
    a.set_attributes(large, cut).await.unwrap();
    assert!(a.read(handle, 0, PIECE as u32).await.unwrap() == noise(PIECE as usize, 0));
    assert!(begin.elapsed() < Duration::from_secs(1));
    tokio::time::advance(NEXT_PROBE).await;
    tokio::time::resume();
    s3.set_reach(Reach::Reachable);
    let again = async {
        let bytes = Bytes::from(noise(PIECE as usize, 40));
        while a.write(handle, 40 * PIECE, bytes.clone()).await.is_err() {}
    };
    tokio::time::timeout(2 * BOUND, again).await.unwrap();
    a.release(handle).await.unwrap();
    a.close().await.unwrap();
    let b = world.files("b").await;
    assert_eq!(names(&b).await, ["large"]);
    let handle = b.open_file(large, OpenMode::Read).await.unwrap();
    for index in 0..=40 {
        let piece = b.read(handle, index * PIECE, PIECE as u32).await.unwrap();
        assert!(piece == noise(PIECE as usize, index as u8), "{index}");
    }
    b.close().await.unwrap();
    stop(s3).await;
}

/// Bytes that wait: few, or as many as `COFFRE_TEST_QUEUE` says in MiB.
fn queue_length() -> usize {
    let wished = std::env::var("COFFRE_TEST_QUEUE").ok();
    wished.map_or(64, |mebibytes| mebibytes.parse().unwrap())
}

/// The most memory that this process has had, in MiB.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() >> 10
}

#[tokio::test]
async fn after_days_away_a_long_queue_drains_in_order_and_in_bounded_memory() {
    const FILE: usize = 8 << 20;
    let count = queue_length() << 20 >> 23;
    let (s3, proxy) = server_and_proxy().await;
    let world = World::at(s3.through(&proxy, "vault"));
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "before", noise(1000, 9)).await;
    a.publish().await.unwrap();
    proxy.rule(Rule::all(Action::ResetBefore));
    for index in 0..count {
        write(&a, &format!("{index}"), noise(FILE, index as u8)).await;
    }
    a.fsync().await.unwrap();
    until("the store is known to be away", || {
        a.vault().store().is_away()
    })
    .await;
    proxy.take_seen();
    tokio::time::pause();
    tokio::time::sleep(DAYS).await;
    let status = a.status();
    assert!(status.away_seconds.unwrap() >= DAYS.as_secs(), "{status:?}");
    assert!(status.unpublished_seconds >= DAYS.as_secs(), "{status:?}");
    assert!(status.unpublished_bytes >= (count * FILE) as u64);
    let asked = proxy.take_seen().len() as u64;
    // A probe a minute, with its retries.
    assert!(asked >= DAYS.as_secs() / 3600, "{asked} requests");
    assert!(asked <= DAYS.as_secs() / 60 * 6, "{asked} requests");
    assert!(read(&a, "0").await.unwrap() == noise(FILE, 0));
    proxy.be_kind();
    proxy.take_seen();
    tokio::time::advance(NEXT_PROBE).await;
    tokio::time::resume();
    let (before, begin) = (peak_memory(), Instant::now());
    while !is_drained(&a) {
        assert!(begin.elapsed() < 10 * BOUND, "{:?}", a.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (taken, peak) = (begin.elapsed(), peak_memory());
    eprintln!("{count} files of 8 MiB: drained in {taken:?}, {before} → {peak} MiB at most");
    // Four uploads at a time, and what the server and the proxy in this process hold of them.
    assert!(peak - before < 512, "{before} → {peak} MiB");
    let seen = proxy.take_seen();
    let puts = seen.iter().filter(|seen| seen.method == "PUT");
    let is_commit: Vec<bool> = puts.map(|put| put.path.contains("/commits/")).collect();
    assert!(is_commit.len() > count / 2, "{is_commit:?}");
    assert_eq!(is_commit.last(), Some(&true), "the commit comes last");
    a.close().await.unwrap();
    drop(a);
    let b = world.files("b").await;
    for index in 0..count {
        let name = format!("{index}");
        assert!(read(&b, &name).await.unwrap() == noise(FILE, index as u8));
    }
    b.close().await.unwrap();
    stop(s3).await;
}
