//! Several devices: in turn they follow each other; at once each keeps its own, and nothing is lost.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use coffre::Error;
use coffre::Filesystem;
use coffre::Refusal;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::Invalidation;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre_tests::World;
use coffre_tests::command::Machine;
use coffre_tests::daemon::Background;
use coffre_tests::mounted::can_mount;
use coffre_tests::world::copy_folder;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};

async fn write(files: &Volume, name: &str, content: &str) {
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

async fn read(files: &Volume, name: &str) -> String {
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
async fn a_device_that_only_reads_still_follows_the_next_time() {
    let world = World::local();
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "shared", "from a").await;
    a.close().await.unwrap();
    drop(a);
    for round in ["first", "second", "third"] {
        let b = world.files("b").await;
        write(&b, "shared", round).await;
        b.close().await.unwrap();
        drop(b);
        // It changes nothing, so its own last commit stays behind.
        let a = world.files("a").await;
        assert_eq!(&read(&a, "shared").await[..5], &round[..5]);
        assert!(a.status().diverged.is_empty(), "{:?}", a.status());
        a.close().await.unwrap();
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_home_goes_on_as_a_new_device_and_loses_nothing() {
    let world = World::local();
    drop(world.create("a").await);
    let session = async |name: &str| {
        let a = world.files("a").await;
        write(&a, name, "published").await;
        a.close().await.unwrap();
        a.vault().device().unwrap()
    };
    let first = session("before the backup").await;
    let home = world.dir.path().join("a");
    copy_folder(&home, &world.dir.path().join("backup"));
    for name in ["one", "two", "three"] {
        assert_eq!(session(name).await, first);
    }
    std::fs::remove_dir_all(&home).unwrap();
    copy_folder(&world.dir.path().join("backup"), &home);
    // No alarm of a rollback: the store is ahead of this folder, not behind.
    let a = world.files("a").await;
    let warnings = a.status().warnings;
    let told = |warning: &String| warning.contains("exists twice");
    assert!(warnings.iter().any(told), "{warnings:?}");
    for name in ["before the backup", "one", "two", "three"] {
        assert_eq!(read(&a, name).await, "published", "{name}");
    }
    write(&a, "four", "published").await;
    a.close().await.unwrap();
    let second = a.vault().device().unwrap();
    assert_ne!(first, second, "the old chain is not written again");
    assert!(a.vault().retired().contains(&first));
    drop(a);
    let b = world.files("b").await;
    assert!(b.status().diverged.is_empty(), "{:?}", b.status());
    for name in ["before the backup", "one", "two", "three", "four"] {
        assert_eq!(read(&b, name).await, "published", "{name}");
    }
    b.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_as_a_new_device_keeps_what_has_no_name_yet() {
    let world = World::local();
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "unlinked", "still open").await;
    a.close().await.unwrap();
    let first = a.vault().device().unwrap();
    drop(a);
    let home = world.dir.path().join("a");
    copy_folder(&home, &world.dir.path().join("copy"));

    let a = world.files("a").await;
    let copy = Filesystem::of(world.files("copy").await);
    let begun = copy.replace("begun").await.unwrap();
    begun.file().write_at(0, "content".into()).await.unwrap();
    let unlinked = copy.open("unlinked").await.unwrap();
    copy.remove("unlinked").await.unwrap();
    write(&a, "of the other", "published").await;
    a.close().await.unwrap();
    copy.volume().refresh().await.unwrap();
    copy.publish().await.unwrap();
    assert_ne!(copy.volume().vault().device().unwrap(), first);

    begun.commit().await.unwrap();
    assert_eq!(copy.read("begun").await.unwrap(), "content");
    assert_eq!(unlinked.read_at(0..100).await.unwrap(), "still open");
    drop(unlinked);
    // What nobody holds any more is removed beside.
    let begin = std::time::Instant::now();
    loop {
        copy.publish().await.unwrap();
        let inodes = copy.volume().space().await.unwrap().inodes;
        if inodes == 2 {
            break;
        }
        assert!(
            begin.elapsed().as_secs() < 20,
            "{inodes} are there for ever"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    copy.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_home_with_work_of_its_own_keeps_it_beside_what_was_published_since() {
    let world = World::local();
    drop(world.create("a").await);
    let home = world.dir.path().join("a");
    let a = world.files("a").await;
    write(&a, "base", "published").await;
    a.publish().await.unwrap();
    // The backup is made while something waits in the journal.
    write(&a, "waiting", "in the journal").await;
    a.close_now().await.unwrap();
    drop(a);
    copy_folder(&home, &world.dir.path().join("backup"));
    for name in ["one", "two", "three"] {
        let a = world.files("a").await;
        write(&a, name, "published").await;
        a.close().await.unwrap();
    }
    std::fs::remove_dir_all(&home).unwrap();
    copy_folder(&world.dir.path().join("backup"), &home);
    let a = world.files("a").await;
    assert_eq!(read(&a, "waiting").await, "in the journal");
    write(&a, "later", "after the restore").await;
    a.close().await.unwrap();
    drop(a);
    let a = world.files("a").await;
    assert_eq!(read(&a, "waiting").await, "in the journal");
    assert_eq!(read(&a, "later").await, "after the restore");
    // What was published since is on the old chain, and is said to be.
    assert_eq!(a.status().diverged.len(), 1, "{:?}", a.status());
    let heads = a.vault().heads().all;
    assert_eq!(heads.len(), 2);
    let old = heads
        .iter()
        .find(|head| Some(head.device) != a.vault().device());
    let root = old.unwrap().commit.body.root;
    let depth = coffre::vault::Depth::Data;
    let report = coffre::vault::check(a.vault(), a.nodes(), &root, depth, &|_| ()).await;
    assert!(report.unwrap().is_sound(), "all of the old chain is there");
    a.close().await.unwrap();
}

#[test]
fn two_mounts_of_one_state_folder_and_its_copy_end_with_chains_of_their_own() {
    if !can_mount() {
        return;
    }
    let (one, two) = (Machine::new(), Machine::new());
    let vault = one.init("vault");
    fs::write(one.path("note"), "before the copy").unwrap();
    one.ok(&["put", &vault, &one.path("note"), "/note"]);
    copy_folder(Path::new(&one.path("state")), Path::new(&two.path("state")));
    let mounts = [
        Background::mount(&one, &vault, &[]),
        Background::mount(&two, &vault, &[]),
    ];
    for (index, mount) in mounts.iter().enumerate() {
        fs::write(mount.path("own"), format!("work of {index}")).unwrap();
    }
    one.ok(&["sync", &mounts[0].dir]);
    two.ok(&["sync", &mounts[1].dir]);
    for (index, mount) in mounts.iter().enumerate() {
        fs::write(mount.path("later"), format!("later work of {index}")).unwrap();
    }
    one.ok(&["unmount", &mounts[0].dir]);
    two.ok(&["unmount", &mounts[1].dir]);
    // Each has found the other's commits at the latest when it opens the vault to write again.
    for machine in [&one, &two] {
        machine.ok(&["put", &vault, &one.path("note"), "/again"]);
    }
    let mut devices = Vec::new();
    for (index, machine) in [&one, &two].into_iter().enumerate() {
        for name in ["/note", "/again"] {
            assert_eq!(machine.ok(&["cat", &vault, name]), "before the copy");
        }
        let own = machine.ok(&["cat", &vault, "/own"]);
        assert_eq!(own, format!("work of {index}"));
        let later = machine.ok(&["cat", &vault, "/later"]);
        assert_eq!(later, format!("later work of {index}"));
        let status = machine.json(&["status", &vault]).pop().unwrap();
        assert_eq!(status["unpublished_operations"], 0, "{status}");
        let this = status["devices"].as_array().unwrap().iter();
        let mut this = this.filter(|device| device["this"] == true);
        devices.push(this.next().unwrap()["id"].clone());
    }
    assert_ne!(devices[0], devices[1], "each has a chain of its own");
    one.ok(&["check", "--data", &vault]);
    two.ok(&["check", "--data", &vault]);
}
