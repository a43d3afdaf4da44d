//! Power cuts: whatever an honest disk may have kept at any moment, what was promised is there and nothing dangles.
//!
//! The state folder and the store lie on a disk that records; each cut is made again in a real folder and
//! opened as after a reboot. The harness is shown to notice: a journal that is not synced, and a commit that
//! is published before its packs, must fail in it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::BufRead;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use coffre::fs::Inode;
use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::store::StoreUri;
use coffre::vault::Access;
use coffre::vault::StateDir;
use coffre::vault::Vault;
use coffre_tests::World;
use coffre_tests::mounted::can_mount;
use coffre_tests::recorder::Event;
use coffre_tests::recorder::Loss;
use coffre_tests::recorder::Recording;
use coffre_tests::recorder::after;
use coffre_tests::sequence;
use coffre_tests::world::secret;
use tokio::runtime::Runtime;

/// Files of the recorded session.
const FILES: usize = 24;
/// Files that are written and not synced before a process is killed.
const UNSYNCED: usize = 8;
/// Names the folder to the process that is to be killed.
const WORKER: &str = "COFFRE_TEST_WORKER";
/// Cuts in all, spread over the session; each with three losses.
const CUTS: usize = 100;

/// What was recorded, and after how many events how much was promised.
struct Session {
    events: Vec<Event>,
    begin: usize,
    promises: Vec<(usize, usize)>,
    /// Where the store was: its address names the state folder.
    store: PathBuf,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn open(root: &Path, machine: &str) -> coffre::Result<Volume> {
    let world = World::at(StoreUri::local(&root.join("store")));
    let folder = root.join(machine);
    let state = StateDir::open(&folder, &world.uri, Access::ReadWrite)?;
    let vault = Vault::unlock(world.store(), state, &secret(), Access::ReadWrite).await?;
    let options = Options {
        publish_after: Duration::from_secs(3600),
        ..world.options(machine, Access::ReadWrite)
    };
    Volume::open(vault, options).await
}

fn record() -> Session {
    let place = tempfile::tempdir().unwrap();
    let recording = Recording::start(place.path());
    let recorder = recording.recorder.clone();
    let root = place.path();
    let mut promises = Vec::new();
    let begin = runtime().block_on(async {
        let mut world = World::at(StoreUri::local(&root.join("store")));
        world.dir = tempfile::Builder::new().tempdir_in(root).unwrap();
        drop(world.create("maker").await);
        let files = open(root, "a").await.unwrap();
        files.publish().await.unwrap();
        let begin = recorder.count();
        for index in 0..FILES {
            let (name, content) = (sequence::name(index), sequence::content(index));
            sequence::write_file(&files, &name, content).await.unwrap();
            if index % 3 == 0 {
                files.fsync().await.unwrap();
                promises.push((recorder.count(), index + 1));
            }
            if index % 8 == 7 {
                files.publish().await.unwrap();
                promises.push((recorder.count(), index + 1));
            }
        }
        files.close().await.unwrap();
        promises.push((recorder.count(), FILES));
        begin
    });
    Session {
        events: recorder.events(),
        begin,
        promises,
        store: root.join("store"),
    }
}

impl Session {
    fn promised(&self, cut: usize) -> usize {
        let kept = self.promises.iter().filter(|(events, _)| *events <= cut);
        kept.map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// What is wrong after this cut, if anything.
    async fn judge(&self, cut: usize, loss: Loss) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        after(&self.events[..cut], loss).pour(dir.path());
        let told = |error: coffre::Error| error.to_string();
        self.move_state(dir.path());
        // Another machine first: the store as it is, before this one could mend it.
        let elsewhere = open(dir.path(), "elsewhere").await.map_err(told)?;
        let warnings = elsewhere.status().warnings;
        if let Some(dangling) = warnings.iter().find(|warning| warning.contains("skipped")) {
            return Err(dangling.clone());
        }
        sequence::check(&elsewhere).await?;
        drop(elsewhere);
        let files = open(dir.path(), "a").await.map_err(told)?;
        let mut count = sequence::judge(&files, self.promised(cut)).await?;
        // Made, and not written yet: made again, so that what follows is in order.
        let found = sequence::listed(&files).await.map_err(told)?;
        if found.last().is_some_and(|(_, newest)| newest.size == 0) {
            count -= 1;
            let newest = sequence::name(count);
            let removed = files.unlink(Inode::ROOT, newest.as_bytes()).await;
            removed.map_err(told)?;
        }
        let (name, content) = (sequence::name(count), sequence::content(count));
        if count < 400 {
            sequence::write_file(&files, &name, content)
                .await
                .map_err(told)?;
        }
        files.publish().await.map_err(told)?;
        sequence::check(&files).await?;
        sequence::judge(&files, count).await?;
        files.close().await.map_err(told)
    }

