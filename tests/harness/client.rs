//! A client of the file system that keeps to its own folder and remembers every state that the folder was in.
//!
//! Each of its changes is one operation, so whatever a crash or another device shows of the folder must be
//! exactly one of those states: nothing torn, nothing out of order, nothing that never was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use coffre::Error;
use coffre::Refusal;
use coffre::fs::FileKind;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::Make;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::RenameMode;
use coffre::fs::SetAttributes;
use coffre::fs::Volume;

use crate::content::entries;
use crate::dice::Dice;

const OWNER: Owner = Owner {
    uid: 1000,
    gid: 1000,
    mode: 0o644,
    umask: 0,
};
/// Longest file, in bytes.
const LONGEST: u64 = 300_000;
/// A long write, in bytes.
const LONG: u64 = 10 << 17;
/// Files of a folder.
const FILES: u64 = 6;
/// A read waits for this long for a store that comes back, again and again.
const AGAIN: Duration = Duration::from_secs(7);

/// Names and contents of one folder.
pub type Folder = BTreeMap<String, Arc<Vec<u8>>>;

/// All states that a folder was in, oldest first.
pub struct History {
    states: Vec<Folder>,
    /// What the operation under way will make of it: nobody may know yet whether it has.
    coming: Option<Folder>,
    /// The state that was promised to be durable.
    promised: usize,
    /// The state that another device has seen.
    seen: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            states: vec![Folder::new()],
            coming: None,
            promised: 0,
            seen: 0,
        }
    }
}

impl History {
    pub fn now(&self) -> &Folder {
        self.states.last().expect("there is always a first state")
    }

    /// Another device shows this. It never shows what is older than what it has shown. True if it is news.
    pub fn see(&mut self, found: &Folder) -> bool {
        // The first that fits: a folder may come to be again what it was before.
        let at = self.fitting(found, self.seen).next();
        let at =
            at.unwrap_or_else(|| panic!("another device shows what never was: {}", tell(found)));
        std::mem::replace(&mut self.seen, at) != at
    }

    /// A crash left this: what was promised, or what was made later.
    pub fn survive(&mut self, found: &Folder) {
        // The last that fits: others may have been published before the crash.
        let at = self.fitting(found, self.promised.max(self.seen)).last();
        let at = at.unwrap_or_else(|| {
            let (newest, promised) = (self.states.len() - 1, self.promised);
            panic!(
                "a crash left what never was, or took what was promised ({promised} of {newest}): {}\npromised {}\nnow {}",
                tell(found),
                tell(&self.states[promised]),
                tell(self.now())
            )
        });
        self.states.truncate(at);
        self.states.push(found.clone());
        self.coming = None;
        self.promised = at;
    }

    /// Where a state stands in the history, not before `from`.
    fn fitting<'a>(&'a self, found: &'a Folder, from: usize) -> impl Iterator<Item = usize> + 'a {
        let all = self.states.iter().chain(&self.coming).enumerate();
        all.skip(from)
            .filter(move |(_, state)| *state == found)
            .map(|(at, _)| at)
    }
}

fn tell(folder: &Folder) -> String {
    let tell = |(name, content): (&String, &Arc<Vec<u8>>)| {
        let hash = blake3::hash(content).to_hex();
        format!("{name}: {} bytes {}", content.len(), &hash[..8])
    };
    folder.iter().map(tell).collect::<Vec<_>>().join(", ")
}

/// Works in one folder.
pub struct Client {
    pub name: String,
    pub history: Arc<Mutex<History>>,
    pub dice: Dice,
}

impl Client {
    /// Makes its folder.
    pub async fn prepare(&self, files: &Volume) {
        let made = files.make(
            Inode::ROOT,
            self.name.as_bytes(),
            Make::Directory,
            Owner {
                mode: 0o755,
                ..OWNER
            },
        );
        made.await.unwrap();
    }

