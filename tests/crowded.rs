//! Blocks in more pieces than the tree stores, over content that is lost: whoever writes is told, and nobody else
//! is held up.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Allocate;
use coffre::fs::Follow;
use coffre::fs::Handle;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Volume;
use coffre_tests::World;
use coffre_tests::content::noise;
use coffre_tests::content::read;
use coffre_tests::content::write;

const BLOCK: usize = 128 * 1024;
const STEP: u64 = 4096;

/// A device that knows the names, and has no content of `file`.
async fn absent_content(world: &World) -> Volume {
    drop(world.create("a").await);
    let a = world.files("a").await;
    write(&a, "file", noise(BLOCK, 1)).await;
    write(&a, "other", noise(BLOCK, 2)).await;
    a.close().await.unwrap();
    drop(a);
    let b = world.files("b").await;
    for name in ["file", "other"] {
        b.resolve(name.as_bytes(), Follow::No).await.unwrap();
    }
    b
}

/// Every pack that holds content; the names have been read already.
fn spoil(world: &World) {
    for path in packs(&world.folder()) {
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > BLOCK {
            bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 1);
            fs::write(&path, bytes).unwrap();
        }
    }
}

fn packs(store: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(store.join("packs")).unwrap();
    folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect()
}

async fn open(files: &Volume, name: &str) -> Handle {
    let found = files.resolve(name.as_bytes(), Follow::No).await.unwrap();
    files.open_file(found.inode, OpenMode::Write).await.unwrap()
}

/// Small writes all over the block; how many were taken, and what the next one was told.
async fn scatter(files: &Volume, handle: Handle) -> (u64, Option<Error>) {
    for n in 0..BLOCK as u64 / STEP {
        let write = files.write(handle, n * STEP, Bytes::from_static(b"small"));
        if let Err(error) = write.await {
            return (n, Some(error));
        }
    }
    (BLOCK as u64 / STEP, None)
}

fn scattered() -> Vec<u8> {
    let mut content = noise(BLOCK, 1);
    for piece in content.chunks_mut(STEP as usize) {
        piece[..5].copy_from_slice(b"small");
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn who_crowds_a_block_over_lost_content_is_told_and_everything_else_goes_on() {
    let world = World::local();
    let files = absent_content(&world).await;
    spoil(&world);
    let handle = open(&files, "/file").await;
    let (taken, error) = scatter(&files, handle).await;
    // The first piece leaves one frame's rest beside it, each further one two.
    assert_eq!(taken, 8, "pieces that fit beside what cannot be read");
    let error = error.unwrap();
    assert!(
        matches!(&error, Error::Forged { path: Some(path), .. } if path == "/file"),
        "{error:?}"
    );
    let punched = punch_all(&files, handle).await.unwrap_err();
    assert!(matches!(punched, Error::Forged { .. }), "{punched:?}");
    // The same where a whole block is written: nothing of the old content is needed.
    let other = open(&files, "/other").await;
    files
        .write(other, 0, Bytes::from(noise(BLOCK, 3)))
        .await
        .unwrap();
    files.publish().await.unwrap();
    files.release(handle).await.unwrap();
    files.release(other).await.unwrap();
    assert!(read(&files, "other").await.unwrap() == noise(BLOCK, 3));
    let lost = read(&files, "file").await;
    assert!(
        matches!(lost, Err(Error::Forged { .. })),
        "not told any more"
    );
    files.close().await.unwrap();
}

async fn punch_all(files: &Volume, handle: Handle) -> coffre::Result<()> {
    for n in 0..BLOCK as u64 / STEP {
        let at = n * STEP + 1000;
        files.allocate(handle, Allocate::Punch, at, 100).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_crowded_while_the_store_is_away_is_settled_when_it_is_back() {
    let world = World::local();
    let files = absent_content(&world).await;
    let away = world.folder().with_extension("away");
    fs::rename(world.folder(), &away).unwrap();
    let handle = open(&files, "/file").await;
    let (taken, error) = scatter(&files, handle).await;
    assert!(error.is_none(), "after {taken}: {error:?}");
    files.fsync().await.unwrap();
    fs::rename(&away, world.folder()).unwrap();
    files.publish().await.unwrap();
    files.release(handle).await.unwrap();
    assert!(read(&files, "file").await.unwrap() == scattered());
    files.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_shows_only_later_names_the_file_and_the_way_out() {
    let world = World::local();
    let files = absent_content(&world).await;
    let away = world.folder().with_extension("away");
    fs::rename(world.folder(), &away).unwrap();
    let handle = open(&files, "/file").await;
    let (_, error) = scatter(&files, handle).await;
    assert!(error.is_none(), "{error:?}");
    files.release(handle).await.unwrap();
    write(&files, "new", noise(1000, 4)).await;
    fs::rename(&away, world.folder()).unwrap();
    spoil(&world);
    let failed = files.publish().await.unwrap_err();
    assert!(
        matches!(&failed, Error::Forged { path: Some(path), .. } if path == "/file"),
        "{failed:?}"
    );
    let warnings = files.status().warnings.join("\n");
    assert!(
        warnings.contains("/file") && warnings.contains("delete that file"),
        "{warnings}"
    );
    files.unlink(Inode::ROOT, b"file").await.unwrap();
    files.publish().await.unwrap();
    assert!(read(&files, "new").await.unwrap() == noise(1000, 4));
    files.close().await.unwrap();
}
