//! Every method of the library may be given up at any moment: it has done all of its work then, or none, or the part that its
//! documentation speaks of.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use coffre::FileKind;
use coffre::Filesystem;
use coffre::OpenOptions;
use coffre::SetAttributes;
use coffre_tests::World;
use coffre_tests::content::noise;
use coffre_tests::content::server;
use coffre_tests::content::stop;
use futures::FutureExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;

/// Longer than what one transaction writes.
const BIG: usize = 2_500_000;
/// A method is given up after its first answer that it is not done yet, its second one, and so on up to this one.
const POLLS: usize = 8;
/// So many are given up, or the test has shown little.
const ENOUGH: usize = 2 * METHODS.len();

type Method = fn(Filesystem, PathBuf) -> BoxFuture<'static, coffre::Result<()>>;

/// What a given-up method may leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    AllOrNothing,
    /// Each file as it was or as it was to be.
    Part,
}

macro_rules! methods {
    ($($name:literal leaves $leaves:ident: |$files:ident, $folder:ident| $body:expr;)*) => {
        &[$((
            $name,
            Leaves::$leaves,
            (|$files, $folder| async move { $body.await.map(drop) }.boxed()) as Method,
        )),*]
    };
}

const METHODS: &[(&str, Leaves, Method)] = methods! {
    "read" leaves AllOrNothing: |files, folder| files.read(folder.join("big"));
    "metadata" leaves AllOrNothing: |files, folder| files.metadata(folder.join("link"));
    "list" leaves AllOrNothing: |files, folder| listed(files, folder);
    "open" leaves AllOrNothing: |files, folder| files.open(folder.join("file"));
    "write" leaves AllOrNothing: |files, folder| files.write(folder.join("file"), "new content");
    "write, new" leaves AllOrNothing: |files, folder| files.write(folder.join("new"), noise(300_000, 1));
    "write, long" leaves AllOrNothing: |files, folder| files.write(folder.join("big"), noise(BIG, 2));
    "replace" leaves AllOrNothing: |files, folder| replaced(files, folder);
    "open, new" leaves AllOrNothing: |files, folder| created(files, folder);
    "write_at" leaves Part: |files, folder| written_in_place(files, folder);
    "set_len" leaves AllOrNothing: |files, folder| cut(files, folder);
    "set_metadata" leaves AllOrNothing: |files, folder| files.set_metadata(folder.join("file"), private());
    "set_xattr" leaves AllOrNothing: |files, folder| files.set_xattr(folder.join("file"), "user.note", "new");
    "remove_xattr" leaves AllOrNothing: |files, folder| files.remove_xattr(folder.join("file"), "user.note");
    "create_dir" leaves AllOrNothing: |files, folder| files.create_dir(folder.join("made"));
    "create_dir_all" leaves Part: |files, folder| files.create_dir_all(folder.join("made/for/all"));
    "symlink" leaves AllOrNothing: |files, folder| files.symlink("file", folder.join("other"));
    "rename" leaves AllOrNothing: |files, folder| files.rename(folder.join("file"), folder.join("below/inner"));
    "copy" leaves AllOrNothing: |files, folder| files.copy(folder.join("big"), folder.join("file"));
    "remove" leaves AllOrNothing: |files, folder| files.remove(folder.join("big"));
    "remove_all" leaves Part: |files, folder| files.remove_all(folder.join("below"));
    "sync" leaves AllOrNothing: |files, _folder| files.sync();
    "publish" leaves AllOrNothing: |files, _folder| files.publish();
};

async fn listed(files: Filesystem, folder: PathBuf) -> coffre::Result<Vec<coffre::Entry>> {
    files.walk(folder).await?.try_collect().await
}

async fn replaced(files: Filesystem, folder: PathBuf) -> coffre::Result<()> {
    let mut film = files.replace(folder.join("file")).await?;
    for part in noise(BIG, 3).chunks(700_000) {
        film.write_all(part).await.unwrap();
    }
    film.commit().await.map(drop)
}

async fn created(files: Filesystem, folder: PathBuf) -> coffre::Result<()> {
    let mut options = OpenOptions::new();
    let path = folder.join("created");
    let file = files.open_with(path, options.write(true).create_new(true));
    file.await.map(drop)
}

async fn written_in_place(files: Filesystem, folder: PathBuf) -> coffre::Result<()> {
    let mut options = OpenOptions::new();
    let file = files.open_with(folder.join("big"), options.write(true));
    file.await?.write_at(0, Bytes::from(noise(BIG, 4))).await
}

async fn cut(files: Filesystem, folder: PathBuf) -> coffre::Result<()> {
    let mut options = OpenOptions::new();
    let file = files.open_with(folder.join("big"), options.write(true));
    file.await?.set_len(1_234_567).await
}

fn private() -> SetAttributes {
    SetAttributes {
        mode: Some(0o600),
        uid: Some(42),
        ..SetAttributes::default()
    }
}

async fn set_up(files: &Filesystem, folder: &Path) {
    files
        .create_dir_all(folder.join("below/deep"))
        .await
        .unwrap();
    files
        .write(folder.join("file"), "old content")
        .await
        .unwrap();
    files.copy("/big", folder.join("big")).await.unwrap();
    files.symlink("file", folder.join("link")).await.unwrap();
    let noted = folder.join("file");
    files.set_xattr(noted, "user.note", "old").await.unwrap();
    for name in ["below/inner", "below/other", "below/deep/file"] {
        files.write(folder.join(name), name).await.unwrap();
    }
}

