//! A local disk that refuses writes or fails an fsync: whoever waits is told, nothing that was promised is lost,
//! and all goes on by itself when the disk does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Inode;
use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::store::Prefix;
use coffre::store::StoreUri;
use coffre::vault::Access;
use coffre::vault::StateDir;
use coffre::vault::Vault;
use coffre_tests::World;
use coffre_tests::mounted::can_mount;
use coffre_tests::recorder::Act;
use coffre_tests::recorder::Event;
use coffre_tests::recorder::Fault;
use coffre_tests::recorder::Loss;
use coffre_tests::recorder::Recorder;
use coffre_tests::recorder::Recording;
use coffre_tests::recorder::after;
use coffre_tests::sequence;
use coffre_tests::world::secret;
use fuser::Errno;

/// Only so that a defect is no endless test.
const HANG: Duration = Duration::from_secs(60);

/// A machine whose state folder lies on a disk that can fail; the store does not.
struct Machine {
    files: Volume,
    world: World,
    recording: Recording,
    store: tempfile::TempDir,
    mount: tempfile::TempDir,
}

async fn open(world: &World, state_root: &Path) -> coffre::Result<Volume> {
    let state = StateDir::open(state_root, &world.uri, Access::ReadWrite)?;
    let vault = Vault::unlock(world.store(), state, &secret(), Access::ReadWrite).await?;
    let options = Options {
        publish_after: Duration::from_secs(3600),
        ..world.options("a", Access::ReadWrite)
    };
    Volume::open(vault, options).await
}

