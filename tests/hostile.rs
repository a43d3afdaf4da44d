//! A store that alters, cuts, swaps, deletes and rolls back: never a wrong byte, always a named object.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use coffre::Error;
use coffre::Refusal;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre::vault::CheckReport;
use coffre::vault::Depth;
use coffre::vault::check;
use coffre_tests::World;
use coffre_tests::content::noise;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

async fn write(files: &Volume, name: &[u8], content: &[u8]) {
    let (_, handle) = files.create(Inode::ROOT, name, OWNER).await.unwrap();
    files
        .write(handle, 0, Bytes::copy_from_slice(content))
        .await
        .unwrap();
    files.release(handle).await.unwrap();
}

/// A small vault: inline content, content in frames, several packs.
async fn filled() -> (World, Contents) {
    let world = World::local();
    drop(world.create("a").await);
    let files = world.files("a").await;
    let mut contents = Contents::new();
    for round in 0..3u8 {
        for (index, length) in [30, 700, 5_000, 200_000].into_iter().enumerate() {
            let name = format!("file {round} {index}").into_bytes();
            let content = noise(length, round * 8 + index as u8);
            write(&files, &name, &content).await;
            contents.insert(name, content);
        }
        files.publish().await.unwrap();
    }
    files.close().await.unwrap();
    (world, contents)
}

