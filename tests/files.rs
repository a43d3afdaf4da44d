//! The library as programs use it: files by path, without mount, daemon or root.
#![allow(clippy::unwrap_used)]

use std::io::SeekFrom;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use coffre::Error;
use coffre::Filesystem;
use coffre::OpenOptions;
use coffre::Refusal;
use coffre::SetAttributes;
use coffre::store::Prefix;
use coffre::vault::Access;
use coffre_tests::content::noise;
use coffre_tests::content::server;
use coffre_tests::content::stop;
use coffre_tests::world::World;
use futures::FutureExt;
use futures::TryStreamExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncSeekExt;
use tokio::io::AsyncWriteExt;

async fn made(world: &World) -> Filesystem {
    world.create("a").await;
    opened(world).await
}

async fn opened(world: &World) -> Filesystem {
    Filesystem::of(world.files("a").await)
}

async fn names(files: &Filesystem, path: &str) -> Vec<String> {
    let entries: Vec<_> = files.list(path).await.unwrap().try_collect().await.unwrap();
    let name = |entry: &coffre::Entry| entry.name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.iter().map(name).collect();
    names.sort();
    names
}

fn refusal<T: std::fmt::Debug>(result: coffre::Result<T>) -> (Refusal, String) {
    let error = result.unwrap_err();
    (error.refusal().unwrap(), error.to_string())
}

#[tokio::test]
async fn files_are_there_again_on_another_machine() {
    let world = World::local();
    let files = made(&world).await;
    files.create_dir_all("/a/b//c/").await.unwrap();
    files.create_dir_all("a/b").await.unwrap();
    files.write("/a/b/text", "first").await.unwrap();
    files.write("a/b/text", "second").await.unwrap();
    files.symlink("b/text", "/a/link").await.unwrap();
    files.write("/a/link", "through the link").await.unwrap();
    files
        .set_xattr("/a/b/text", "user.kind", "letter")
        .await
        .unwrap();
    files.rename("/a/b/c", "/moved").await.unwrap();
    files.copy("/a/b/text", "/moved/copy").await.unwrap();
    files.close().await.unwrap();

    world.forget("a");
    let files = Filesystem::of(world.files("b").await);
    assert_eq!(files.read("/a/b/text").await.unwrap(), "through the link");
    assert_eq!(files.read("/a/link").await.unwrap(), "through the link");
    assert_eq!(
        files.read_link("/a/link").await.unwrap(),
        Path::new("b/text")
    );
    assert_eq!(files.read_range("/moved/copy", 8..11).await.unwrap(), "the");
    assert_eq!(
        files.read_range("/moved/copy", 12..99).await.unwrap(),
        "link"
    );
    assert_eq!(files.read_range("/moved/copy", 50..99).await.unwrap(), "");
    assert_eq!(
        files.xattr("/a/b/text", "user.kind").await.unwrap(),
        "letter"
    );
    assert_eq!(files.xattrs("/a/b/text").await.unwrap(), ["user.kind"]);
    assert!(files.xattrs("/moved/copy").await.unwrap().is_empty());
    assert!(files.exists("/moved").await.unwrap());
    assert!(!files.exists("/a/b/c").await.unwrap());
    assert!(files.symlink_metadata("/a/link").await.unwrap().size == 6);
    let walked: Vec<_> = files.walk("/").await.unwrap().try_collect().await.unwrap();
    let mut paths: Vec<PathBuf> = walked.into_iter().map(|entry| entry.path).collect();
    let place = |path: &str| {
        paths
            .iter()
            .position(|found| found == Path::new(path))
            .unwrap()
    };
    assert!(place("/a") < place("/a/b") && place("/a/b") < place("/a/b/text"));
    paths.sort();
    let expected = [
        "/a",
        "/a/b",
        "/a/b/text",
        "/a/link",
        "/moved",
        "/moved/copy",
    ];
    assert_eq!(paths, expected.map(PathBuf::from));
    files.remove_all("/a").await.unwrap();
    files.remove("/moved/copy").await.unwrap();
    files.remove("/moved").await.unwrap();
    assert!(names(&files, "/").await.is_empty());
    files.close().await.unwrap();
}