    /// Some steps of work, with pauses.
    pub async fn work(&mut self, files: &Volume, steps: u64) {
        let folder = folder(files, &self.name).await;
        for _ in 0..steps {
            let pause = match self.dice.below(6) {
                0 => self.dice.duration(8000),
                1 => self.dice.duration(300),
                _ => Duration::ZERO,
            };
            tokio::time::sleep(pause).await;
            self.step(files, folder).await;
        }
    }

    async fn step(&mut self, files: &Volume, folder: Inode) {
        let state = self.history.lock().unwrap().now().clone();
        let name = format!("n{}", self.dice.below(FILES));
        match self.dice.below(20) {
            0..=9 => self.write(files, folder, state, name).await,
            10..=11 => self.cut(files, folder, state, name).await,
            12..=13 => self.rename(files, folder, state, name).await,
            14 => self.remove(files, folder, state, name).await,
            15..=17 => self.read(files, &state, &name).await,
            18 => self.sync(files).await,
            _ if self.dice.half() => self.publish(files).await,
            _ => self.give_up_publishing(files).await,
        }
    }

    async fn write(&mut self, files: &Volume, folder: Inode, mut state: Folder, name: String) {
        let offset = self.dice.below(LONGEST / 2);
        let (offset, length) = match self.dice.below(12) {
            0..=3 => (offset, self.dice.below(500) + 1),
            4..=7 => (offset, self.dice.below(9000) + 1),
            8..=10 => (offset, self.dice.below(LONGEST / 2) + 1),
            // Whole blocks, and so many that their pack gets a name.
            _ => (0, LONG),
        };
        let data = noise(length as usize, self.dice.roll());
        let handle = match state.get(&name) {
            None => {
                let mut with = state.clone();
                with.insert(name.clone(), Arc::default());
                self.comes(&with);
                let made = self.patiently(|| files.create(folder, name.as_bytes(), OWNER));
                let (_, handle) = made.await;
                self.became();
                state = with;
                handle
            }
            Some(_) => {
                let found = self.patiently(|| files.lookup(folder, name.as_bytes()));
                let inode = found.await.inode;
                files.open_file(inode, OpenMode::Write).await.unwrap()
            }
        };
        let mut content = state[&name].to_vec();
        let end = (offset + length) as usize;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(&data);
        state.insert(name, Arc::new(content));
        self.comes(&state);
        let bytes = Bytes::from(data);
        self.patiently(|| files.write(handle, offset, bytes.clone()))
            .await;
        self.became();
        files.release(handle).await.unwrap();
    }

    async fn cut(&mut self, files: &Volume, folder: Inode, mut state: Folder, name: String) {
        let Some(content) = state.get(&name) else {
            return;
        };
        let size = self.dice.below(LONGEST);
        let mut content = content.to_vec();
        let inode = self
            .patiently(|| files.lookup(folder, name.as_bytes()))
            .await
            .inode;
        let set = SetAttributes {
            size: Some(size),
            ..SetAttributes::default()
        };
        content.resize(size as usize, 0);
        state.insert(name, Arc::new(content));
        self.comes(&state);
        self.patiently(|| files.set_attributes(inode, set)).await;
        self.became();
    }

    async fn rename(&mut self, files: &Volume, folder: Inode, mut state: Folder, name: String) {
        let to = format!("n{}", self.dice.below(FILES));
        if name == to || !state.contains_key(&name) {
            return;
        }
        let content = state.remove(&name).unwrap();
        state.insert(to.clone(), content);
        self.comes(&state);
        let (from, target) = ((folder, name.as_bytes()), (folder, to.as_bytes()));
        self.patiently(|| files.rename(from, target, RenameMode::Replace))
            .await;
        self.became();
    }

    async fn remove(&mut self, files: &Volume, folder: Inode, mut state: Folder, name: String) {
        if state.remove(&name).is_none() {
            return;
        }
        self.comes(&state);
        self.patiently(|| files.unlink(folder, name.as_bytes()))
            .await;
        self.became();
    }

