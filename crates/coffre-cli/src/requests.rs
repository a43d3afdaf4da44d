//! The verbs that a vault's file system answers by itself, as data: run here, or in the process that has the
//! vault mounted.

use std::time::Duration;

use coffre::Error;
use coffre::Refusal;
use coffre::fs::Attributes;
use coffre::fs::Follow;
use coffre::fs::Make;
use coffre::fs::Owner;
use coffre::fs::RenameMode;
use coffre::fs::Status;
use coffre::fs::Volume;
use coffre::vault::Stored;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc::Sender;

use crate::names::Name;
use crate::tree;
use crate::units;

/// `status` waits no longer than this for what the store knows.
const STATUS_WAIT: Duration = Duration::from_secs(3);
/// In a vault with more inodes, `status` does not count what the store holds; `du` does.
const COUNTED_MOST: u64 = 50_000;

/// What a verb asks of a file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// State of queue, cache, devices.
    Status,
    /// Entries of a folder, or the thing itself.
    List {
        /// Of what.
        path: Name,
        /// All folders below as well.
        recursive: bool,
        /// A folder as itself instead of its entries.
        itself: bool,
    },
    /// Attributes.
    Stat {
        /// Of what.
        path: Name,
        /// Of a symlink's target.
        follow: bool,
    },
    /// Makes a folder.
    MakeFolder {
        /// Which.
        path: Name,
        /// With its parents; it may exist.
        parents: bool,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// Removes.
    Remove {
        /// What.
        path: Name,
        /// With all below.
        recursive: bool,
        /// It may be absent.
        force: bool,
    },
    /// Renames; into `to`, if that is a folder.
    Move {
        /// From.
        from: Name,
        /// To.
        to: Name,
        /// Refuse to replace something.
        keep: bool,
    },
    /// Bytes of content below a path.
    Usage {
        /// Which.
        path: Name,
    },
    /// Bytes in the store.
    Stored,
}

/// A piece of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Something in the vault.
    Entry(Entry),
    /// Bytes below a path.
    Usage(Usage),
    /// What the store holds.
    Stored(Stored),
    /// State of queue, cache, devices and store.
    Status(Box<State>),
}

/// What `status` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// What is known without asking the store.
    #[serde(flatten)]
    pub status: Status,
    /// What the store holds; not counted for large vaults.
    #[serde(flatten)]
    pub stored: Option<Stored>,
}

/// Something in the vault, as `ls` and `stat` show it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Path, as the user began it.
    pub path: Name,
    /// Last component.
    pub name: Name,
    /// "file", "directory", "symlink", …
    pub kind: String,
    /// Inode number.
    pub inode: u64,
    /// Permission bits, octal.
    pub mode: String,
    /// Mode as `ls` shows it.
    pub permissions: String,
    /// Names it has.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes that are not holes.
    pub allocated: u64,
    /// Last change of content, seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_ns: u32,
    /// Last change of attributes, seconds since 1970.
    pub ctime: i64,
    /// Creation, seconds since 1970.
    pub btime: i64,
    /// What a symlink points to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Name>,
}

/// What lies below a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Usage {
    /// Path.
    pub path: Name,
    /// Bytes of content, holes not counted, hard links once.
    pub bytes: u64,
    /// Bytes that the files claim to have.
    pub apparent_bytes: u64,
    /// Files of all kinds but folders.
    pub files: u64,
    /// Folders.
    pub folders: u64,
}

impl Request {
    /// Whether it changes the vault.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::MakeFolder { .. } | Self::Remove { .. } | Self::Move { .. }
        )
    }
}

/// Answers a request piece by piece.
pub async fn answer(
    filesystem: &Volume,
    request: Request,
    items: &Sender<Item>,
) -> anyhow::Result<()> {
    let writes = request.writes();
    let answered = perform(filesystem, request, items).await;
    if writes {
        // Whoever looks into the mount after this verb sees what it did.
        filesystem.settle().await;
    }
    answered
}

