//! Random work against a model, through folds, publishes, remounts, crashes and new machines: nothing differs.
#![allow(clippy::unwrap_used, clippy::map_entry, missing_docs)]

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use coffre::fs::Attributes;
use coffre::fs::FileKind;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::Make;
use coffre::fs::OpenMode;
use coffre::fs::Options;
use coffre::fs::Owner;
use coffre::fs::RenameMode;
use coffre::fs::SetAttributes;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre::vault::Depth;
use coffre_tests::World;
use coffre_tests::world::copy_folder;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::test_runner::TestRunner;

/// What a path stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File(Vec<u8>),
    Link(Vec<u8>),
}

/// Paths without a leading slash.
type Model = BTreeMap<String, Entry>;

#[derive(Debug, Clone)]
enum Step {
    Folder(u8, u8),
    Write(u8, u8, u32, u32, u8),
    Cut(u8, u32),
    Link(u8, u8),
    Rename(u8, u8, u8),
    Remove(u8),
    Many(u8, u16),
    Publish,
    Remount,
    PowerOff,
    NewMachine,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || any::<u8>();
    prop_oneof![
        4 => (place(), 0..20u8).prop_map(|(at, name)| Step::Folder(at, name)),
        12 => (place(), 0..20u8, 0..400_000u32, 1..300_000u32, any::<u8>())
            .prop_map(|(at, name, offset, length, seed)| Step::Write(at, name, offset, length, seed)),
        4 => (place(), 0..20u8, 0..2000u32, 1..3000u32, any::<u8>())
            .prop_map(|(at, name, offset, length, seed)| Step::Write(at, name, offset, length, seed)),
        3 => (place(), 0..500_000u32).prop_map(|(at, size)| Step::Cut(at, size)),
        2 => (place(), 0..20u8).prop_map(|(at, name)| Step::Link(at, name)),
        5 => (place(), place(), 0..20u8).prop_map(|(from, to, name)| Step::Rename(from, to, name)),
        4 => place().prop_map(Step::Remove),
        2 => (place(), 1..400u16).prop_map(|(at, count)| Step::Many(at, count)),
        3 => Just(Step::Publish),
        2 => Just(Step::Remount),
        2 => Just(Step::PowerOff),
        1 => Just(Step::NewMachine),
    ]
}

const OWNER: Owner = Owner {
    uid: 1000,
    gid: 1000,
    mode: 0o755,
    umask: 0,
};

/// The file system under test, on whatever machine it is at the moment.
struct Subject {
    world: World,
    machine: String,
    machines: usize,
    files: Option<Volume>,
}

async fn open(world: &World, machine: &str) -> Volume {
    let vault = world.open(machine, Access::ReadWrite).await.unwrap();
    let options = Options {
        // Only when a step says so.
        publish_after: std::time::Duration::from_secs(3600),
        ..world.options(machine, Access::ReadWrite)
    };
    Volume::open(vault, options).await.unwrap()
}

impl Subject {
    async fn new() -> Self {
        let world = World::local();
        drop(world.create("m0").await);
        let files = open(&world, "m0").await;
        Self {
            world,
            machine: "m0".into(),
            machines: 1,
            files: Some(files),
        }
    }

    fn next_machine(&mut self) -> String {
        self.machines += 1;
        format!("m{}", self.machines)
    }

    async fn go_to(&mut self, machine: String) {
        self.files = Some(open(&self.world, &machine).await);
        self.machine = machine;
    }

    fn files(&self) -> &Volume {
        self.files.as_ref().unwrap()
    }

    async fn find(&self, path: &str) -> Attributes {
        self.files()
            .resolve(path.as_bytes(), Follow::No)
            .await
            .unwrap()
    }

