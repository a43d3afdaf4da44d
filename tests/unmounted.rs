//! The disk that holds a store's folder is not mounted: nothing is written where it would be, nothing is taken for
//! lost, and everything goes on when it is back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use coffre::Error;
use coffre::vault::Access;
use coffre_tests::World;
use coffre_tests::command::Machine;
use coffre_tests::content::names;
use coffre_tests::content::noise;
use coffre_tests::content::read;
use coffre_tests::content::until;
use coffre_tests::content::write;

/// What is in the place of the disk while it is away.
#[derive(Debug, Clone, Copy)]
enum Place {
    Nothing,
    BareMountPoint,
}

fn unmount(folder: &Path, place: Place) {
    fs::rename(folder, folder.with_extension("disk")).unwrap();
    if let Place::BareMountPoint = place {
        fs::create_dir(folder).unwrap();
    }
}

/// The disk is back; nothing may have been put in its place.
fn mount(folder: &Path) {
    if folder.exists() {
        // Fails where it is not empty.
        fs::remove_dir(folder).unwrap();
    }
    fs::rename(folder.with_extension("disk"), folder).unwrap();
}

fn is_away<T>(result: &coffre::Result<T>) -> bool {
    matches!(result, Err(Error::Unreachable { why, .. }) if why.contains("is its disk mounted?"))
}

async fn goes_and_comes_back(place: Place) {
    let world = World::local();
    drop(world.create("a").await);
    let files = world.files("a").await;
    write(&files, "before", noise(300_000, 1)).await;
    files.publish().await.unwrap();

    unmount(&world.folder(), place);
    // More than a pack: some of it would go up early.
    write(&files, "during", noise(20 << 20, 2)).await;
    let published = files.publish().await;
    assert!(is_away(&published), "{published:?}");
    let refreshed = files.refresh().await;
    assert!(is_away(&refreshed), "{refreshed:?}");
    assert_eq!(names(&files).await, ["before", "during"]);
    until("an outage is told", || {
        files.status().away_seconds.is_some()
    })
    .await;

    mount(&world.folder());
    files.publish().await.unwrap();
    until("the outage is over", || {
        files.status().away_seconds.is_none()
    })
    .await;
    files.close().await.unwrap();
    drop(files);
    let other = world.files("b").await;
    assert!(read(&other, "before").await.unwrap() == noise(300_000, 1));
    assert!(read(&other, "during").await.unwrap() == noise(20 << 20, 2));
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_meanwhile_waits() {
    goes_and_comes_back(Place::BareMountPoint).await;
    goes_and_comes_back(Place::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_it_is_a_start_without_the_network() {
    for place in [Place::BareMountPoint, Place::Nothing] {
        let world = World::local();
        drop(world.create("a").await);
        let files = world.files("a").await;
        write(&files, "before", noise(1000, 1)).await;
        files.close().await.unwrap();
        drop(files);
        unmount(&world.folder(), place);
        let files = world.files("a").await;
        // A local store is its own cache: nothing of it is here.
        let read_now = read(&files, "before").await;
        assert!(is_away(&read_now), "{place:?}: {read_now:?}");
        mount(&world.folder());
        until("it is looked for by itself", || {
            files.status().away_seconds.is_none()
        })
        .await;
        assert_eq!(names(&files).await, ["before"]);
        write(&files, "later", noise(1000, 2)).await;
        files.publish().await.unwrap();
        files.close().await.unwrap();
        drop(files);
        let vault = world.open("b", Access::ReadOnly).await.unwrap();
        assert_eq!(vault.heads().base.point, files_point(&world).await);
    }
}

/// The newest commit as the first machine knows it.
async fn files_point(world: &World) -> coffre_format::commit::Point {
    world
        .open("a", Access::ReadOnly)
        .await
        .unwrap()
        .last()
        .unwrap()
}

/// The `vault` object is a hint: keys without it are a vault.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hint_is_no_absent_disk() {
    let world = World::local();
    drop(world.create("a").await);
    let files = world.files("a").await;
    fs::remove_file(world.folder().join("vault")).unwrap();
    write(&files, "file", noise(1000, 1)).await;
    files.publish().await.unwrap();
    files.close().await.unwrap();
}

#[test]
fn a_first_look_at_a_folder_that_is_not_there_makes_none() {
    let machine = Machine::new();
    let absent = machine.path("not-mounted/vault");
    let output = machine.run(&["ls", &absent]);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("coffre init"), "{told}");
    assert!(!Path::new(&machine.path("not-mounted")).exists());
}
