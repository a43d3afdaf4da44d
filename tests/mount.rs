//! Programs work on the mount as on a local disk, and find everything again on a machine that knows nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;

use coffre::fs::Follow;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre_tests::Mounted;
use coffre_tests::World;
use coffre_tests::content::OWNER;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::run;

#[test]
fn files_links_and_attributes_survive_a_remount_elsewhere() {
    if !can_mount() {
        return;
    }
    let world = World::local();
    let mounted = Mounted::new(&world, "a");
    let root = mounted.path().to_owned();
    fs::create_dir_all(root.join("photos/2019")).unwrap();
    let noise: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(root.join("photos/2019/a.jpg"), &noise).unwrap();
    fs::write(root.join("small"), "tiny").unwrap();
    fs::hard_link(root.join("small"), root.join("also small")).unwrap();
    std::os::unix::fs::symlink("photos/2019", root.join("link")).unwrap();
    fs::set_permissions(root.join("small"), fs::Permissions::from_mode(0o640)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 30).unwrap();
    drop(sparse);
    run(
        &root,
        "touch",
        &["-d", "2001-02-03 04:05:06.123456789", "small"],
    );
    let before = fs::metadata(root.join("small")).unwrap();
    for index in 0..3000 {
        fs::write(root.join(format!("photos/n{index:04}")), index.to_string()).unwrap();
    }
    let mut unlinked = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(root.join("gone"))
        .unwrap();
    fs::remove_file(root.join("gone")).unwrap();
    unlinked.write_all(b"still here").unwrap();
    unlinked.seek(SeekFrom::Start(0)).unwrap();
    let mut read = String::new();
    unlinked.read_to_string(&mut read).unwrap();
    assert_eq!(read, "still here");
    drop(unlinked);
    mounted.close();

    world.forget("a");
    let mounted = Mounted::new(&world, "b");
    let root = mounted.path().to_owned();
    assert!(fs::read(root.join("link/a.jpg")).unwrap() == noise);
    let after = fs::metadata(root.join("also small")).unwrap();
    assert_eq!(
        (after.mtime(), after.mtime_nsec()),
        (before.mtime(), 123_456_789)
    );
    assert_eq!(
        (after.mode() & 0o7777, after.nlink(), after.ino()),
        (0o640, 2, before.ino())
    );
    let sparse = fs::metadata(root.join("sparse")).unwrap();
    assert_eq!(sparse.len(), (1 << 30) + 3);
    assert!(sparse.blocks() * 512 < 1 << 20);
    let names: Vec<_> = fs::read_dir(root.join("photos"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3001);
    for index in (0..3000).step_by(97) {
        assert_eq!(
            fs::read_to_string(root.join(format!("photos/n{index:04}"))).unwrap(),
            index.to_string()
        );
    }
    mounted.close();
}

#[test]
fn what_the_library_changes_is_seen_on_the_mount_at_once() {
    if !can_mount() {
        return;
    }
    let world = World::local();
    let mounted = Mounted::new(&world, "a");
    let path = mounted.path();
    fs::create_dir(path.join("folder")).unwrap();
    fs::write(path.join("folder/file"), "before").unwrap();
    // The kernel knows both now, with a day to live.
    assert_eq!(fs::read(path.join("folder/file")).unwrap(), b"before");
    let files = mounted.files.clone();
    mounted.runtime.block_on(async {
        let file = files.resolve(b"/folder/file", Follow::No).await.unwrap();
        let handle = files.open_file(file.inode, OpenMode::Write).await.unwrap();
        let text = bytes::Bytes::from_static(b"changed, and longer");
        files.write(handle, 0, text).await.unwrap();
        files.release(handle).await.unwrap();
        files.settle().await;
    });
    assert_eq!(
        fs::read(path.join("folder/file")).unwrap(),
        b"changed, and longer"
    );
    mounted.runtime.block_on(async {
        let folder = files.resolve(b"/folder", Follow::No).await.unwrap();
        files.unlink(folder.inode, b"file").await.unwrap();
        files.settle().await;
    });
    assert!(!path.join("folder/file").exists());
    fs::remove_dir(path.join("folder")).unwrap();
    mounted.close();
}

#[test]
fn what_the_kernel_was_not_told_of_yet_is_opened_where_it_would_be_made() {
    if !can_mount() {
        return;
    }
    let world = World::local();
    let mounted = Mounted::new(&world, "a");
    let path = mounted.path().join("file");
    // The kernel knows that there is nothing, with a day to live, and what is made as by itself is not told to it.
    assert!(!path.exists());
    let files = mounted.files.for_kernel();
    mounted.runtime.block_on(async {
        let root = files.resolve(b"/", Follow::No).await.unwrap();
        let owner = Owner {
            uid: root.uid,
            gid: root.gid,
            ..OWNER
        };
        let (_, handle) = files.create(root.inode, b"file", owner).await.unwrap();
        let text = bytes::Bytes::from_static(b"made by another");
        files.write(handle, 0, text).await.unwrap();
        files.release(handle).await.unwrap();
    });
    let mut options = File::options();
    let mut opened = options.append(true).create(true).open(&path).unwrap();
    opened.write_all(b", and more").unwrap();
    drop(opened);
    assert_eq!(fs::read(&path).unwrap(), b"made by another, and more");
    let exclusive = File::create_new(&path).unwrap_err();
    assert_eq!(exclusive.kind(), ErrorKind::AlreadyExists);
    mounted.close();
}

#[test]
fn what_another_device_published_is_seen_on_the_mount() {
    if !can_mount() {
        return;
    }
    let world = World::local();
    let here = Mounted::new(&world, "a");
    fs::write(here.path().join("file"), "before").unwrap();
    fs::write(here.path().join("gone"), "soon").unwrap();
    fs::write(here.path().join("held"), "before").unwrap();
    here.runtime.block_on(here.files.publish()).unwrap();
    assert!(!here.path().join("new").exists());
    let there = Mounted::new(&world, "b");
    fs::write(there.path().join("file"), "changed, and longer").unwrap();
    fs::remove_file(there.path().join("gone")).unwrap();
    fs::write(there.path().join("new"), "of b").unwrap();
    let held = File::open(here.path().join("held")).unwrap();
    fs::write(there.path().join("held"), "changed, and longer").unwrap();
    there.close();
    // Still as the kernel knows it, until the minute is over or somebody asks.
    assert_eq!(fs::read(here.path().join("file")).unwrap(), b"before");
    here.runtime.block_on(async {
        here.files.refresh().await.unwrap();
        here.files.settle().await;
    });
    let text = fs::read(here.path().join("file")).unwrap();
    assert_eq!(text, b"changed, and longer");
    let mut names: Vec<_> = fs::read_dir(here.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "held", "new"]);
    assert_eq!(fs::read(here.path().join("new")).unwrap(), b"of b");
    // Who has it open keeps the length that the kernel believes in, until it is closed.
    assert_eq!(held.metadata().unwrap().len(), 6);
    drop(held);
    // It is told of the closing a moment later, and tells what has changed then.
    std::thread::sleep(std::time::Duration::from_millis(500));
    here.runtime.block_on(here.files.settle());
    let text = fs::read(here.path().join("held")).unwrap();
    assert_eq!(text, b"changed, and longer");
    here.close();
}