async fn perform(
    filesystem: &Volume,
    request: Request,
    items: &Sender<Item>,
) -> anyhow::Result<()> {
    match request {
        Request::Status => status(filesystem, items).await,
        Request::List {
            path,
            recursive,
            itself,
        } => list(filesystem, path, (recursive, itself), items).await,
        Request::Stat { path, follow } => {
            let follow = if follow { Follow::Yes } else { Follow::No };
            let found = tree::resolve(filesystem, &path, follow).await?;
            let name = path
                .split()
                .map_or_else(|| path.clone(), |(_, name)| Name(name.to_vec()));
            let entry = entry(filesystem, path, name, &found).await?;
            send(items, Item::Entry(entry)).await
        }
        Request::MakeFolder {
            path,
            parents,
            owner,
        } => make_folder(filesystem, &path, parents, owner).await,
        Request::Remove {
            path,
            recursive,
            force,
        } => match remove(filesystem, &path, recursive).await {
            Err(error) if force && tree::is_absent(&error) => Ok(()),
            done => done,
        },
        Request::Move { from, to, keep } => move_to(filesystem, &from, to, keep).await,
        Request::Usage { path } => {
            let usage = usage(filesystem, path).await?;
            send(items, Item::Usage(usage)).await
        }
        Request::Stored => send(items, Item::Stored(filesystem.stored().await?)).await,
    }
}

/// Answers without the store too: names then stay unknown and nothing is counted.
async fn status(filesystem: &Volume, items: &Sender<Item>) -> anyhow::Result<()> {
    if let Ok(Err(error)) = tokio::time::timeout(STATUS_WAIT, filesystem.learn_names()).await {
        tracing::info!("{error}");
    }
    let mut stored = None;
    if filesystem.root().sums.inodes <= COUNTED_MOST {
        match tokio::time::timeout(STATUS_WAIT, filesystem.stored()).await {
            Ok(Ok(counted)) => stored = Some(counted),
            Ok(Err(error)) => tracing::info!("{error}"),
            Err(_) => {}
        }
    }
    let status = filesystem.status();
    send(items, Item::Status(Box::new(State { status, stored }))).await
}

/// A reader that has gone away has seen enough; the caller ends the answer.
async fn send(items: &Sender<Item>, item: Item) -> anyhow::Result<()> {
    items
        .send(item)
        .await
        .map_err(|_| anyhow::anyhow!("nobody reads the answer any more"))
}

async fn list(
    filesystem: &Volume,
    path: Name,
    (recursive, itself): (bool, bool),
    items: &Sender<Item>,
) -> anyhow::Result<()> {
    let found = tree::resolve(filesystem, &path, Follow::Yes).await?;
    if itself || found.kind != FileKind::Directory {
        let entry = entry(filesystem, path.clone(), path, &found).await?;
        return send(items, Item::Entry(entry)).await;
    }
    let mut folders = vec![(path, found.inode)];
    while let Some((path, inode)) = folders.pop() {
        let mut below = Vec::new();
        let mut listing = tree::Listing::open(filesystem, inode).await?;
        while let Some((name, attributes)) = listing.next().await? {
            let path = path.join(&name);
            if recursive && attributes.kind == FileKind::Directory {
                below.push((path.clone(), attributes.inode));
            }
            let entry = entry(filesystem, path, Name(name), &attributes).await?;
            if let Err(error) = send(items, Item::Entry(entry)).await {
                listing.close().await?;
                return Err(error);
            }
        }
        listing.close().await?;
        folders.extend(below.into_iter().rev());
    }
    Ok(())
}

async fn entry(
    filesystem: &Volume,
    path: Name,
    name: Name,
    found: &Attributes,
) -> anyhow::Result<Entry> {
    let target = match found.kind {
        FileKind::Symlink => Some(Name(filesystem.read_link(found.inode).await?)),
        _ => None,
    };
    Ok(Entry {
        path,
        name,
        kind: units::name(found.kind).to_owned(),
        inode: found.inode.0,
        mode: format!("{:04o}", found.mode & 0o7777),
        permissions: units::mode(found.kind, found.mode),
        links: found.nlink,
        uid: found.uid,
        gid: found.gid,
        size: found.size,
        allocated: found.allocated,
        mtime: found.mtime.seconds,
        mtime_ns: found.mtime.nanos,
        ctime: found.ctime.seconds,
        btime: found.btime.seconds,
        target,
    })
}