    /// The state folder is named after the store's address, which is another one here.
    fn move_state(&self, root: &Path) {
        let folder = root.join("a");
        let was = StateDir::locate(&folder, &StoreUri::local(&self.store));
        let is = StateDir::locate(&folder, &StoreUri::local(&root.join("store")));
        std::fs::rename(was, is).unwrap();
    }

    /// Moments around every sync, thinned out.
    fn cuts(&self) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (at, event) in self.events.iter().enumerate().skip(self.begin) {
            if matches!(event, Event::Sync { .. } | Event::SyncFolder { .. }) {
                cuts.extend([at, at + 1]);
            }
        }
        cuts.dedup();
        let step = cuts.len().div_ceil(CUTS);
        cuts.into_iter().step_by(step).collect()
    }

    /// Paths of all folders; none is ever renamed.
    fn folders(&self) -> BTreeMap<u64, PathBuf> {
        let mut folders = BTreeMap::from([(1, PathBuf::new())]);
        for event in &self.events {
            if let Event::Make {
                folder,
                name,
                inode,
                is_folder: true,
            } = event
            {
                folders.insert(*inode, folders[folder].join(name));
            }
        }
        folders
    }

    /// The same session of a program that never syncs its journal.
    fn without_journal_syncs(&self) -> Self {
        let folders = self.folders();
        let in_journal = |folder: &u64| folders[folder].ends_with("journal");
        let journal: Vec<u64> = self
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Make { folder, inode, .. } if in_journal(folder) => Some(*inode),
                _ => None,
            })
            .collect();
        assert!(!journal.is_empty());
        let nothing = Event::Sync { inode: u64::MAX };
        let events = self.events.iter().map(|event| match event {
            Event::Sync { inode } if journal.contains(inode) => nothing.clone(),
            event => event.clone(),
        });
        Self {
            events: events.collect(),
            promises: self.promises.clone(),
            store: self.store.clone(),
            ..*self
        }
    }

    /// The same session of a program that publishes a commit before its packs; and where its first commit stands.
    fn with_packs_last(&self) -> (Self, usize) {
        let folders = self.folders();
        let goes_to = |event: &Event, prefix: &str| match event {
            // A copy gets its name when it is whole; a pack beside the store a second one.
            Event::Rename {
                to: (folder, _), ..
            }
            | Event::Make {
                folder,
                is_folder: false,
                ..
            } => folders[folder].starts_with(PathBuf::from("store").join(prefix)),
            _ => false,
        };
        let (before, session) = self.events.split_at(self.begin);
        let (mut events, mut held) = (before.to_vec(), Vec::new());
        let mut commit = None;
        for event in session {
            if goes_to(event, "packs") {
                held.push(event.clone());
                continue;
            }
            events.push(event.clone());
            if goes_to(event, "commits") {
                commit.get_or_insert((events.len(), held.len()));
                events.append(&mut held);
            }
        }
        let session = Self {
            events,
            promises: Vec::new(),
            store: self.store.clone(),
            ..*self
        };
        let (at, packs) = commit.expect("a commit was published");
        assert!(packs > 0, "no pack went up before the first commit");
        (session, at)
    }
}