#[tokio::test]
async fn a_file_larger_than_memory_streams_both_ways() {
    const MEBIBYTES: usize = 400;
    let world = World::local();
    let vault = world.create("a").await;
    let options = coffre::Options {
        memory: 96 << 20,
        ..world.options("a", Access::ReadWrite)
    };
    let files = vault.files_with(options).await.unwrap();
    // What unlocking took is not what streaming takes.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let mut chunk = noise(1 << 20, 1);
    let mut written = blake3::Hasher::new();
    let mut target = files.replace("/big").await.unwrap();
    for index in 0..MEBIBYTES {
        chunk[..8].copy_from_slice(&index.to_le_bytes());
        written.update(&chunk);
        target.write_all(&chunk).await.unwrap();
    }
    target.commit().await.unwrap();
    files.publish().await.unwrap();
    let mut read = blake3::Hasher::new();
    let mut source = files.open("/big").await.unwrap();
    loop {
        let length = source.read(&mut chunk).await.unwrap();
        if length == 0 {
            break;
        }
        read.update(&chunk[..length]);
    }
    assert_eq!(read.finalize(), written.finalize());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(
        kib < 200 << 10,
        "{kib} KiB at most for a file of {MEBIBYTES} MiB"
    );
}

#[tokio::test]
async fn what_is_not_committed_leaves_no_trace() {
    let world = World::local();
    let files = made(&world).await;
    files.write("/kept", "old").await.unwrap();
    files.publish().await.unwrap();
    let before = files.volume().space().await.unwrap().inodes;
    let mut dropped = files.replace("/kept").await.unwrap();
    dropped.write_all(&noise(3_000_000, 1)).await.unwrap();
    let mut never = files.replace("/new").await.unwrap();
    never.write_all(b"never seen").await.unwrap();
    assert_eq!(names(&files, "/").await, ["kept"]);
    assert_eq!(files.read("/kept").await.unwrap(), "old");
    drop((dropped, never));
    files.close().await.unwrap();
    let files = opened(&world).await;
    assert_eq!(files.read("/kept").await.unwrap(), "old");
    assert_eq!(names(&files, "/").await, ["kept"]);
    files.publish().await.unwrap();
    assert_eq!(files.volume().space().await.unwrap().inodes, before);
}

