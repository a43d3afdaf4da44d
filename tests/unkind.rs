//! A server that is slow, resets, cuts, lies about lengths and asks to wait: the right bytes or a typed error, in
//! bounded time, never wrong data; and it goes on when the server is kind again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::Volume;
use coffre::store::Prefix;
use coffre_tests::World;
use coffre_tests::content;
use coffre_tests::content::BOUND;
use coffre_tests::content::noise;
use coffre_tests::content::write;
use coffre_tests::proxy::Action;
use coffre_tests::proxy::Answer;
use coffre_tests::proxy::Proxy;
use coffre_tests::proxy::Rule;
use coffre_tests::s3::S3;

/// Longer than one frame: several, in one GET.
const LENGTH: usize = 400_000;

/// A vault with one published file, and a server between it and its users.
struct Scene {
    world: World,
    s3: S3,
    proxy: Proxy,
}

impl Scene {
    async fn new() -> Self {
        let (s3, proxy) = content::server_and_proxy().await;
        let world = World::at(s3.through(&proxy, "vault"));
        drop(world.create("a").await);
        let a = world.files("a").await;
        write(&a, "file", noise(LENGTH, 1)).await;
        a.close().await.unwrap();
        proxy.take_seen();
        Self { world, s3, proxy }
    }

    /// A machine that has read nothing yet but the root.
    async fn reader(&self) -> Volume {
        let b = self.world.files("b").await;
        resolve(&b).await.unwrap();
        b
    }

    /// The rule was applied: the test was about something.
    fn assert_hit(&self) {
        assert!(self.proxy.hits() > 0, "no request met the rule");
    }

    async fn end(self) {
        content::stop(self.s3).await;
    }
}

async fn resolve(files: &Volume) -> coffre::Result<Inode> {
    Ok(files.resolve(b"/file", Follow::No).await?.inode)
}

async fn read(files: &Volume) -> coffre::Result<Bytes> {
    content::read(files, "file").await
}

fn is_right(bytes: &Bytes) -> bool {
    *bytes == noise(LENGTH, 1)
}

/// GETs of packs, however often they are asked.
fn gets(action: Action) -> Rule {
    Rule::every("GET", "/packs/", action)
}

/// A fault that passes: the read answers with the right bytes all the same.
async fn a_read_survives(action: Action, times: usize) {
    let scene = Scene::new().await;
    let files = scene.reader().await;
    scene.proxy.rule(gets(action).times(times));
    let begin = Instant::now();
    let bytes = read(&files).await.unwrap();
    assert!(is_right(&bytes));
    assert!(begin.elapsed() < BOUND);
    scene.assert_hit();
    files.close().await.unwrap();
    scene.end().await;
}