    /// The folder of a path, and the name in it.
    async fn place<'p>(&self, path: &'p str) -> (Inode, &'p [u8]) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(folder).await.inode, name.as_bytes())
    }

    async fn make(&self, path: &str, make: Make) {
        let (parent, name) = self.place(path).await;
        self.files().make(parent, name, make, OWNER).await.unwrap();
    }

    async fn write(&self, path: &str, offset: u64, data: Vec<u8>) {
        let inode = self.find(path).await.inode;
        let handle = self
            .files()
            .open_file(inode, OpenMode::Write)
            .await
            .unwrap();
        let data = Bytes::from(data);
        self.files().write(handle, offset, data).await.unwrap();
        self.files().release(handle).await.unwrap();
    }

    async fn content(&self, found: &Attributes) -> Vec<u8> {
        let handle = self.files().open_file(found.inode, OpenMode::Read).await;
        let handle = handle.unwrap();
        let mut content = Vec::new();
        while (content.len() as u64) < found.size {
            let offset = content.len() as u64;
            let read = self.files().read(handle, offset, 1 << 20).await.unwrap();
            assert!(!read.is_empty(), "the file ends before its size");
            content.extend_from_slice(&read);
        }
        self.files().release(handle).await.unwrap();
        content
    }

    /// Everything there is.
    async fn tree(&self) -> Model {
        let mut tree = Model::new();
        let mut folders = vec![(String::new(), Inode::ROOT)];
        while let Some((path, inode)) = folders.pop() {
            let handle = self.files().open_directory(inode).await.unwrap();
            let mut cookie = 0;
            loop {
                let list = self.files().read_directory(handle, cookie, 100, true).await;
                let list = list.unwrap();
                let Some(last) = list.last() else { break };
                cookie = last.cookie;
                for entry in list {
                    let name = String::from_utf8(entry.name).unwrap();
                    if name == "." || name == ".." {
                        continue;
                    }
                    let below = join(&path, &name);
                    let found = entry.attributes.unwrap();
                    let what = match found.kind {
                        FileKind::Directory => {
                            folders.push((below.clone(), found.inode));
                            Entry::Folder
                        }
                        FileKind::Symlink => {
                            Entry::Link(self.files().read_link(found.inode).await.unwrap())
                        }
                        _ => Entry::File(self.content(&found).await),
                    };
                    assert!(tree.insert(below, what).is_none(), "listed twice");
                }
            }
            self.files().release(handle).await.unwrap();
        }
        tree
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn pick(model: &Model, choice: u8, wanted: fn(&Entry) -> bool) -> Option<String> {
    let fitting: Vec<&String> = model
        .iter()
        .filter(|(_, entry)| wanted(entry))
        .map(|(path, _)| path)
        .collect();
    (!fitting.is_empty()).then(|| fitting[usize::from(choice) % fitting.len()].clone())
}

fn folder(model: &Model, choice: u8) -> String {
    let is_folder = |entry: &Entry| *entry == Entry::Folder;
    match choice {
        0..=80 => String::new(),
        _ => pick(model, choice, is_folder).unwrap_or_default(),
    }
}

fn children(model: &Model, path: &str) -> Vec<String> {
    let prefix = format!("{path}/");
    let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
    model
        .range(from)
        .map(|(below, _)| below.clone())
        .take_while(|below| below.starts_with(&prefix))
        .collect()
}

fn noise(length: u32, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    // Half of the seeds compress.
    if seed.is_multiple_of(2) {
        bytes.fill(seed);
    } else {
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
    }
    bytes
}

async fn write(
    subject: &Subject,
    model: &mut Model,
    path: String,
    (offset, length, seed): (u32, u32, u8),
) {
    let data = noise(length, seed);
    match model.get(&path) {
        None => {
            subject.make(&path, Make::File).await;
            model.insert(path.clone(), Entry::File(Vec::new()));
        }
        Some(Entry::File(_)) => {}
        Some(_) => return,
    }
    subject.write(&path, u64::from(offset), data.clone()).await;
    if let Some(Entry::File(content)) = model.get_mut(&path) {
        let end = (offset + length) as usize;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(&data);
    }
}

async fn rename(subject: &Subject, model: &mut Model, from: String, to: String) {
    let inside = to == from || to.starts_with(&format!("{from}/"));
    let fits = match (model.get(&from), model.get(&to)) {
        (Some(_), None) => true,
        (Some(Entry::Folder), Some(Entry::Folder)) => children(model, &to).is_empty(),
        (Some(Entry::Folder), Some(_)) | (Some(_), Some(Entry::Folder)) => false,
        (moved, _) => moved.is_some(),
    };
    let (source, target) = (subject.place(&from).await, subject.place(&to).await);
    let renamed = subject
        .files()
        .rename(source, target, RenameMode::Replace)
        .await;
    if inside || !fits {
        assert!(renamed.is_err() || from == to, "{from} went to {to}");
        return;
    }
    renamed.unwrap();
    model.remove(&to);
    for path in children(model, &from).into_iter().chain([from.clone()]) {
        let entry = model.remove(&path).unwrap();
        model.insert(format!("{to}{}", &path[from.len()..]), entry);
    }
}

async fn remove(subject: &Subject, model: &mut Model, path: String) {
    let (parent, name) = subject.place(&path).await;
    let removed = match model[&path] {
        Entry::Folder => subject.files().remove_directory(parent, name).await,
        _ => subject.files().unlink(parent, name).await,
    };
    if children(model, &path).is_empty() {
        removed.unwrap();
        model.remove(&path);
    } else {
        assert!(removed.is_err(), "{path} was not empty");
    }
}

async fn change(subject: &Subject, model: &mut Model, step: &Step) {
    let any = |_: &Entry| true;
    let is_file = |entry: &Entry| matches!(entry, Entry::File(_));
    match *step {
        Step::Folder(at, name) => {
            let path = join(&folder(model, at), &format!("n{name}"));
            if !model.contains_key(&path) {
                subject.make(&path, Make::Directory).await;
                model.insert(path, Entry::Folder);
            }
        }
        Step::Write(at, name, offset, length, seed) => {
            let path = join(&folder(model, at), &format!("n{name}"));
            write(subject, model, path, (offset, length, seed)).await;
        }
        Step::Cut(at, size) => {
            if let Some(path) = pick(model, at, is_file) {
                let inode = subject.find(&path).await.inode;
                let set = SetAttributes {
                    size: Some(u64::from(size)),
                    ..SetAttributes::default()
                };
                subject.files().set_attributes(inode, set).await.unwrap();
                if let Some(Entry::File(content)) = model.get_mut(&path) {
                    content.resize(size as usize, 0);
                }
            }
        }
        Step::Link(at, name) => {
            let path = join(&folder(model, at), &format!("n{name}"));
            if !model.contains_key(&path) {
                let target = format!("to {name}").into_bytes();
                subject.make(&path, Make::Symlink(target.clone())).await;
                model.insert(path, Entry::Link(target));
            }
        }
        Step::Rename(from, to, name) => {
            if let Some(from) = pick(model, from, any) {
                let to = join(&folder(model, to), &format!("n{name}"));
                rename(subject, model, from, to).await;
            }
        }
        Step::Remove(at) => {
            if let Some(path) = pick(model, at, any) {
                remove(subject, model, path).await;
            }
        }
        Step::Many(at, count) => {
            let above = folder(model, at);
            for index in 0..count {
                let path = join(&above, &format!("many {index}"));
                write(
                    subject,
                    model,
                    path,
                    (0, u32::from(index % 50) + 1, index as u8),
                )
                .await;
            }
        }
        Step::Publish | Step::Remount | Step::PowerOff | Step::NewMachine => {}
    }
}

/// Steps that change nothing but where it stands.
async fn travel(subject: &mut Subject, model: &Model, step: &Step) {
    match step {
        Step::Publish => return subject.files().publish().await.unwrap(),
        Step::Remount => {
            subject.files().close_now().await.unwrap();
            subject.files = None;
            subject.go_to(subject.machine.clone()).await;
        }
        Step::PowerOff => {
            subject.files().fsync().await.unwrap();
            let after = subject.next_machine();
            let folder = subject.world.dir.path();
            copy_folder(&folder.join(&subject.machine), &folder.join(&after));
            subject.go_to(after).await;
        }
        Step::NewMachine => {
            subject.files().close().await.unwrap();
            let machine = subject.next_machine();
            subject.go_to(machine).await;
        }
        _ => return,
    }
    assert_same(model, &subject.tree().await);
}

fn assert_same(expected: &Model, found: &Model) {
    for (path, entry) in expected {
        match (entry, found.get(path)) {
            (Entry::File(expected), Some(Entry::File(found))) => {
                assert_eq!(expected.len(), found.len(), "length of {path}");
                let first = expected.iter().zip(found).position(|(a, b)| a != b);
                assert_eq!(first, None, "{path} differs there");
            }
            (expected, found) => assert_eq!(Some(expected), found, "{path}"),
        }
    }
    assert_eq!(expected.len(), found.len(), "there is more than there was");
}

async fn run(steps: &[Step]) {
    let mut subject = Subject::new().await;
    let mut model = Model::new();
    for step in steps {
        change(&subject, &mut model, step).await;
        travel(&mut subject, &model, step).await;
    }
    assert_same(&model, &subject.tree().await);
    subject.files().publish().await.unwrap();
    assert_same(&model, &subject.tree().await);
    let vault = subject.files().vault();
    let (nodes, root) = (subject.files().nodes(), subject.files().root());
    let report = coffre::vault::check(vault, nodes, &root, Depth::Data, &|_| ())
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    subject.files().close().await.unwrap();
}

#[test]
fn random_work_survives_everything() {
    let config = Config {
        cases: 24,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let work = proptest::collection::vec(step(), 10..70);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runner.run(&work, |steps| {
        runtime.block_on(run(&steps));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