#[tokio::test]
async fn a_crash_leaves_the_old_content_or_the_new() {
    let world = World::local();
    world.create("a").await;
    let (old, new) = (noise(2_000_000, 1), noise(2_500_000, 2));
    for commits in [false, true] {
        let files = opened(&world).await;
        files.write("/file", old.clone()).await.unwrap();
        files.sync().await.unwrap();
        let mut target = files.replace("/file").await.unwrap();
        target.write_all(&new).await.unwrap();
        target.flush().await.unwrap();
        let left = if commits {
            target.commit().await.unwrap();
            None
        } else {
            Some(target)
        };
        files.sync().await.unwrap();
        files.volume().crash();
        drop((left, files));
        // What was begun before meets the end.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let files = opened(&world).await;
        let found = files.read("/file").await.unwrap();
        assert!(found == if commits { &new[..] } else { &old[..] });
        assert_eq!(names(&files, "/").await, ["file"]);
        files.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_small_write_is_there_whole_after_a_crash_or_not_at_all() {
    let world = World::local();
    world.create("a").await;
    // Within a block, a block and a bit, and nothing.
    let contents = [noise(5000, 1), noise(200_000, 2), Vec::new()];
    for (old, new) in [(0, 1), (1, 2), (2, 0), (1, 0)] {
        let (old, new) = (&contents[old], &contents[new]);
        for synced in [false, true] {
            let files = opened(&world).await;
            files.write("/file", old.clone()).await.unwrap();
            files.sync().await.unwrap();
            files.write("/file", new.clone()).await.unwrap();
            files.write("/beside", new.clone()).await.unwrap();
            if synced {
                files.sync().await.unwrap();
            }
            files.volume().crash();
            drop(files);
            // What was begun before meets the end.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let files = opened(&world).await;
            let found = files.read("/file").await.unwrap();
            assert!(found == new[..] || (!synced && found == old[..]));
            if synced || files.exists("/beside").await.unwrap() {
                assert!(files.read("/beside").await.unwrap() == new[..]);
                files.remove("/beside").await.unwrap();
            }
            // What was read may be open for a moment longer.
            files.close().await.unwrap();
            let files = opened(&world).await;
            files.publish().await.unwrap();
            let left = files.volume().space().await.unwrap().inodes;
            assert_eq!(left, 2, "the root and the file");
            files.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_find_one_content_or_the_other_whole() {
    let world = World::local();
    let files = made(&world).await;
    let content = |version: u8| vec![version; 200_000 + 1000 * usize::from(version)];
    files.write("/file", content(0)).await.unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let writer = {
        let (files, enough) = (files.clone(), enough.clone());
        tokio::spawn(async move {
            for version in (1..=100).cycle() {
                files.write("/file", content(version)).await.unwrap();
                if enough.load(Ordering::Relaxed) {
                    return version;
                }
            }
            unreachable!("a cycle has no end")
        })
    };
    // As many as it takes to have read beside the writer, whoever runs first.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 20 {
        let found = files.read("/file").await.unwrap();
        let version = found[0];
        assert!(found == content(version), "version {version} is torn");
        seen.insert(version);
    }
    enough.store(true, Ordering::Relaxed);
    let last = writer.await.unwrap();
    assert!(files.read("/file").await.unwrap() == content(last));
}

/// A file that nothing names any more.
async fn removed_while_open(files: &Filesystem) -> coffre::File {
    files.write("/file", "content").await.unwrap();
    let removed = files.open("/file").await.unwrap();
    files.remove("/file").await.unwrap();
    removed
}

#[tokio::test]
async fn what_was_open_without_a_name_goes_after_a_crash() {
    let world = World::local();
    let files = made(&world).await;
    let removed = removed_while_open(&files).await;
    files.sync().await.unwrap();
    assert_eq!(removed.read_at(0..100).await.unwrap(), "content");
    files.volume().crash();
    drop((removed, files));
    // What was begun before meets the end.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let files = opened(&world).await;
    files.publish().await.unwrap();
    let left = files.volume().space().await.unwrap().inodes;
    assert_eq!(left, 1, "the root");
    files.close().await.unwrap();
}

#[tokio::test]
async fn what_is_open_without_a_name_goes_when_all_is_closed() {
    let world = World::local();
    let files = made(&world).await;
    let removed = removed_while_open(&files).await;
    let begun = files.replace("/other").await.unwrap();
    files.clone().close().await.unwrap();
    // Nobody comes back to this machine.
    world.forget("a");
    let files = Filesystem::of(world.files("b").await);
    let left = files.volume().space().await.unwrap().inodes;
    assert_eq!(left, 1, "the root");
    drop((removed, begun));
}

#[tokio::test]
async fn what_is_refused_is_not_stored() {
    let world = World::local();
    let files = made(&world).await;
    files.create_dir("/folder").await.unwrap();
    let stored = async || {
        files.publish().await.unwrap();
        let listing = world.store().list(Prefix::Packs).await.unwrap();
        let lengths = listing.objects.iter().filter_map(|object| object.length);
        lengths.sum::<u64>()
    };
    let before = stored().await;
    for seed in 0..8 {
        let refused = files.write("/folder", noise(1 << 20, seed)).await;
        assert_eq!(refusal(refused).0, Refusal::IsDirectory);
    }
    files.write("/small", "x").await.unwrap();
    let more = stored().await - before;
    assert!(more < 64 << 10, "{more} bytes");
}

#[tokio::test]
async fn a_file_has_so_many_attributes_as_one_transaction_can_take_over() {
    let world = World::local();
    let files = made(&world).await;
    files.write("/file", "old").await.unwrap();
    let value = noise(60 << 10, 1);
    let name = |index: usize| format!("user.{index}");
    for index in 0..512 {
        let set = files.set_xattr("/file", name(index), value.clone()).await;
        set.unwrap();
    }
    let one_more = files.set_xattr("/file", "user.one more", "x").await;
    assert_eq!(refusal(one_more).0, Refusal::NoSpace);
    files.set_xattr("/file", name(7), "new").await.unwrap();
    files.write("/file", "new").await.unwrap();
    files.sync().await.unwrap();
    files.volume().crash();
    drop(files);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let files = opened(&world).await;
    assert_eq!(files.read("/file").await.unwrap(), "new");
    assert_eq!(files.xattr("/file", name(7)).await.unwrap(), "new");
    assert_eq!(files.xattr("/file", name(511)).await.unwrap(), value);
}

#[tokio::test]
async fn closing_that_fails_changes_nothing() {
    let world = World::local();
    let files = made(&world).await;
    files.write("/file", "content").await.unwrap();
    files.publish().await.unwrap();
    let removed = files.open("/file").await.unwrap();
    files.remove("/file").await.unwrap();
    let begun = files.replace("/other").await.unwrap();
    let (place, away) = (world.folder(), world.dir.path().join("away"));
    std::fs::rename(&place, &away).unwrap();
    let failed = files.clone().close().await.unwrap_err();
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    std::fs::rename(&away, &place).unwrap();
    assert_eq!(removed.read_at(0..100).await.unwrap(), "content");
    begun.file().write_at(0, "new".into()).await.unwrap();
    begun.commit().await.unwrap();
    assert_eq!(files.read("/other").await.unwrap(), "new");
    files.close().await.unwrap();
    drop(removed);
}

#[tokio::test]
async fn a_replaced_file_keeps_who_may_do_what_but_no_privilege() {
    let world = World::local();
    let files = made(&world).await;
    files.write("/tool", "old").await.unwrap();
    let set = SetAttributes {
        mode: Some(0o4751),
        uid: Some(1234),
        ..SetAttributes::default()
    };
    files.set_metadata("/tool", set).await.unwrap();
    let set = SetAttributes {
        mode: Some(0o4751),
        ..SetAttributes::default()
    };
    files.set_metadata("/tool", set).await.unwrap();
    files.set_xattr("/tool", "user.note", "mine").await.unwrap();
    files
        .set_xattr("/tool", "security.capability", [1; 20])
        .await
        .unwrap();
    let reader = files.open("/tool").await.unwrap();
    files.write("/tool", "new").await.unwrap();
    let found = files.metadata("/tool").await.unwrap();
    assert_eq!((found.mode, found.uid, found.nlink), (0o751, 1234, 1));
    assert_eq!(files.xattrs("/tool").await.unwrap(), ["user.note"]);
    assert_eq!(
        reader.read_at(0..9).await.unwrap(),
        "old",
        "who has it open keeps it"
    );
    assert_eq!(files.read("/tool").await.unwrap(), "new");
}

#[tokio::test]
async fn files_read_write_and_seek_as_files_do() {
    let world = World::local();
    let files = made(&world).await;
    let mut file = files
        .open_with(
            "/file",
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600),
        )
        .await
        .unwrap();
    assert_eq!(file.metadata().await.unwrap().mode, 0o600);
    file.write_all(b"0123456789").await.unwrap();
    file.seek(SeekFrom::Current(-4)).await.unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "6789");
    assert_eq!(file.seek(SeekFrom::End(-9)).await.unwrap(), 1);
    file.write_all(b"X").await.unwrap();
    file.flush().await.unwrap();
    assert_eq!(file.stream_position().await.unwrap(), 2);
    assert!(file.seek(SeekFrom::Current(-3)).await.is_err());
    assert_eq!(file.stream_position().await.unwrap(), 2);
    file.write_at(12, "far".into()).await.unwrap();
    assert_eq!(file.read_at(8..99).await.unwrap(), "89\0\0far");
    file.set_len(4).await.unwrap();
    assert_eq!(files.read("/file").await.unwrap(), "0X23");
    let mut log = files
        .open_with("/file", OpenOptions::new().append(true))
        .await
        .unwrap();
    file.write_at(4, "4".into()).await.unwrap();
    log.write_all(b"5").await.unwrap();
    log.write_all(b"6").await.unwrap();
    log.sync().await.unwrap();
    assert_eq!(files.read("/file").await.unwrap(), "0X23456");
    assert!(log.read_u8().await.is_err());
    files.rename("/file", "/other").await.unwrap();
    assert_eq!(file.metadata().await.unwrap().size, 7, "by whatever name");
}

#[tokio::test]
async fn a_read_that_was_given_up_loses_no_byte() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    let files = made(&world).await;
    for file in 0..8 {
        let content = noise(400_000, file);
        files.write(format!("/{file}"), content).await.unwrap();
    }
    files.close().await.unwrap();
    world.forget("a");
    let files = opened(&world).await;
    let mut part = vec![0; 50_000];
    for file in 0..8 {
        let mut read = Vec::new();
        let mut given_up = 0;
        let mut open = files.open(format!("/{file}")).await.unwrap();
        for size in [50_000, 7, 20_000, 1].into_iter().cycle() {
            // Polled once: what is not there at once is given up, and asked for again in another size.
            match open.read(&mut part[..size]).now_or_never() {
                Some(length) => match length.unwrap() {
                    0 => break,
                    length => read.extend_from_slice(&part[..length]),
                },
                None => {
                    given_up += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
        assert!(read == noise(400_000, file), "{file}: {}", read.len());
        assert!(given_up > 0, "{file}: nothing had to be waited for");
    }
    files.close().await.unwrap();
    stop(s3).await;
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let world = World::local();
    let files = made(&world).await;
    files.create_dir("/folder").await.unwrap();
    files.write("/folder/file", "content").await.unwrap();
    files.symlink("loop", "/loop").await.unwrap();
    let (why, text) = refusal(files.read("/folder/none").await);
    assert_eq!(
        (why, text.as_str()),
        (Refusal::NoEntry, "/folder/none: no such file or directory")
    );
    assert_eq!(refusal(files.read("/folder").await).0, Refusal::IsDirectory);
    assert_eq!(
        refusal(files.write("/folder", "x").await).0,
        Refusal::IsDirectory
    );
    assert_eq!(
        refusal(files.write("/folder/file/x", "x").await).0,
        Refusal::NotDirectory
    );
    assert_eq!(
        refusal(files.write("/none/x", "x").await).0,
        Refusal::NoEntry
    );
    for all in ["", "/", "/folder/..", "."] {
        assert_eq!(refusal(files.remove_all(all).await).0, Refusal::Invalid);
    }
    assert_eq!(files.read("/folder/file").await.unwrap(), "content");
    assert_eq!(refusal(files.write("", "x").await).0, Refusal::Invalid);
    assert_eq!(refusal(files.write("/", "x").await).0, Refusal::Invalid);
    assert_eq!(refusal(files.write("/loop", "x").await).0, Refusal::Loop);
    assert_eq!(
        refusal(files.write("x".repeat(256), "x").await).0,
        Refusal::NameTooLong
    );
    assert_eq!(
        refusal(files.list("/folder/file").await.map(drop)).0,
        Refusal::NotDirectory
    );
    assert_eq!(
        refusal(files.create_dir("/folder").await).0,
        Refusal::Exists
    );
    assert_eq!(
        refusal(files.create_dir_all("/folder/file/x").await).0,
        Refusal::NotDirectory
    );
    assert_eq!(refusal(files.remove("/folder").await).0, Refusal::NotEmpty);
    assert_eq!(
        refusal(files.rename("/none", "/other").await).0,
        Refusal::NoEntry
    );
    assert_eq!(
        refusal(files.rename("/folder", "/folder/below").await).0,
        Refusal::Invalid
    );
    assert_eq!(
        refusal(files.copy("/folder", "/other").await).0,
        Refusal::IsDirectory
    );
    assert_eq!(
        refusal(files.xattr("/folder", "user.none").await).0,
        Refusal::NoAttribute
    );
    assert_eq!(
        refusal(files.read_link("/folder").await).0,
        Refusal::Invalid
    );
    let mut new = OpenOptions::new();
    let new = files
        .open_with("/folder/file", new.write(true).create_new(true))
        .await;
    assert_eq!(refusal(new.map(drop)).0, Refusal::Exists);
    let nothing = files.open_with("/folder/file", &OpenOptions::new()).await;
    assert_eq!(refusal(nothing.map(drop)).0, Refusal::Invalid);
    let reading = files.open("/folder/file").await.unwrap();
    assert_eq!(
        refusal(reading.write_at(0, "x".into()).await).0,
        Refusal::BadHandle
    );
    assert_eq!(files.read("/folder/file").await.unwrap(), "content");
    let error = std::io::Error::from(files.read("/none").await.unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    drop(reading);
    files.close().await.unwrap();

    let vault = world.open("a", Access::ReadOnly).await.unwrap();
    let files = vault
        .files_with(world.options("a", Access::ReadOnly))
        .await
        .unwrap();
    assert_eq!(files.read("/folder/file").await.unwrap(), "content");
    assert_eq!(refusal(files.write("/new", "x").await).0, Refusal::ReadOnly);
}

#[tokio::test]
async fn a_closed_file_system_refuses_changes() {
    let world = World::local();
    let files = made(&world).await;
    let other = files.clone();
    files.close().await.unwrap();
    assert!(other.write("/late", "x").await.is_err());
}

#[tokio::test]
async fn a_copy_takes_no_room() {
    let world = World::local();
    let files = made(&world).await;
    files.write("/film", noise(64 << 20, 5)).await.unwrap();
    files.publish().await.unwrap();
    let before = files.volume().vault().store().counts().sent;
    files.copy("/film", "/again").await.unwrap();
    files.publish().await.unwrap();
    let sent = files.volume().vault().store().counts().sent - before;
    assert!(sent < 1 << 20, "{sent} bytes were sent for a copy");
    assert!(files.read("/again").await.unwrap() == noise(64 << 20, 5));
}

#[tokio::test]
async fn an_address_and_a_secret_are_all_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let address = dir.path().join("store").display().to_string();
    let state = dir.path().join("state");
    let secret = || coffre::Secret::passphrase("correct horse battery staple").unwrap();
    let at = || coffre::Vault::at(&address).unwrap().state_dir(&state);
    let absent = at().open(&secret()).await;
    assert!(matches!(absent, Err(Error::NoVault { .. })), "{absent:?}");
    assert!(!dir.path().join("store").exists(), "looking makes nothing");
    let made = at()
        .kdf(coffre::KdfParams::FLOOR)
        .create(vec![secret()])
        .await
        .unwrap();
    let files = made.files().await.unwrap();
    files.write("/a", "b").await.unwrap();
    let busy = at().open(&secret()).await;
    assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
    files.close().await.unwrap();
    drop(made);
    let wrong = coffre::Secret::passphrase("wrong").unwrap();
    let refused = at().open(&wrong).await;
    assert!(matches!(refused, Err(Error::WrongSecret)), "{refused:?}");
    let vault = at().read_only().open(&secret()).await.unwrap();
    assert_eq!(vault.files().await.unwrap().read("/a").await.unwrap(), "b");
}

/// Compiles only if every future can move between threads.
#[allow(dead_code)]
fn futures_are_send(files: &'static Filesystem, file: &'static mut coffre::File) {
    fn send<T: Send>(_: T) {}
    send(files.read("a"));
    send(files.read_range("a", 0..1));
    send(files.write("a", Bytes::new()));
    send(files.replace("a"));
    send(files.open("a"));
    send(files.open_with("a", OpenOptions::new().read(true)));
    send(files.list("a"));
    send(files.walk("a"));
    send(files.metadata("a"));
    send(files.set_metadata("a", SetAttributes::default()));
    send(files.create_dir_all("a"));
    send(files.rename("a", "b"));
    send(files.copy("a", "b"));
    send(files.remove_all("a"));
    send(files.set_xattr("a", "b", "c"));
    send(files.publish());
    send(files.clone().close());
    send(file.read_at(0..1));
    send(file.sync());
    send(coffre::Vault::open("a", some_secret()));
}

#[allow(dead_code)]
fn some_secret() -> &'static coffre::Secret {
    unreachable!("only its type is asked for")
}
