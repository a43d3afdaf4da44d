//! A pack is in the outbox, and its disk has not said so yet, when a publish ends and tidies up.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use coffre::fault;
use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre_tests::World;
use coffre_tests::content::noise;
use coffre_tests::content::read;
use coffre_tests::content::until;
use coffre_tests::content::write;

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_beside_it_leaves_a_pack_that_is_just_arriving() {
    let world = World::local();
    drop(world.create("a").await);
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    let options = Options {
        publish_after: Duration::from_secs(3600),
        ..world.options("a", Access::ReadWrite)
    };
    let files = Volume::open(vault, options).await.unwrap();
    write(&files, "small", noise(1000, 1)).await;
    // The fold is over and the commit on its way, when a pack fills up.
    fault::hold("publish.begun");
    let publishing = tokio::spawn({
        let files = files.clone();
        async move { files.publish().await }
    });
    until("the publish is on its way", || {
        fault::is_reached("publish.begun")
    })
    .await;
    fault::hold("pack.frozen");
    write(&files, "big", noise(17 << 20, 2)).await;
    until("a pack arrives", || fault::is_reached("pack.frozen")).await;
    fault::release("publish.begun");
    publishing.await.unwrap().unwrap();
    assert!(fault::is_reached("pack.frozen"), "it has arrived too early");
    fault::release("pack.frozen");
    files.publish().await.unwrap();
    files.close().await.unwrap();
    let other = world.files("b").await;
    assert!(read(&other, "big").await.unwrap() == noise(17 << 20, 2));
    other.close().await.unwrap();
}
