//! Nothing readable leaves the process: a planted name and text are in no file that Coffre writes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use coffre::fs::Inode;
use coffre::fs::Make;
use coffre::fs::Owner;
use coffre::fs::XattrMode;
use coffre_tests::World;
use coffre_tests::s3::S3;
use coffre_tests::world::PASSPHRASE;

const NAME: &str = "grandmother-recipe-7261";
const TEXT: &str = "two spoons of saffron, and never tell 9914";
const TARGET: &str = "hidden-destination-5520";
const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};

/// Files under a folder that hold or are called one of the planted words.
fn leaks(root: &Path) -> Vec<PathBuf> {
    let planted = [NAME, TEXT, TARGET, PASSPHRASE];
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path.clone());
            }
            let content = if path.is_file() {
                std::fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            let holds = |word: &str| {
                content
                    .windows(word.len())
                    .any(|window| window == word.as_bytes())
            };
            if planted
                .iter()
                .any(|word| name.contains(word) || holds(word))
            {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_object_journal_outbox_cache_or_state_file_holds_what_was_planted() {
    let s3 = tokio::task::spawn_blocking(S3::in_process).await.unwrap();
    let world = World::at(s3.uri("prefix"));
    drop(world.create("a").await);
    let files = world.files("a").await;
    let write = async |name: &str, content: Vec<u8>| {
        let (made, handle) = files
            .create(Inode::ROOT, name.as_bytes(), OWNER)
            .await
            .unwrap();
        files.write(handle, 0, Bytes::from(content)).await.unwrap();
        files.release(handle).await.unwrap();
        made.inode
    };
    // Published: in objects and the cache.
    let inode = write(NAME, TEXT.into()).await;
    write(&format!("{NAME}-long"), TEXT.repeat(20_000).into_bytes()).await;
    files
        .set_xattr(inode, b"user.note", TEXT.as_bytes(), XattrMode::Set)
        .await
        .unwrap();
    let link = Make::Symlink(TARGET.into());
    files.make(Inode::ROOT, b"link", link, OWNER).await.unwrap();
    files.publish().await.unwrap();
    // Not published: in the journal and the open pack.
    write(&format!("{NAME}-later"), TEXT.repeat(20_000).into_bytes()).await;
    files.fsync().await.unwrap();

    let journal: u64 = std::fs::read_dir(files.vault().state().journal())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(journal > 1000, "there is a journal to look into");
    assert_eq!(leaks(world.dir.path()), Vec::<PathBuf>::new());
    assert_eq!(leaks(s3.folder.path()), Vec::<PathBuf>::new());

    // The search finds what is there to be found.
    let control = world.dir.path().join("a/control");
    std::fs::write(&control, format!("x{TEXT}x")).unwrap();
    let named = s3.folder.path().join(format!("bucket/{NAME}"));
    std::fs::write(&named, "").unwrap();
    assert_eq!(leaks(world.dir.path()), [control]);
    assert_eq!(leaks(s3.folder.path()), [named]);
    files.close().await.unwrap();
    tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
}
