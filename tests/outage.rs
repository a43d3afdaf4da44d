//! The store is away: at the start, during a copy, for reads. Everything goes on, nothing hangs, and it resumes by itself.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Inode;
use coffre::fs::Make;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre_tests::World;
use coffre_tests::command::Machine;
use coffre_tests::content::BOUND;
use coffre_tests::content::OWNER;
use coffre_tests::content::is_drained;
use coffre_tests::content::names;
use coffre_tests::content::noise;
use coffre_tests::content::read;
use coffre_tests::content::server;
use coffre_tests::content::server_and_proxy;
use coffre_tests::content::stop;
use coffre_tests::content::until;
use coffre_tests::content::write;
use coffre_tests::mounted::can_mount;
use coffre_tests::proxy::Action;
use coffre_tests::proxy::Answer;
use coffre_tests::proxy::Rule;
use coffre_tests::s3::NEW_KEY;
use coffre_tests::s3::NEW_SECRET;
use coffre_tests::s3::Reach;
use coffre_tests::s3::S3;

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
    assert!(read_when_back(&a, "never read here").await == noise(300_000, 2));
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
    let opened = world.open("b", Access::ReadWrite).await;
    assert!(
        matches!(opened, Err(Error::Unreachable { .. })),
        "{:?}",
        opened.err()
    );
    assert!(begin.elapsed() < BOUND);
    stop(s3).await;
}