/// Everything that can be seen of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    kind: String,
    mode: u32,
    uid: u32,
    /// Of each part that is written at a time.
    content: Vec<[u8; 32]>,
    note: Option<Bytes>,
}

async fn seen(files: &Filesystem, folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    for entry in listed(files.clone(), folder.to_owned()).await.unwrap() {
        let content = match entry.metadata.kind {
            FileKind::Regular => files.read(&entry.path).await.unwrap(),
            _ => Bytes::new(),
        };
        let found = Seen {
            kind: format!("{:?}", entry.metadata.kind),
            mode: entry.metadata.mode,
            uid: entry.metadata.uid,
            content: content
                .chunks(1 << 20)
                .map(|part| *blake3::hash(part).as_bytes())
                .collect(),
            note: files.xattr(&entry.path, "user.note").await.ok(),
        };
        all.insert(entry.path.strip_prefix(folder).unwrap().to_owned(), found);
    }
    all
}

/// Whether each file, and each part of its content, is as it was before or as it is to be.
fn is_between(
    now: &BTreeMap<PathBuf, Seen>,
    before: &BTreeMap<PathBuf, Seen>,
    after: &BTreeMap<PathBuf, Seen>,
) -> bool {
    let paths: BTreeSet<&PathBuf> = now
        .keys()
        .chain(before.keys())
        .chain(after.keys())
        .collect();
    paths.into_iter().all(|path| {
        let (now, before, after) = (now.get(path), before.get(path), after.get(path));
        let (Some(found), Some(old), Some(new)) = (now, before, after) else {
            return now == before || now == after;
        };
        let parts = found.content.iter().enumerate().all(|(index, part)| {
            [old, new]
                .iter()
                .any(|seen| seen.content.get(index) == Some(part))
        });
        parts && (found.kind == old.kind && found.mode == old.mode && found.note == old.note)
    })
}

/// Runs a future until it is done, or has answered so many times that it is not.
pub(crate) async fn given_up_after<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => {
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}

fn folder(method: usize, polls: usize) -> PathBuf {
    format!("/{method}-{polls}").into()
}

/// What a method is held to: the folder as it was, and as each method leaves it.
struct Tried<'a> {
    world: &'a World,
    before: &'a BTreeMap<PathBuf, Seen>,
    done: &'a [BTreeMap<PathBuf, Seen>],
}

impl Tried<'_> {
    /// Gives a method up after so many answers, in a folder that nothing has worked in, on a machine that knows nothing and has
    /// to wait for everything. Answers whether it had done something by then; `None` if it ended before.
    async fn once(&self, index: usize, untouched: usize, polls: usize) -> Option<bool> {
        let (name, leaves, method) = &METHODS[index];
        self.world.forget("other");
        let files = Filesystem::of(self.world.files("other").await);
        let folder = folder(index, untouched);
        let ended = given_up_after(polls, method(files.clone(), folder.clone())).await;
        let now = seen(&files, &folder).await;
        let (before, after) = (self.before, &self.done[index]);
        let begun = if let Some(done) = &ended {
            done.as_ref().unwrap();
            assert_eq!(&now, after, "{name}");
            None
        } else {
            let whole = &now == before || &now == after;
            let part = *leaves == Leaves::Part && is_between(&now, before, after);
            assert!(whole || part, "{name} given up after {polls}: {now:#?}");
            // What was given up is in the way of nothing.
            if let Err(error) = method(files.clone(), folder.clone()).await {
                assert!(&now == after, "{name} after {polls}: {error}");
            }
            assert_eq!(&seen(&files, &folder).await, after, "{name}");
            Some(&now != before)
        };
        files.close().await.unwrap();
        begun
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_done_or_not_begun() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    world.create("maker").await;
    let files = Filesystem::of(world.files("maker").await);
    files.write("/big", noise(BIG, 9)).await.unwrap();
    for method in 0..METHODS.len() {
        for polls in 0..=POLLS {
            set_up(&files, &folder(method, polls)).await;
        }
    }
    files.publish().await.unwrap();
    let before = seen(&files, &folder(0, 0)).await;
    files.close().await.unwrap();

    let mut done = Vec::new();
    let files = Filesystem::of(world.files("maker").await);
    for (index, (_, _, method)) in METHODS.iter().enumerate() {
        // To its end, to know what that looks like.
        let folder = folder(index, 0);
        method(files.clone(), folder.clone()).await.unwrap();
        done.push(seen(&files, &folder).await);
    }
    files.close().await.unwrap();

    let tried = Tried {
        world: &world,
        before: &before,
        done: &done,
    };
    let (mut given_up, mut untouched) = (Vec::new(), Vec::new());
    for method in 0..METHODS.len() {
        for polls in 1..=POLLS {
            let Some(begun) = tried.once(method, polls, polls).await else {
                untouched.extend((polls + 1..=POLLS).map(|left| (method, left)));
                break;
            };
            given_up.push(begun);
        }
    }
    // On a busy machine several answers come at once, and methods end sooner: what is left is given up at the first.
    while given_up.len() <= ENOUGH {
        let (method, left) = untouched.pop().expect("too few that had to wait");
        given_up.extend(tried.once(method, left, 1).await);
    }
    let begun = given_up.iter().filter(|begun| **begun).count();
    println!(
        "{} given up, of which {begun} had done something",
        given_up.len()
    );
    // Nothing is left that has no name.
    let files = Filesystem::of(world.files("maker").await);
    let all = listed(files.clone(), "/".into()).await.unwrap();
    let space = files.volume().space().await.unwrap();
    assert_eq!(space.inodes, all.len() as u64 + 1);
    files.close().await.unwrap();
    stop(s3).await;
}
