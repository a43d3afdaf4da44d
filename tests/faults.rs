//! A kill at every named point of the runtime: what was fsynced is there, the rest is a prefix, nothing to repair.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use coffre::fault::POINTS;
use coffre::fs::Inode;
use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::store::StoreUri;
use coffre::vault::Access;
use coffre::vault::copy::copy;
use coffre_format::keyslot::RecoveryCode;
use coffre_format::keyslot::Secret;
use coffre_tests::World;
use coffre_tests::s3::S3;
use coffre_tests::sequence;
use coffre_tests::sequence::content;
use coffre_tests::sequence::name;
use coffre_tests::sequence::write_file;
use coffre_tests::world::copy_folder;

/// Files that the worker makes, one after the other.
const FILES: usize = 42;
/// The worker's arguments.
const WORKER: &str = "COFFRE_TEST_WORKER";
/// At which pass of a point the process is killed.
const PASSES: [u64; 2] = [1, 3];

fn world(root: &Path) -> World {
    let uri = match std::fs::read_to_string(root.join("s3")) {
        Ok(told) => S3::read(&told),
        Err(_) => StoreUri::local(&root.join("store")),
    };
    let mut world = World::at(uri);
    // The folders outlive the process that is killed.
    world.dir = tempfile::Builder::new().tempdir_in(root).unwrap();
    world
}

async fn open(root: &Path, machine: &str) -> coffre::Result<Volume> {
    let world = world(root);
    let place = |what: &str| root.join(machine).join(what);
    let state = coffre::vault::StateDir::open(&place("state"), &world.uri, Access::ReadWrite)?;
    let secret = coffre_tests::world::secret();
    let vault =
        coffre::vault::Vault::unlock(world.store(), state, &secret, Access::ReadWrite).await?;
    let options = Options {
        cache: 1 << 20,
        cache_dir: place("cache"),
        publish_after: Duration::from_secs(3600),
        ..world.options(machine, Access::ReadWrite)
    };
    Volume::open(vault, options).await
}

/// Says that files before `count` were promised; on disk before the next step.
fn promise(root: &Path, count: usize) {
    let mut file = std::fs::File::create(root.join("promised.new")).unwrap();
    write!(file, "{count}").unwrap();
    std::fs::rename(root.join("promised.new"), root.join("promised")).unwrap();
}

async fn work(root: &Path) {
    let files = open(root, "a").await.unwrap();
    for index in 0..FILES {
        write_file(&files, &name(index), content(index))
            .await
            .unwrap();
        if index % 3 == 0 {
            files.fsync().await.unwrap();
            promise(root, index + 1);
        }
        if index % 10 == 9 {
            files.publish().await.unwrap();
            promise(root, index + 1);
        }
        if index == 19 {
            another_device(root).await;
            files.refresh().await.unwrap();
        }
        if index == 35 {
            let secret = Secret::Recovery(RecoveryCode::generate().unwrap());
            let id = files.add_slot(&secret, "spare").await.unwrap();
            files.remove_slot(id).await.unwrap();
        }
        if index % 7 == 6 {
            read_back(&files, index).await;
        }
    }
    files.close().await.unwrap();
    promise(root, FILES);
}

/// Reads through the small cache, so that it evicts.
async fn read_back(files: &Volume, until: usize) {
    for index in 0..until {
        let found = files
            .lookup(Inode::ROOT, name(index).as_bytes())
            .await
            .unwrap();
        sequence::read(files, &found).await.unwrap();
    }
}

async fn another_device(root: &Path) {
    let other = open(root, "b").await.unwrap();
    write_file(&other, "of b", vec![1; 5000]).await.unwrap();
    other.close().await.unwrap();
}

/// Only in the process that is to be killed.
#[test]
fn worker() {
    let Some(root) = std::env::var_os(WORKER) else {
        return;
    };
    runtime().block_on(work(Path::new(&root)));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Whether the worker was killed at the point.
fn run_worker(root: &Path, point: &str, pass: u64) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::worker", "--nocapture"])
        .env(WORKER, root)
        .env("COFFRE_FAULT", format!("{point}@{pass}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success() || status.signal() == Some(9),
        "{point}@{pass}: {status}"
    );
    !status.success()
}

/// The next start needs nothing, and has everything that was promised and a prefix of the rest.
async fn verify(root: &Path, what: &str) {
    let promised = std::fs::read_to_string(root.join("promised")).unwrap_or("0".into());
    let files = open(root, "a").await;
    let files = files.unwrap_or_else(|error| panic!("{what}: {error}"));
    let judged = sequence::judge(&files, promised.parse().unwrap()).await;
    let count = judged.unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    files.publish().await.unwrap();
    let checked = sequence::check(&files).await;
    checked.unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    // It goes on working, and another machine sees all of it.
    write_file(&files, "further", vec![2; 100_000])
        .await
        .unwrap();
    files.close().await.unwrap();
    let other = open(root, "c").await.unwrap();
    let seen = sequence::listed(&other).await.unwrap().len();
    assert_eq!(seen, count + 1, "{what}: elsewhere");
    other.close().await.unwrap();
}

/// A vault to start from, made once.
fn template() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::at(StoreUri::local(&dir.path().join("store")));
    world.dir = tempfile::Builder::new().tempdir_in(dir.path()).unwrap();
    runtime().block_on(async {
        drop(world.create("maker").await);
    });
    dir
}

#[test]
fn a_kill_at_any_point_loses_nothing_that_was_promised() {
    let template = template();
    let work: Vec<(&str, u64)> = POINTS
        .iter()
        .flat_map(|point| PASSES.map(|pass| (*point, pass)))
        .collect();
    let queue = Mutex::new(work.into_iter());
    let killed = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = runtime();
                loop {
                    let Some((point, pass)) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let dir = tempfile::tempdir().unwrap();
                    // The address names the vault's state: each run has a store of its own.
                    copy_folder(&template.path().join("store"), &dir.path().join("store"));
                    // Only what is far away is cached.
                    let s3 = point.starts_with("cache").then(S3::in_process);
                    if let Some(s3) = &s3 {
                        let near = world(dir.path()).store();
                        std::fs::write(dir.path().join("s3"), s3.told("vault")).unwrap();
                        let far = world(dir.path()).store();
                        runtime.block_on(copy(&near, &far, &|_| ())).unwrap();
                    }
                    if run_worker(dir.path(), point, pass) {
                        killed.lock().unwrap().insert(point);
                    }
                    runtime.block_on(verify(dir.path(), &format!("{point}@{pass}")));
                }
            });
        }
    });
    let killed = killed.into_inner().unwrap();
    let never: Vec<_> = POINTS
        .iter()
        .filter(|point| !killed.contains(*point))
        .collect();
    assert!(never.is_empty(), "nothing ever came to {never:?}");
}

/// Every point of the source is in the list, and the other way round.
#[test]
fn the_list_of_points_is_that_of_the_source() {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/coffre/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("fault::point(\"").skip(1) {
                found.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    let listed: BTreeSet<String> = POINTS.iter().map(|point| (*point).to_owned()).collect();
    assert_eq!(found, listed);
    assert!(listed.len() >= 30);
}