    /// What is read is what was written, or there is an error: never anything else.
    async fn read(&mut self, files: &Volume, state: &Folder, name: &str) {
        let found = read(files, &format!("/{}/{name}", self.name)).await;
        match (found, state.get(name)) {
            (Ok(found), Some(expected)) => {
                assert!(found == **expected, "{name} is read as it never was")
            }
            (Ok(_), None) => panic!("{name} was removed and is read"),
            (Err(Error::Refused(Refusal::NoEntry)), None) => {}
            (Err(error), _) => assert!(passes(&error), "{error}"),
        }
    }

    async fn sync(&mut self, files: &Volume) {
        let before = self.history.lock().unwrap().states.len() - 1;
        files.fsync().await.unwrap();
        self.promise(before);
    }

    async fn publish(&mut self, files: &Volume) {
        let before = self.history.lock().unwrap().states.len() - 1;
        match files.publish().await {
            Ok(()) => self.promise(before),
            Err(error) => assert!(passes(&error), "{error}"),
        }
    }

    /// As somebody does who presses Ctrl-C.
    async fn give_up_publishing(&mut self, files: &Volume) {
        let patience = self.dice.duration(600);
        if let Ok(Err(error)) = tokio::time::timeout(patience, files.publish()).await {
            assert!(passes(&error), "{error}");
        }
    }

    fn promise(&self, state: usize) {
        let mut history = self.history.lock().unwrap();
        history.promised = history.promised.max(state);
    }

    fn comes(&self, state: &Folder) {
        self.history.lock().unwrap().coming = Some(state.clone());
    }

    fn became(&self) {
        let mut history = self.history.lock().unwrap();
        let state = history.coming.take().expect("it was announced");
        history.states.push(state);
    }

    /// Does it until it is done: what the store keeps from being done now can be done later.
    async fn patiently<T, F: Future<Output = coffre::Result<T>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> T {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => assert!(passes(&error), "{error}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Whether an error is one that a store with weather may cause, and that goes away with it.
pub fn passes(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable { .. }
            | Error::Denied { .. }
            | Error::Missing { .. }
            | Error::Truncated { .. }
            | Error::Forged { .. }
    )
}

async fn folder(files: &Volume, name: &str) -> Inode {
    loop {
        match files.lookup(Inode::ROOT, name.as_bytes()).await {
            Ok(found) => return found.inode,
            Err(error) => assert!(passes(&error), "{error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn read(files: &Volume, path: &str) -> coffre::Result<Vec<u8>> {
    let found = files.resolve(path.as_bytes(), Follow::No).await?;
    content(files, found.inode, found.size).await
}

async fn content(files: &Volume, inode: Inode, size: u64) -> coffre::Result<Vec<u8>> {
    let handle = files.open_file(inode, OpenMode::Read).await?;
    let mut content = Vec::new();
    let result = loop {
        let at = content.len() as u64;
        if at >= size {
            break Ok(content);
        }
        match files.read(handle, at, (size - at) as u32).await {
            Ok(bytes) if bytes.is_empty() => break Ok(content),
            Ok(bytes) => content.extend_from_slice(&bytes),
            Err(error) => break Err(error),
        }
    };
    files.release(handle).await?;
    result
}

/// Everything that is in a folder now; nobody changes it meanwhile.
pub async fn look(files: &Volume, name: &str) -> coffre::Result<Folder> {
    let inode = files.lookup(Inode::ROOT, name.as_bytes()).await?.inode;
    let mut found = Folder::new();
    for entry in entries(files, inode).await? {
        let attributes = entry.attributes.unwrap();
        if attributes.kind == FileKind::Regular {
            let bytes = content(files, entry.inode, attributes.size).await?;
            found.insert(String::from_utf8(entry.name).unwrap(), Arc::new(bytes));
        }
    }
    Ok(found)
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // A quarter compresses.
    if seed.is_multiple_of(4) {
        bytes.fill(seed as u8);
    } else {
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
    }
    bytes
}