impl Machine {
    async fn new() -> Self {
        let (store, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let recording = Recording::start(mount.path());
        let mut world = World::at(StoreUri::local(&store.path().join("store")));
        drop(world.create("maker").await);
        world.dir = tempfile::Builder::new()
            .prefix("disk")
            .tempdir_in(mount.path())
            .unwrap();
        let files = open(&world, &world.state_root("a")).await.unwrap();
        Self {
            files,
            world,
            recording,
            store,
            mount,
        }
    }

    fn disk(&self) -> &Recorder {
        &self.recording.recorder
    }

    fn fail(&self, act: Act, place: &'static str, errno: Errno, times: usize) {
        self.disk().fail(Fault {
            act,
            place,
            errno,
            least: 0,
            skip: 0,
            times,
        });
    }

    async fn write(&self, index: usize) -> coffre::Result<()> {
        let (name, content) = (sequence::name(index), sequence::content(index));
        sequence::write_file(&self.files, &name, content).await
    }

    /// What a power cut leaves of the disk now, opened by the next process on a disk that is well.
    async fn after_a_cut(&self, loss: Loss, promised: usize) -> Result<usize, String> {
        let events = self.disk().events();
        self.judge(&events, loss, promised).await
    }

    async fn judge(&self, events: &[Event], loss: Loss, promised: usize) -> Result<usize, String> {
        let dir = tempfile::tempdir().unwrap();
        after(events, loss).pour(dir.path());
        let within = self.world.state_root("a");
        let within = within.strip_prefix(self.mount.path()).unwrap();
        // A copy of the store, which the next process may change.
        let told = |error: Error| error.to_string();
        let files = open(&self.world, &dir.path().join(within))
            .await
            .map_err(told)?;
        let count = sequence::judge(&files, promised).await?;
        drop(files);
        Ok(count)
    }

    fn state(&self) -> PathBuf {
        StateDir::locate(&self.world.state_root("a"), &self.world.uri)
    }

    fn listed(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.state().join(folder)).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Until a change is accepted again.
    async fn resumes(&self, index: usize) {
        let begin = Instant::now();
        let (_, handle) = loop {
            let name = sequence::name(index);
            match self
                .files
                .create(Inode::ROOT, name.as_bytes(), sequence::OWNER)
                .await
            {
                Ok(made) => break made,
                Err(error) => assert!(begin.elapsed() < HANG, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let content = Bytes::from(sequence::content(index));
        self.files.write(handle, 0, content).await.unwrap();
        self.files.release(handle).await.unwrap();
    }

    /// What the status says, if changes are refused.
    fn refusal(&self) -> Option<String> {
        let mut warnings = self.files.status().warnings.into_iter();
        warnings.find(|warning| warning.contains("no change can be accepted"))
    }

    /// Until the status says that changes are refused.
    async fn refuses(&self) -> String {
        let begin = Instant::now();
        loop {
            if let Some(warning) = self.refusal() {
                return warning;
            }
            assert!(begin.elapsed() < HANG, "nothing is told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends while the disk is well.
    async fn end(self) {
        self.disk().heal();
        self.files.close().await.unwrap();
        let Self {
            files,
            world,
            recording,
            store,
            ..
        } = self;
        drop(files);
        drop(world);
        drop(recording);
        drop(store);
    }
}

fn is_errno(error: &Error, errno: Errno) -> bool {
    match error {
        Error::Io { source, .. } | Error::DiskRefuses { source, .. } => {
            source.raw_os_error() == Some(errno.code())
        }
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_is_told_and_the_next_success_is_true() {
    if !can_mount() {
        return;
    }
    for place in ["/journal/", "/open/"] {
        let machine = Machine::new().await;
        for index in 0..5 {
            machine.write(index).await.unwrap();
        }
        machine.fail(Act::Sync, place, Errno::EIO, 1);
        let failed = machine.files.fsync().await.unwrap_err();
        assert!(is_errno(&failed, Errno::EIO), "{place}: {failed}");
        assert_eq!(machine.disk().refused(), 1);
        machine.files.fsync().await.unwrap();
        let count = machine.after_a_cut(Loss::Everything, 5).await;
        assert_eq!(count, Ok(5), "{place}");
        // Nobody was held up, and what follows is as safe.
        machine.write(5).await.unwrap();
        machine.files.fsync().await.unwrap();
        assert_eq!(
            machine.after_a_cut(Loss::Everything, 6).await,
            Ok(6),
            "{place}"
        );
        assert_eq!(
            machine.after_a_cut(Loss::Some(7), 6).await,
            Ok(6),
            "{place}"
        );
        machine.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_refuses_changes_serves_the_rest_and_resumes_by_itself() {
    if !can_mount() {
        return;
    }
    // With no room at all, and with room for the beginning of a file and no more.
    for (place, errno, least) in [
        ("/journal/", Errno::ENOSPC, 0),
        ("/journal/", Errno::EIO, 64),
        ("/open/", Errno::ENOSPC, 64),
        ("/open/", Errno::EIO, 0),
    ] {
        let machine = Machine::new().await;
        for index in 0..5 {
            machine.write(index).await.unwrap();
        }
        machine.files.fsync().await.unwrap();
        machine.disk().fail(Fault {
            act: Act::Write,
            place,
            errno,
            least,
            skip: 0,
            times: usize::MAX,
        });
        // The disk is found out with changes that are accepted, small ones and whole blocks.
        let mut next = 5;
        while machine.refusal().is_none() && next < 10 {
            drop(machine.write(next).await);
            next += 1;
        }
        let warning = machine.refuses().await;
        assert!(warning.contains(place.trim_matches('/')), "{warning}");
        let refused = machine.write(next).await.unwrap_err();
        assert!(is_errno(&refused, errno), "{place}: {refused}");
        let unsynced = machine.files.fsync().await.unwrap_err();
        assert!(is_errno(&unsynced, errno), "{place}: {unsynced}");
        // What is there is read, and can be deleted.
        let known = sequence::judge(&machine.files, 5).await.unwrap();
        machine
            .files
            .unlink(Inode::ROOT, sequence::name(known - 1).as_bytes())
            .await
            .unwrap();
        let last = known - 1;
        // It neither spins nor litters.
        let tried = machine.disk().refused();
        let left = || [machine.listed("journal"), machine.listed("open")].concat();
        let before = left();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let tried = machine.disk().refused() - tried;
        assert!(
            tried <= 30,
            "{place}: asked the disk {tried} times in two seconds"
        );
        assert!(left().len() <= before.len(), "{:?}", left());
        assert!(left().len() <= 3, "{:?}", left());
        assert!(!left().iter().any(|name| name.ends_with("new")));
        // A crash now loses nothing that was promised.
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(3)] {
            machine.after_a_cut(loss, 5.min(last)).await.unwrap();
        }
        machine.disk().heal();
        machine.resumes(last).await;
        machine.files.fsync().await.unwrap();
        let count = machine.after_a_cut(Loss::Everything, last + 1).await;
        assert_eq!(count, Ok(last + 1), "{place}");
        assert_eq!(machine.refusal(), None);
        machine.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_cannot_be_begun_refuses_the_write_and_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new().await;
    machine.write(0).await.unwrap();
    // After a fold, the next whole block begins a pack.
    machine.files.publish().await.unwrap();
    let before = machine.listed("open");
    machine.fail(Act::Write, "/open/", Errno::ENOSPC, usize::MAX);
    let name = sequence::name(1);
    let made = machine
        .files
        .create(Inode::ROOT, name.as_bytes(), sequence::OWNER)
        .await;
    let (_, handle) = made.unwrap();
    let content = Bytes::from(vec![7; 131_072]);
    for _ in 0..20 {
        let refused = machine
            .files
            .write(handle, 0, content.clone())
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::DiskRefuses { .. }), "{refused}");
        assert_eq!(machine.listed("open"), before);
    }
    // What was accepted before is no part of it.
    machine.files.fsync().await.unwrap();
    machine
        .files
        .unlink(Inode::ROOT, name.as_bytes())
        .await
        .unwrap();
    machine.files.release(handle).await.unwrap();
    machine.disk().heal();
    machine.resumes(1).await;
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_while_the_disk_takes_nothing() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new().await;
    let name = sequence::name(0);
    let made = machine
        .files
        .create(Inode::ROOT, name.as_bytes(), sequence::OWNER)
        .await;
    let (_, handle) = made.unwrap();
    machine.fail(Act::Write, "/journal/", Errno::ENOSPC, usize::MAX);
    let mut accepted = 0;
    // Pieces of blocks so short that only the journal holds them.
    let piece = Bytes::from(vec![7; 60_000]);
    let refused = loop {
        let offset = accepted / 60_000 * 131_072;
        match machine.files.write(handle, offset, piece.clone()).await {
            Ok(()) => accepted += 60_000,
            Err(error) => break error,
        }
        assert!(accepted < 96 << 20, "{accepted} bytes were accepted");
    };
    assert!(is_errno(&refused, Errno::ENOSPC), "{refused}");
    machine.disk().heal();
    machine.files.release(handle).await.unwrap();
    machine.resumes(1).await;
    machine.files.fsync().await.unwrap();
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_cannot_be_stored_leaves_the_old_state_and_nothing_half() {
    if !can_mount() {
        return;
    }
    for (act, errno) in [
        (Act::Write, Errno::ENOSPC),
        (Act::Write, Errno::EIO),
        (Act::Sync, Errno::EIO),
        (Act::SyncFolder, Errno::EIO),
    ] {
        let machine = Machine::new().await;
        for index in 0..3 {
            machine.write(index).await.unwrap();
        }
        machine.files.publish().await.unwrap();
        for index in 3..6 {
            machine.write(index).await.unwrap();
        }
        machine.files.fsync().await.unwrap();
        let before = machine.listed("outbox");
        machine.fail(act, "/outbox", errno, usize::MAX);
        for _ in 0..3 {
            let failed = machine.files.publish().await.unwrap_err();
            assert!(is_errno(&failed, errno), "{failed}");
            assert_eq!(machine.listed("outbox"), before, "something half remains");
        }
        let status = machine.files.status();
        assert!(status.last_error.is_some(), "{status:?}");
        assert!(
            status
                .warnings
                .iter()
                .any(|warning| warning.contains("cannot be uploaded yet"))
        );
        // The journal takes changes all the same.
        machine.write(6).await.unwrap();
        machine.files.fsync().await.unwrap();
        assert_eq!(machine.after_a_cut(Loss::Everything, 7).await, Ok(7));
        machine.disk().heal();
        machine.files.publish().await.unwrap();
        let status = machine.files.status();
        assert!(status.last_error.is_none(), "{status:?}");
        let waits = |warning: &String| warning.contains("cannot be uploaded yet");
        assert!(!status.warnings.iter().any(waits), "{status:?}");
        sequence::check(&machine.files).await.unwrap();
        assert_eq!(machine.after_a_cut(Loss::Everything, 7).await, Ok(7));
        machine.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_packs_that_cannot_reach_the_outbox_hold_writers_back_and_follow_later() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new().await;
    machine.fail(Act::Sync, "/open/", Errno::EIO, 1);
    let name = sequence::name(0);
    let made = machine
        .files
        .create(Inode::ROOT, name.as_bytes(), sequence::OWNER)
        .await;
    let (_, handle) = made.unwrap();
    let mut content = vec![0; 40 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let content = Bytes::from(content);
    let begin = Instant::now();
    let mut at = 0;
    while at < content.len() {
        let part = content.slice(at..at + (1 << 20));
        match machine.files.write(handle, at as u64, part).await {
            Ok(()) => at += 1 << 20,
            Err(error) => {
                assert!(is_errno(&error, Errno::EIO), "{error}");
                assert!(begin.elapsed() < HANG, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    while let Err(error) = machine.files.fsync().await {
        assert!(begin.elapsed() < HANG, "{error}");
    }
    machine.files.release(handle).await.unwrap();
    assert_eq!(machine.disk().refused(), 1);
    // The pack whose sync failed is not believed: after a cut its content is there.
    let dir = tempfile::tempdir().unwrap();
    after(&machine.disk().events(), Loss::Everything).pour(dir.path());
    let within = machine.world.state_root("a");
    let within = within.strip_prefix(machine.mount.path()).unwrap();
    let files = open(&machine.world, &dir.path().join(within))
        .await
        .unwrap();
    let found = sequence::listed(&files).await.unwrap();
    let opened = files
        .open_file(found[0].1.inode, coffre::fs::OpenMode::Read)
        .await
        .unwrap();
    for at in (0..content.len()).step_by(4 << 20) {
        let read = files.read(opened, at as u64, 4 << 20).await.unwrap();
        assert!(read == content.slice(at..at + (4 << 20)), "differs at {at}");
    }
    drop(files);
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_not_put_before_the_anchor_has_taken_it() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new().await;
    machine.write(0).await.unwrap();
    machine.files.publish().await.unwrap();
    let commits = async || {
        let listed = machine.world.store().list(Prefix::Commits).await;
        listed.unwrap().objects.len()
    };
    let before = commits().await;
    machine.write(1).await.unwrap();
    machine.fail(Act::Write, "/anchor", Errno::ENOSPC, usize::MAX);
    for _ in 0..3 {
        let failed = machine.files.publish().await.unwrap_err();
        assert!(is_errno(&failed, Errno::ENOSPC), "{failed}");
        assert_eq!(
            commits().await,
            before,
            "a commit that the anchor does not know"
        );
    }
    let left = machine.listed("").into_iter();
    assert_eq!(left.filter(|name| name.ends_with("tmp")).count(), 0);
    // The old anchor and the journal are enough for the next start.
    assert_eq!(machine.after_a_cut(Loss::Everything, 2).await, Ok(2));
    machine.disk().heal();
    machine.files.publish().await.unwrap();
    // The one that was meant all the time, and perhaps one more for what has been changed since.
    assert!(commits().await > before);
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_not_published_before_the_journal_begins_with_it() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new().await;
    for index in 0..3 {
        machine.write(index).await.unwrap();
    }
    machine.files.publish().await.unwrap();
    machine.write(3).await.unwrap();
    machine.files.fsync().await.unwrap();
    // The fold syncs what is there and begins a segment; its checkpoint is what fails, for as long as it takes.
    machine.disk().fail(Fault {
        act: Act::Sync,
        place: "/journal/",
        errno: Errno::EIO,
        least: 0,
        skip: 2,
        times: usize::MAX,
    });
    let commits = async || {
        let listed = machine.world.store().list(Prefix::Commits).await;
        listed.unwrap().objects.len()
    };
    let before = commits().await;
    for _ in 0..3 {
        let failed = machine.files.publish().await.unwrap_err();
        assert!(is_errno(&failed, Errno::EIO), "{failed}");
        assert_eq!(commits().await, before);
    }
    assert!(machine.disk().refused() > 0);
    assert_eq!(machine.after_a_cut(Loss::Everything, 4).await, Ok(4));
    machine.disk().heal();
    let begin = Instant::now();
    while let Err(error) = machine.files.publish().await {
        assert!(begin.elapsed() < HANG, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(commits().await, before + 1);
    assert_eq!(machine.after_a_cut(Loss::Everything, 4).await, Ok(4));
    machine.end().await;
}

#[test]
fn the_disk_is_as_forgetful_as_linux_after_a_failed_fsync() {
    if !can_mount() {
        return;
    }
    let mount = tempfile::tempdir().unwrap();
    let recording = Recording::start(mount.path());
    let file = std::fs::File::create(mount.path().join("journal")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"lost", 0).unwrap();
    recording.recorder.fail(Fault {
        act: Act::Sync,
        place: "journal",
        errno: Errno::EIO,
        least: 0,
        skip: 0,
        times: 1,
    });
    assert!(file.sync_data().is_err());
    // A program that believes this one has lost its data.
    file.sync_data().unwrap();
    std::fs::File::open(mount.path())
        .unwrap()
        .sync_all()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    after(&recording.recorder.events(), Loss::Everything).pour(dir.path());
    assert_eq!(std::fs::read(dir.path().join("journal")).unwrap(), b"");
}