async fn make_folder(
    filesystem: &Volume,
    path: &Name,
    parents: bool,
    owner: (u32, u32),
) -> anyhow::Result<()> {
    let owner = Owner {
        uid: owner.0,
        gid: owner.1,
        mode: 0o755,
        umask: 0,
    };
    if parents {
        tree::make_all(filesystem, path, owner).await?;
        return Ok(());
    }
    let (folder, name) = tree::place(filesystem, path).await?;
    let made = filesystem.make(folder, &name, Make::Directory, owner).await;
    made.map(|_| ()).map_err(|error| tree::of(path, error))
}

async fn remove(filesystem: &Volume, path: &Name, recursive: bool) -> anyhow::Result<()> {
    let found = tree::resolve(filesystem, path, Follow::No).await?;
    let (folder, name) = tree::place(filesystem, path).await?;
    if found.kind != FileKind::Directory {
        return filesystem
            .unlink(folder, &name)
            .await
            .map_err(|error| tree::of(path, error));
    }
    if recursive {
        tree::empty(filesystem, found.inode, path).await?;
    }
    match filesystem.remove_directory(folder, &name).await {
        Err(Error::Refused(Refusal::NotEmpty)) if !recursive => {
            let what = format!(
                "{path} is a folder that is not empty; `coffre rm -r` removes it with all below"
            );
            Err(tree::refused(Refusal::NotEmpty, what))
        }
        done => done.map_err(|error| tree::of(path, error)),
    }
}

async fn move_to(filesystem: &Volume, from: &Name, to: Name, keep: bool) -> anyhow::Result<()> {
    let (from_folder, from_name) = tree::place(filesystem, from).await?;
    let into = match tree::resolve(filesystem, &to, Follow::Yes).await {
        Ok(found) => (found.kind == FileKind::Directory).then_some(found.inode),
        Err(error) if tree::is_absent(&error) && !to.is_folder() => None,
        Err(error) => return Err(error),
    };
    let (to_folder, to_name): (Inode, Vec<u8>) = match into {
        Some(folder) => (folder, from_name.clone()),
        None => tree::place(filesystem, &to).await?,
    };
    let mode = if keep {
        RenameMode::NoReplace
    } else {
        RenameMode::Replace
    };
    filesystem
        .rename((from_folder, &from_name), (to_folder, &to_name), mode)
        .await
        .map_err(|error| tree::of(from, error))
}

async fn usage(filesystem: &Volume, path: Name) -> anyhow::Result<Usage> {
    let found = tree::resolve(filesystem, &path, Follow::No).await?;
    let mut usage = Usage {
        path,
        bytes: 0,
        apparent_bytes: 0,
        files: 0,
        folders: 0,
    };
    let mut counted = std::collections::BTreeSet::new();
    let mut add = |found: &Attributes, usage: &mut Usage| {
        if found.kind == FileKind::Directory {
            usage.folders += 1;
            return;
        }
        usage.files += 1;
        if found.nlink < 2 || counted.insert(found.inode) {
            usage.bytes += found.allocated.min(found.size);
            usage.apparent_bytes += found.size;
        }
    };
    add(&found, &mut usage);
    let mut folders: Vec<Inode> = (found.kind == FileKind::Directory)
        .then_some(found.inode)
        .into_iter()
        .collect();
    while let Some(folder) = folders.pop() {
        let mut listing = tree::Listing::open(filesystem, folder).await?;
        while let Some((_, found)) = listing.next().await? {
            add(&found, &mut usage);
            if found.kind == FileKind::Directory {
                folders.push(found.inode);
            }
        }
        listing.close().await?;
    }
    Ok(usage)
}