/// A fault that stays: the read fails as expected in time, and answers the right bytes once the server is kind again.
async fn a_read_fails(action: Action, is_expected: impl Fn(&Error) -> bool) {
    let scene = Scene::new().await;
    let files = scene.reader().await;
    scene.proxy.rule(gets(action));
    let begin = Instant::now();
    let failed = read(&files).await;
    assert!(failed.as_ref().is_err_and(&is_expected), "{failed:?}");
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    scene.assert_hit();
    // Others are served meanwhile: what is here, and what is written.
    resolve(&files).await.unwrap();
    write(&files, "meanwhile", noise(LENGTH, 2)).await;
    scene.proxy.be_kind();
    let begin = Instant::now();
    let bytes = loop {
        match read(&files).await {
            Ok(bytes) => break bytes,
            Err(error) => assert!(begin.elapsed() < BOUND, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(is_right(&bytes));
    files.close().await.unwrap();
    scene.end().await;
}

fn is_unreachable(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn latency() {
    a_read_survives(Action::Delay(Duration::from_millis(300)), usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_before_the_request() {
    a_read_survives(Action::ResetBefore, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_cut() {
    a_read_survives(Action::Cut, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_always_cut() {
    a_read_fails(Action::Cut, is_unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_shorter_than_promised() {
    a_read_survives(Action::PromiseMore(10), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_longer_than_promised() {
    a_read_fails(Action::PromiseLess(10), is_unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn less_than_was_asked_for() {
    a_read_fails(Action::Short(10), is_unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_range_once() {
    a_read_survives(Action::OtherRange, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_range_always() {
    let told =
        |error: &Error| matches!(error, Error::Forged { path: Some(path), .. } if path == "/file");
    a_read_fails(Action::OtherRange, told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_object_instead_of_a_range() {
    let bytes = vec![7; 3 << 20];
    a_read_fails(Action::Whole { bytes, more: 0 }, is_unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_object_cut() {
    let bytes = vec![7; 3 << 20];
    a_read_fails(Action::Whole { bytes, more: 10 }, is_unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_middle() {
    a_read_fails(Action::Answer(Answer::DENIED), |error| {
        matches!(error, Error::Denied { .. })
    })
    .await;
}

/// With the client's time stopped, its bounds pass in no time while the server goes on in its own.
async fn a_read_ends_within_its_bound(action: Action) {
    let scene = Scene::new().await;
    let files = scene.reader().await;
    scene.proxy.rule(gets(action));
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let failed = read(&files).await;
    assert!(failed.as_ref().is_err_and(is_unreachable), "{failed:?}");
    // A read is an open and a read, each within the bound.
    assert!(
        begin.elapsed() <= 2 * BOUND + BOUND / 2,
        "{:?}",
        begin.elapsed()
    );
    tokio::time::resume();
    // On a busy machine the server sees what was sent after the client has given up on it.
    let later = Instant::now();
    while scene.proxy.hits() == 0 && later.elapsed() < BOUND {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.assert_hit();
    resolve(&files).await.unwrap();
    scene.proxy.be_kind();
    assert!(is_right(&read(&files).await.unwrap()));
    files.close().await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_byte_a_second() {
    a_read_ends_within_its_bound(Action::Trickle).await;
}

#[tokio::test]
async fn silence() {
    a_read_ends_within_its_bound(Action::Silence).await;
}

/// No request comes before the time that the server asked for.
fn assert_patient(scene: &Scene, wish: Duration) {
    let seen = scene.proxy.take_seen();
    assert!(seen.iter().any(|seen| seen.hit));
    for pair in seen.windows(2) {
        let between = pair[1].at - pair[0].at;
        // The server's clock begins with the request, the client's with the answer.
        assert!(
            !pair[0].hit || between >= wish,
            "{between:?} after {pair:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_and_unavailable_are_waited_out_as_asked() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let scene = Scene::new().await;
        let files = scene.reader().await;
        let busy = Answer {
            headers: "retry-after: 1\r\n",
            ..Answer::status(status)
        };
        scene
            .proxy
            .rule(gets(Action::Answer(busy.clone())).times(2));
        assert!(is_right(&read(&files).await.unwrap()));
        assert_patient(&scene, Duration::from_secs(1));
        write(&files, "more", noise(LENGTH, 2)).await;
        let puts = Rule::every("PUT", "/packs/", Action::Answer(busy));
        scene.proxy.rule(puts.times(2));
        files.publish().await.unwrap();
        assert_patient(&scene, Duration::from_secs(1));
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wish_is_kept_without_holding_a_read() {
    let scene = Scene::new().await;
    let files = scene.reader().await;
    let busy = Answer {
        headers: "retry-after: 3600\r\n",
        ..Answer::status("429 Too Many Requests")
    };
    scene.proxy.rule(gets(Action::Answer(busy)).times(1));
    let begin = Instant::now();
    let failed = read(&files).await;
    assert!(failed.as_ref().is_err_and(is_unreachable), "{failed:?}");
    read(&files).await.unwrap_err();
    assert!(begin.elapsed() < BOUND / 2);
    let seen = scene.proxy.take_seen();
    assert!(seen.iter().filter(|seen| seen.hit).count() == 1);
    assert!(seen.last().unwrap().hit, "nothing came after it: {seen:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_reset_or_done_and_denied_leave_one_commit() {
    let error = Answer::status("500 Internal Server Error");
    for action in [
        Action::ResetBefore,
        Action::ResetAfter,
        Action::AnswerAfter(error),
    ] {
        let scene = Scene::new().await;
        let files = scene.reader().await;
        let commits = || async {
            let listing = scene.world.store().list(Prefix::Commits).await.unwrap();
            listing.objects.len()
        };
        let before = commits().await;
        for part in ["/packs/", "/commits/"] {
            let puts = Rule::every("PUT", part, action.clone());
            scene.proxy.rule(puts.times(2));
        }
        write(&files, "more", noise(LENGTH, 2)).await;
        files.publish().await.unwrap();
        assert_eq!(scene.proxy.hits(), 4, "{action:?}");
        assert_eq!(commits().await, before + 1, "{action:?}");
        files.close().await.unwrap();
        let c = scene.world.files("c").await;
        assert!(c.resolve(b"/more", Follow::No).await.is_ok());
        c.close().await.unwrap();
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_are_cut_are_not_taken_for_empty_ones() {
    let scene = Scene::new().await;
    scene
        .proxy
        .rule(Rule::every("GET", "list-type", Action::Cut).times(2));
    let files = scene.world.files("new").await;
    scene.assert_hit();
    assert!(is_right(&read(&files).await.unwrap()));
    files.close().await.unwrap();
    scene.end().await;
}