#[test]
fn whatever_a_power_cut_leaves_is_enough() {
    if !can_mount() {
        return;
    }
    let session = record();
    assert!(session.events.len() > session.begin + 100);
    let cuts = session.cuts();
    let losses = |cut: usize| [Loss::Everything, Loss::Nothing, Loss::Some(cut as u64)];
    let work: Vec<_> = cuts
        .iter()
        .flat_map(|cut| losses(*cut).map(|loss| (*cut, loss)))
        .collect();
    assert!(work.len() >= 150, "only {} cuts", work.len());
    let queue = Mutex::new(work.into_iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = runtime();
                loop {
                    let Some((cut, loss)) = queue.lock().unwrap().next() else {
                        return;
                    };
                    if let Err(what) = runtime.block_on(session.judge(cut, loss)) {
                        let told = format!("after {cut} events, losing {loss:?}: {what}");
                        wrong.lock().unwrap().push(told);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    the_harness_notices(&session);
}

/// Two mistakes that it must not let pass.
fn the_harness_notices(session: &Session) {
    let runtime = runtime();
    let unsynced = session.without_journal_syncs();
    let noticed = session.promises.iter().any(|(cut, _)| {
        runtime
            .block_on(unsynced.judge(*cut, Loss::Everything))
            .is_err()
    });
    assert!(noticed, "a journal that is never synced passes");
    let (reversed, commit) = session.with_packs_last();
    let noticed = runtime.block_on(reversed.judge(commit, Loss::Nothing));
    assert!(noticed.is_err(), "a commit before its packs passes");
}

/// Only in the process that is to be killed: writes without syncing until then.
#[test]
fn worker() {
    let Some(root) = std::env::var_os(WORKER) else {
        return;
    };
    runtime().block_on(async {
        let files = open(Path::new(&root), "a").await.unwrap();
        let first = sequence::listed(&files).await.unwrap().len();
        for index in first..first + UNSYNCED {
            let (name, content) = (sequence::name(index), sequence::content(index));
            sequence::write_file(&files, &name, content).await.unwrap();
        }
        println!("written");
        std::future::pending::<()>().await;
    });
}

/// A process is killed after it has written without syncing; the next one finds what the kernel still has, syncs, and
/// promises it. And where these two stand in the record.
fn record_a_kill() -> (Session, std::ops::Range<usize>) {
    let place = tempfile::tempdir().unwrap();
    let recording = Recording::start(place.path());
    let recorder = recording.recorder.clone();
    let root = place.path();
    let mut world = World::at(StoreUri::local(&root.join("store")));
    world.dir = tempfile::Builder::new().tempdir_in(root).unwrap();
    runtime().block_on(async {
        drop(world.create("maker").await);
        let files = open(root, "a").await.unwrap();
        files.close().await.unwrap();
    });
    let begin = recorder.count();
    let mut killed = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "power::worker", "--nocapture"])
        .env(WORKER, root)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(killed.stdout.take().unwrap());
    let written = output.lines().any(|line| line.unwrap().contains("written"));
    assert!(written, "the worker ended before it was killed");
    // The journal's thread hands it to the kernel at its own pace.
    std::thread::sleep(Duration::from_millis(2500));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let death = recorder.count();
    let promise = runtime().block_on(async {
        let files = open(root, "a").await.unwrap();
        let found = sequence::listed(&files).await.unwrap().len();
        assert!(
            found > UNSYNCED / 2,
            "only {found} files reached the kernel"
        );
        files.fsync().await.unwrap();
        let promise = (recorder.count(), found);
        files.close_now().await.unwrap();
        promise
    });
    let session = Session {
        events: recorder.events(),
        begin,
        promises: vec![promise],
        store: root.join("store"),
    };
    (session, death..promise.0)
}

#[test]
fn what_a_killed_process_left_is_safe_once_the_next_one_has_synced() {
    if !can_mount() {
        return;
    }
    let (session, restart) = record_a_kill();
    let runtime = runtime();
    let mut cuts = session.cuts();
    cuts.push(restart.end);
    for cut in cuts {
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(cut as u64)] {
            let judged = runtime.block_on(session.judge(cut, loss));
            assert!(
                judged.is_ok(),
                "after {cut} events, losing {loss:?}: {judged:?}"
            );
        }
    }
    // A program that takes what it finds for synced is noticed.
    let mut trusting = session;
    for event in &mut trusting.events[restart.clone()] {
        if matches!(event, Event::Sync { .. }) {
            *event = Event::Sync { inode: u64::MAX };
        }
    }
    let noticed = runtime.block_on(trusting.judge(restart.end, Loss::Everything));
    assert!(noticed.is_err(), "a tail that was never synced passes");
}

#[test]
fn the_disk_keeps_what_it_promises_and_no_more() {
    let name = |text: &str| OsString::from(text);
    let events = [
        Event::Make {
            folder: 1,
            name: name("kept"),
            inode: 2,
            is_folder: false,
        },
        Event::Write {
            inode: 2,
            offset: 0,
            data: vec![1; 2000],
        },
        Event::Sync { inode: 2 },
        Event::SyncFolder { inode: 1 },
        Event::Write {
            inode: 2,
            offset: 2000,
            data: vec![2; 2000],
        },
        Event::Make {
            folder: 1,
            name: name("lost"),
            inode: 3,
            is_folder: false,
        },
    ];
    let poured = |loss| {
        let dir = tempfile::tempdir().unwrap();
        after(&events, loss).pour(dir.path());
        let kept = std::fs::read(dir.path().join("kept")).unwrap();
        (kept, dir.path().join("lost").exists())
    };
    assert_eq!(poured(Loss::Everything), (vec![1; 2000], false));
    let (kept, made) = poured(Loss::Nothing);
    assert_eq!((kept.len(), made), (4000, true));
    let torn = (0..50).map(|seed| poured(Loss::Some(seed)));
    let lengths: std::collections::BTreeSet<_> = torn
        .map(|(kept, _)| {
            assert_eq!(kept[..2000], vec![1; 2000]);
            kept.len()
        })
        .collect();
    assert!(lengths.len() > 3, "{lengths:?}");
}