/// Whoever wants to read makes the store be looked for.
async fn read_when_back(files: &Volume, name: &str) -> Bytes {
    let begin = Instant::now();
    loop {
        match read(files, name).await {
            Ok(bytes) => return bytes,
            Err(error) => assert!(begin.elapsed() < BOUND / 3, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A machine that knows the name of a file, but nothing of its content.
async fn with_an_absent_file(world: &World) -> Volume {
    drop(world.create("a").await);
    let b = world.files("b").await;
    write(&b, "absent", noise(300_000, 2)).await;
    b.close().await.unwrap();
    let a = world.files("a").await;
    assert_eq!(names(&a).await, ["absent"]);
    a
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_known_to_be_away_reads_fail_at_once_and_listings_go_on() {
    let (s3, proxy) = server_and_proxy().await;
    let world = World::at(s3.through(&proxy, "vault"));
    let a = with_an_absent_file(&world).await;
    proxy.rule(Rule::all(Action::ResetBefore));
    let begin = Instant::now();
    // A listing beside a read that hangs in its retries is not held up by it.
    let (absent, listed) = tokio::join!(read(&a, "absent"), async {
        (names(&a).await, begin.elapsed())
    });
    assert!(
        matches!(absent, Err(Error::Unreachable { .. })),
        "{absent:?}"
    );
    assert_eq!(listed.0, ["absent"]);
    until("the store is known to be away", || {
        a.vault().store().is_away()
    })
    .await;
    proxy.take_seen();
    let begin = Instant::now();
    for _ in 0..100 {
        let absent = read(&a, "absent").await;
        assert!(
            matches!(absent, Err(Error::Unreachable { .. })),
            "{absent:?}"
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    let asked = proxy.take_seen().len();
    assert!(asked <= 20, "{asked} requests for 100 reads");
    let status = a.status();
    assert!(status.away_seconds.is_some() && status.away_error.is_some());
    assert!(
        status
            .advice
            .as_deref()
            .unwrap_or_default()
            .contains("nothing is lost")
    );
    proxy.be_kind();
    assert!(read_when_back(&a, "absent").await == noise(300_000, 2));
    assert_eq!(a.status().away_seconds, None);
    a.close().await.unwrap();
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_shows_what_is_here_before_it_fails() {
    let (s3, proxy) = server_and_proxy().await;
    let world = World::at(s3.through(&proxy, "vault"));
    drop(world.create("a").await);
    let b = world.files("b").await;
    // More than what one request brings along, which is a mebibyte.
    let padding = "x".repeat(250);
    for index in 0..8000 {
        let name = format!("{index:04}{padding}");
        let made = b.make(Inode::ROOT, name.as_bytes(), Make::File, OWNER);
        made.await.unwrap();
    }
    b.close().await.unwrap();
    let a = world.files("a").await;
    let root = a.open_directory(Inode::ROOT).await.unwrap();
    // A few at a time, as small buffers take them; many are read ahead.
    let mut shown = a.read_directory(root, 0, 25, false).await.unwrap();
    proxy.rule(Rule::all(Action::ResetBefore));
    let failed = loop {
        let cookie = shown.last().unwrap().cookie;
        match a.read_directory(root, cookie, 25, false).await {
            Ok(more) => {
                assert!(!more.is_empty(), "all of them were here");
                shown.extend(more);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    // With the two that every folder has, and whole chunks of 512.
    assert_eq!(shown.len() % 512, 2, "{}", shown.len());
    proxy.be_kind();
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_and_come_back_lose_nothing() {
    let (s3, proxy) = server_and_proxy().await;
    let world = World::at(s3.through(&proxy, "vault"));
    let a = with_an_absent_file(&world).await;
    proxy.rule(Rule::all(Action::Answer(Answer::DENIED)));
    write(&a, "own", noise(300_000, 3)).await;
    a.fsync().await.unwrap();
    until("the refusal is told", || {
        a.is_refused() && a.vault().store().is_away()
    })
    .await;
    let status = a.status();
    assert!(
        status
            .advice
            .as_deref()
            .unwrap_or_default()
            .contains("credentials")
    );
    assert!(status.unpublished_bytes >= 300_000);
    let begin = Instant::now();
    let absent = read(&a, "absent").await;
    assert!(matches!(absent, Err(Error::Denied { .. })), "{absent:?}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(read(&a, "own").await.unwrap() == noise(300_000, 3));
    assert_eq!(names(&a).await, ["absent", "own"]);
    proxy.take_seen();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let asked = proxy.take_seen().len();
    assert!((1..=6).contains(&asked), "{asked} requests in 6 s");
    proxy.be_kind();
    until("it resumes by itself", || is_drained(&a)).await;
    assert!(read(&a, "absent").await.unwrap() == noise(300_000, 2));
    a.close().await.unwrap();
    let b = world.files("b").await;
    assert!(read(&b, "own").await.unwrap() == noise(300_000, 3));
    b.close().await.unwrap();
    stop(s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_stops_uploads_only_and_they_resume_when_there_is_room() {
    let quota = Answer {
        body: "<Error><Code>QuotaExceeded</Code></Error>",
        ..Answer::status("403 Forbidden")
    };
    let answers = [
        quota,
        Answer::status("507 Insufficient Storage"),
        Answer::status("413 Payload Too Large"),
    ];
    futures::future::join_all(answers.map(a_full_store)).await;
}

async fn a_full_store(full: Answer) {
    let (s3, proxy) = server_and_proxy().await;
    let world = World::at(s3.through(&proxy, "vault"));
    let a = with_an_absent_file(&world).await;
    proxy.rule(Rule::every("PUT", "", Action::Answer(full)));
    write(&a, "own", noise(300_000, 3)).await;
    let failed = a.publish().await;
    assert!(matches!(failed, Err(Error::Full { .. })), "{failed:?}");
    // What the store has is read from it all the while.
    assert!(read(&a, "absent").await.unwrap() == noise(300_000, 2));
    let status = a.status();
    let advice = status.advice.as_deref().unwrap_or_default();
    assert!(advice.contains("quota"), "{status:?}");
    assert!(status.unpublished_bytes >= 300_000);
    assert_eq!(status.away_seconds, None);
    proxy.be_kind();
    until("it resumes by itself", || is_drained(&a)).await;
    a.close().await.unwrap();
    let b = world.files("b").await;
    assert!(read(&b, "own").await.unwrap() == noise(300_000, 3));
    b.close().await.unwrap();
    stop(s3).await;
}

/// Nothing stays mounted behind a test that fails.
struct Unmounted<'a>(&'a str);

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn new_credentials_in_the_profile_are_taken_while_mounted() {
    if !can_mount() {
        return;
    }
    let s3 = S3::in_process();
    let proxy = s3.proxy();
    let machine = Machine::new();
    let config = machine.folder("config/coffre");
    let profile = s3.profile_through(&proxy, "work", "vault");
    let write_profile = |text: &str| std::fs::write(format!("{config}/config.toml"), text).unwrap();
    write_profile(&profile);
    machine.ok(&["init", "--no-recovery", "--kdf-memory", "64M", "work"]);
    let dir = machine.folder("mount");
    machine.ok(&["mount", "work", &dir]);
    let _unmounted = Unmounted(&dir);
    let expired = Rule {
        part: "Credential=testkey",
        ..Rule::all(Action::Answer(Answer::DENIED))
    };
    proxy.rule(expired);
    std::fs::write(format!("{dir}/file"), "written meanwhile").unwrap();
    let status = || machine.json(&["status", &dir]).remove(0);
    let wait = |what: &str, come: &dyn Fn(&serde_json::Value) -> bool| {
        let begin = Instant::now();
        while !come(&status()) {
            assert!(begin.elapsed() < BOUND, "{what}: {}", status());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    wait("the refusal is told", &|status| {
        let advice = status["advice"].as_str();
        advice.is_some_and(|advice| advice.contains("credentials"))
    });
    let told = machine.ok(&["status", &dir]);
    assert!(told.contains("check the credentials"), "{told}");
    let renewed = profile.replace("testkey", NEW_KEY);
    write_profile(&renewed.replace("testsecret", NEW_SECRET));
    wait("it goes on with the new ones", &|status| {
        status["unpublished_operations"] == 0
    });
    machine.ok(&["unmount", &dir]);
    assert_eq!(machine.ok(&["cat", "work", "/file"]), "written meanwhile");
}