fn objects(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

/// What reading everything on a machine without a cache came to.
#[derive(Debug, Default)]
struct Read {
    right: usize,
    errors: Vec<Error>,
    /// What the vault warned of when it was opened.
    warnings: Vec<String>,
}

/// Reads every file; panics at a wrong byte.
async fn read_all(world: &World, contents: &Contents) -> Read {
    world.forget("reader");
    let mut read = Read::default();
    let vault = match world.open("reader", Access::ReadOnly).await {
        Ok(vault) => vault,
        Err(error) => {
            read.errors.push(error);
            return read;
        }
    };
    read.warnings = vault.heads().warnings;
    let files = match Volume::open(vault, world.options("reader", Access::ReadOnly)).await {
        Ok(files) => files,
        Err(error) => {
            read.errors.push(error);
            return read;
        }
    };
    for (name, content) in contents {
        let result = async {
            let found = files.lookup(Inode::ROOT, name).await?;
            let handle = files.open_file(found.inode, OpenMode::Read).await?;
            let bytes = files.read(handle, 0, 1 << 20).await;
            files.release(handle).await?;
            bytes
        }
        .await;
        match result {
            Ok(bytes) => {
                assert!(
                    bytes == content.as_slice(),
                    "wrong bytes in {}",
                    String::from_utf8_lossy(name)
                );
                read.right += 1;
            }
            Err(error) => read.errors.push(error),
        }
    }
    read
}

/// Every failure is about integrity and names an object.
fn assert_named(read: &Read, what: &str) {
    for error in &read.errors {
        // A machine that knows nothing cannot tell a spoilt newest commit from a torn upload: it takes the one
        // before, and says so.
        if matches!(error, Error::Refused(Refusal::NoEntry)) {
            assert!(
                !read.warnings.is_empty(),
                "{what}: files are gone and nobody is warned"
            );
            continue;
        }
        let fits = matches!(
            error,
            Error::Forged { .. }
                | Error::Missing { .. }
                | Error::Truncated { .. }
                | Error::NoVault { .. }
                | Error::WrongSecret
                | Error::Secret(_)
                | Error::Unsupported(_)
                | Error::Rollback { .. }
                | Error::WrongVault { .. }
        );
        assert!(fits, "{what}: {error:?}");
    }
}

async fn checked(world: &World) -> coffre::Result<CheckReport> {
    world.forget("checker");
    let vault = world.open("checker", Access::ReadOnly).await?;
    let files = Volume::open(vault.clone(), world.options("checker", Access::ReadOnly)).await?;
    check(&vault, files.nodes(), &files.root(), Depth::Data, &|_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_region_of_every_object_flipped_is_noticed() {
    let (world, contents) = filled().await;
    assert_eq!(read_all(&world, &contents).await.right, contents.len());
    assert!(checked(&world).await.unwrap().is_sound());
    let mut unnoticed = Vec::new();
    for path in objects(&world.folder()) {
        let name = path
            .strip_prefix(world.folder())
            .unwrap()
            .display()
            .to_string();
        let whole = std::fs::read(&path).unwrap();
        let regions = 12.min(whole.len());
        for region in 0..regions {
            let mut flipped = whole.clone();
            flipped[region * whole.len() / regions + region % 3] ^= 0x04;
            std::fs::write(&path, &flipped).unwrap();
            let read = read_all(&world, &contents).await;
            assert_named(&read, &name);
            if read.errors.is_empty() && name.starts_with("packs/") && region == regions - 1 {
                // Unused bytes and padding are read by nobody but `check`, which must see them.
                let report = checked(&world).await;
                if report.is_ok_and(|report| report.is_sound()) {
                    unnoticed.push(format!("{name} region {region}"));
                }
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(unnoticed, Vec::<String>::new());
    assert_eq!(
        read_all(&world, &contents).await.right,
        contents.len(),
        "all is well again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_extended_swapped_and_deleted_packs_are_named_and_the_rest_stays_readable() {
    let (world, contents) = filled().await;
    let packs: Vec<PathBuf> = objects(&world.folder())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/packs/"))
        .collect();
    let mut partly = 0;
    for (index, path) in packs.iter().enumerate() {
        let whole = std::fs::read(path).unwrap();
        let other = std::fs::read(&packs[(index + 1) % packs.len()]).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let damages: [(&str, Option<Vec<u8>>); 4] = [
            ("cut", Some(whole[..whole.len() / 2].to_vec())),
            ("emptied", Some(whole[..1].to_vec())),
            ("swapped", Some(other)),
            ("deleted", None),
        ];
        for (what, bytes) in damages {
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            let read = read_all(&world, &contents).await;
            assert_named(&read, what);
            if !read.errors.is_empty() && read.right > 0 {
                partly += 1;
                let text: Vec<String> = read.errors.iter().map(ToString::to_string).collect();
                assert!(
                    text.iter().all(|text| text.contains(&name)),
                    "{what} {name}: {text:?}"
                );
                let report = checked(&world).await.unwrap();
                assert!(!report.is_sound());
                let shown = format!("{report:?}");
                assert!(
                    shown.contains(&name) && shown.contains("/file "),
                    "{what} {name}: {shown}"
                );
            }
            std::fs::write(path, &whole).unwrap();
        }
        // Bytes after the end belong to nobody: reading ignores them, checking does not.
        let mut longer = whole.clone();
        longer.extend_from_slice(b"appended");
        std::fs::write(path, longer).unwrap();
        assert_named(&read_all(&world, &contents).await, "extended");
        std::fs::write(path, &whole).unwrap();
    }
    assert!(partly > 0, "no damage was partial: the test shows nothing");
    assert_eq!(read_all(&world, &contents).await.right, contents.len());
}

fn snapshot(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    objects(&world.folder())
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn restore(world: &World, snapshot: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in objects(&world.folder()) {
        if !snapshot.contains_key(&path) {
            std::fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in snapshot {
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterday_s_store_is_a_rollback_for_the_device_that_knows_better() {
    let (world, mut contents) = filled().await;
    let yesterday = snapshot(&world);
    let files = world.files("a").await;
    write(&files, b"today", b"news").await;
    contents.insert(b"today".to_vec(), b"news".to_vec());
    files.close().await.unwrap();
    drop(files);
    let today = snapshot(&world);

    restore(&world, &yesterday);
    for _ in 0..2 {
        let opened = world.open("a", Access::ReadOnly).await;
        assert!(matches!(opened, Err(Error::Rollback { .. })), "{opened:?}");
    }
    restore(&world, &today);
    let newest = today.keys().find(|path| {
        path.to_string_lossy().contains("/commits/") && !yesterday.contains_key(*path)
    });
    std::fs::remove_file(newest.unwrap()).unwrap();
    let opened = world.open("a", Access::ReadOnly).await;
    assert!(matches!(opened, Err(Error::Rollback { .. })), "{opened:?}");
    restore(&world, &today);
    assert!(world.open("a", Access::ReadOnly).await.is_ok());
    assert_eq!(read_all(&world, &contents).await.right, contents.len());
}
