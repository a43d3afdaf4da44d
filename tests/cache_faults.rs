//! A cache that cannot be written, read, or trusted: what is read is right, nothing fails, and it is told once.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::path::PathBuf;

use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre_tests::World;
use coffre_tests::mounted::can_mount;
use coffre_tests::recorder::Act;
use coffre_tests::recorder::Fault;
use coffre_tests::recorder::Recording;
use coffre_tests::s3::S3;
use coffre_tests::sequence;
use coffre_tests::small_disk::SmallDisk;
use fuser::Errno;

/// Files in the vault: inline, small, whole blocks, and more than one block.
const FILES: usize = 10;

struct Cached {
    world: World,
    cache: PathBuf,
    s3: Option<S3>,
}

impl Cached {
    /// A vault that another machine has filled, and a folder for this one's cache.
    async fn new(cache: &Path) -> Self {
        let s3 = tokio::task::spawn_blocking(S3::in_process).await.unwrap();
        let world = World::at(s3.uri("vault"));
        drop(world.create("maker").await);
        let maker = world.files("maker").await;
        for index in 0..FILES {
            let (name, content) = (sequence::name(index), sequence::content(index));
            sequence::write_file(&maker, &name, content).await.unwrap();
            if index == FILES / 2 {
                // More than one pack.
                maker.publish().await.unwrap();
            }
        }
        maker.close().await.unwrap();
        Self {
            world,
            cache: cache.to_owned(),
            s3: Some(s3),
        }
    }

    async fn open(&self) -> Volume {
        let vault = self.world.open("b", Access::ReadWrite).await.unwrap();
        let options = Options {
            cache_dir: self.cache.clone(),
            ..self.world.options("b", Access::ReadWrite)
        };
        Volume::open(vault, options).await.unwrap()
    }

    /// Reads everything, which must be right; answers the requests that it took.
    async fn read_all(&self, files: &Volume) -> u64 {
        let before = files.vault().store().counts().gets;
        assert_eq!(sequence::judge(files, FILES).await, Ok(FILES));
        files.vault().store().counts().gets - before
    }

    fn packs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.cache).unwrap();
        let mut packs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        packs.sort_by_key(|path| path.metadata().unwrap().len());
        packs
    }

    async fn end(mut self) {
        let s3 = self.s3.take();
        tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
    }
}

fn of_cache(files: &Volume) -> Vec<String> {
    let warnings = files.status().warnings.into_iter();
    warnings
        .filter(|warning| warning.contains("cache"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_fails_is_done_without_and_used_again_when_it_is_well() {
    if !can_mount() {
        return;
    }
    for (act, errno) in [
        (Act::Write, Errno::ENOSPC),
        (Act::Write, Errno::EIO),
        (Act::Write, Errno::EROFS),
        (Act::Read, Errno::EIO),
    ] {
        let mount = tempfile::tempdir().unwrap();
        let recording = Recording::start(mount.path());
        let cached = Cached::new(&mount.path().join("packs")).await;
        let files = cached.open().await;
        cached.read_all(&files).await;
        files.close_now().await.unwrap();
        drop(files);
        if act == Act::Write {
            std::fs::remove_dir_all(&cached.cache).unwrap();
            std::fs::create_dir(&cached.cache).unwrap();
        }
        recording.recorder.fail(Fault {
            act,
            place: "packs/",
            errno,
            least: 0,
            skip: 0,
            times: usize::MAX,
        });
        let files = cached.open().await;
        assert!(cached.read_all(&files).await > 0);
        assert!(recording.recorder.refused() > 0);
        let told = of_cache(&files);
        if act == Act::Write {
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(files.status().cache_bytes, 0);
        }
        files.close_now().await.unwrap();
        drop(files);
        recording.recorder.heal();
        let files = cached.open().await;
        cached.read_all(&files).await;
        assert!(of_cache(&files).is_empty());
        assert!(files.status().cache_bytes > 0);
        files.close_now().await.unwrap();
        drop(files);
        cached.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_even_be_opened_fails_no_start() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let cached = Cached::new(&file.join("cache")).await;
    let files = cached.open().await;
    cached.read_all(&files).await;
    let told = of_cache(&files);
    assert!(
        told.len() == 1 && told[0].contains("there is no cache"),
        "{told:?}"
    );
    files.close_now().await.unwrap();
    drop(files);
    cached.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_cache_serves_what_it_has() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path(), 64 << 20) else {
        return;
    };
    let cached = Cached::new(&place.path().join("cache")).await;
    let files = cached.open().await;
    assert!(cached.read_all(&files).await > 0);
    files.close_now().await.unwrap();
    drop(files);
    disk.make_read_only();
    let files = cached.open().await;
    assert_eq!(cached.read_all(&files).await, 0);
    files.close_now().await.unwrap();
    drop(files);
    cached.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_cache_makes_room_for_itself() {
    let place = tempfile::tempdir().unwrap();
    // Less than the content.
    let Some(_disk) = SmallDisk::mount(place.path(), 1 << 20) else {
        return;
    };
    let cached = Cached::new(&place.path().join("cache")).await;
    let files = cached.open().await;
    for _ in 0..3 {
        cached.read_all(&files).await;
    }
    let used = files.status().cache_bytes;
    assert!(used > 0 && used <= 1 << 20, "{used}");
    assert!(of_cache(&files).is_empty(), "it takes nothing new");
    files.close_now().await.unwrap();
    drop(files);
    cached.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_cleared_away_meanwhile_begins_again() {
    let place = tempfile::tempdir().unwrap();
    let cached = Cached::new(&place.path().join("cache")).await;
    let files = cached.open().await;
    std::fs::remove_dir_all(&cached.cache).unwrap();
    cached.read_all(&files).await;
    assert!(of_cache(&files).is_empty());
    assert!(!cached.packs().is_empty(), "it does not begin again");
    files.close_now().await.unwrap();
    drop(files);
    cached.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_is_fetched_again_and_never_served() {
    let place = tempfile::tempdir().unwrap();
    let cached = Cached::new(&place.path().join("cache")).await;
    let files = cached.open().await;
    assert!(cached.read_all(&files).await > 0);
    files.close_now().await.unwrap();
    drop(files);
    let filled: Vec<_> = cached.packs();
    assert!(filled.len() >= 2, "{filled:?}");
    let (small, large) = (filled[0].clone(), filled[filled.len() - 1].clone());
    let flip = |path: &PathBuf| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes.iter_mut().step_by(997).for_each(|byte| *byte ^= 1);
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |path: &PathBuf| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 5] = [
        ("untouched", &|| ()),
        ("flipped bits", &|| filled.iter().for_each(flip)),
        ("cut off", &|| filled.iter().for_each(cut)),
        ("zeros", &|| {
            let length = large.metadata().unwrap().len();
            std::fs::write(&large, vec![0; length as usize]).unwrap();
        }),
        ("another's bytes", &|| {
            let other = place.path().join("other");
            std::fs::rename(&large, &other).unwrap();
            std::fs::rename(&small, &large).unwrap();
            std::fs::rename(&other, &small).unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage();
        let files = cached.open().await;
        let gets = cached.read_all(&files).await;
        assert_eq!(gets == 0, what == "untouched", "{what}: {gets} requests");
        assert!(of_cache(&files).is_empty());
        files.close_now().await.unwrap();
        drop(files);
        // What was fetched is kept again.
        let files = cached.open().await;
        assert_eq!(cached.read_all(&files).await, 0, "after {what}");
        files.close_now().await.unwrap();
    }
    cached.end().await;
}
