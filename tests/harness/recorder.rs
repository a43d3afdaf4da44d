//! A disk that remembers: a file system in memory that records every change and every sync, so that what a
//! power cut could have left at any moment can be made again.
//!
//! What is promised by a disk and nothing more: a file's bytes are there after its fsync, a name after the
//! fsync of its folder; within one folder names come and go in order; everything else may be lost, torn, or
//! arrive in another order.
//!
//! It can also be told to fail. As on Linux, what a failed fsync was to bring to the disk never comes there, and
//! the next fsync of the same file succeeds all the same.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;
use std::time::SystemTime;

use fuser::BsdFileFlags;
use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::Filesystem;
use fuser::FopenFlags;
use fuser::Generation;
use fuser::INodeNo;
use fuser::LockOwner;
use fuser::OpenFlags;
use fuser::RenameFlags;
use fuser::ReplyAttr;
use fuser::ReplyCreate;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use fuser::ReplyWrite;
use fuser::Request;
use fuser::TimeOrNow;
use fuser::WriteFlags;

use crate::dice::Dice;

const TTL: Duration = Duration::from_secs(3600);
/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

/// One thing that happened to the disk.
#[derive(Debug, Clone)]
pub enum Event {
    Make {
        folder: u64,
        name: OsString,
        inode: u64,
        is_folder: bool,
    },
    Remove {
        folder: u64,
        name: OsString,
    },
    Rename {
        from: (u64, OsString),
        to: (u64, OsString),
    },
    Write {
        inode: u64,
        offset: usize,
        data: Vec<u8>,
    },
    Cut {
        inode: u64,
        size: usize,
    },
    Sync {
        inode: u64,
    },
    SyncFolder {
        inode: u64,
    },
}

/// What a disk refuses to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Making a file or folder.
    Make,
    /// Writing content.
    Write,
    /// fsync of a file.
    Sync,
    /// fsync of a folder.
    SyncFolder,
    /// Reading content.
    Read,
}

/// A way in which it fails.
#[derive(Debug, Clone)]
pub struct Fault {
    pub act: Act,
    /// Where: paths that contain this.
    pub place: &'static str,
    pub errno: Errno,
    /// Only writes of at least so many bytes.
    pub least: usize,
    /// After it has done so as often.
    pub skip: usize,
    /// So many times; then it is well again.
    pub times: usize,
}

/// What of the unsynced is lost.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// All of it.
    Everything,
    /// None: only the process died.
    Nothing,
    /// A part, chosen by this seed: torn, and out of order.
    Some(u64),
}

#[derive(Debug, Clone)]
enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
}

/// A tree of files.
#[derive(Debug, Clone)]
pub struct Disk(BTreeMap<u64, Content>);

impl Default for Disk {
    fn default() -> Self {
        Self(BTreeMap::from([(1, Content::Folder(BTreeMap::new()))]))
    }
}

impl Disk {
    fn folder(&mut self, inode: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        match self.0.get_mut(&inode) {
            Some(Content::Folder(names)) => Some(names),
            _ => None,
        }
    }

    fn file(&mut self, inode: u64) -> &mut Vec<u8> {
        let content = self.0.entry(inode).or_insert(Content::File(Vec::new()));
        match content {
            Content::File(bytes) => bytes,
            Content::Folder(_) => panic!("a folder is written as a file"),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Make {
                folder,
                name,
                inode,
                is_folder,
            } => {
                let empty = match is_folder {
                    true => Content::Folder(BTreeMap::new()),
                    false => Content::File(Vec::new()),
                };
                self.0.entry(*inode).or_insert(empty);
                if let Some(names) = self.folder(*folder) {
                    names.insert(name.clone(), *inode);
                }
            }
            Event::Remove { folder, name } => {
                if let Some(names) = self.folder(*folder) {
                    names.remove(name);
                }
            }
            Event::Rename { from, to } => {
                let moved = self.folder(from.0).and_then(|names| names.remove(&from.1));
                if let (Some(moved), Some(names)) = (moved, self.folder(to.0)) {
                    names.insert(to.1.clone(), moved);
                }
            }
            Event::Write {
                inode,
                offset,
                data,
            } => {
                let bytes = self.file(*inode);
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Event::Cut { inode, size } => self.file(*inode).resize(*size, 0),
            Event::Sync { .. } | Event::SyncFolder { .. } => {}
        }
    }

    /// Where an inode is; empty for one without a name.
    fn path(&self, inode: u64) -> std::path::PathBuf {
        let mut parts = Vec::new();
        let mut at = inode;
        while at != 1 {
            let parent = self.0.iter().find_map(|(folder, content)| match content {
                Content::Folder(names) => {
                    let named = names.iter().find(|(_, child)| **child == at);
                    named.map(|(name, _)| (*folder, name.clone()))
                }
                Content::File(_) => None,
            });
            let Some((folder, name)) = parent else { break };
            parts.push(name);
            at = folder;
        }
        parts.iter().rev().collect()
    }

    /// Writes it into a real folder.
    pub fn pour(&self, into: &Path) {
        let mut folders = vec![(1, into.to_owned())];
        while let Some((inode, path)) = folders.pop() {
            std::fs::create_dir_all(&path).unwrap();
            let Some(Content::Folder(names)) = self.0.get(&inode) else {
                continue;
            };
            for (name, inode) in names {
                let path = path.join(name);
                match self.0.get(inode) {
                    Some(Content::File(bytes)) => std::fs::write(path, bytes).unwrap(),
                    Some(Content::Folder(_)) => folders.push((*inode, path)),
                    None => std::fs::write(path, b"").unwrap(),
                }
            }
        }
    }
}

/// The disk as a power cut after these events could have left it.
pub fn after(events: &[Event], loss: Loss) -> Disk {
    let mut disk = Disk::default();
    if let Loss::Nothing = loss {
        events.iter().for_each(|event| disk.apply(event));
        return disk;
    }
    let mut dice = match loss {
        Loss::Some(seed) => Some(Dice(seed)),
        _ => None,
    };
    let forced = forced(events);
    let mut blocked: BTreeSet<u64> = BTreeSet::new();
    let last_sync = last_syncs(events);
    for (at, event) in events.iter().enumerate() {
        let touched = folders_of(event);
        if !touched.is_empty() {
            let free = touched.iter().all(|folder| !blocked.contains(folder));
            let lucky = free && dice.as_mut().is_some_and(Dice::half);
            if forced.contains(&at) || lucky {
                disk.apply(event);
            } else {
                blocked.extend(touched);
            }
            continue;
        }
        let inode = match event {
            Event::Write { inode, .. } | Event::Cut { inode, .. } => *inode,
            _ => continue,
        };
        if last_sync.get(&inode).is_some_and(|sync| at < *sync) {
            disk.apply(event);
        } else if let Some(dice) = &mut dice {
            scatter(&mut disk, event, dice);
        }
    }
    disk
}

/// Of an unsynced write, some sectors arrive.
fn scatter(disk: &mut Disk, event: &Event, dice: &mut Dice) {
    let Event::Write {
        inode,
        offset,
        data,
    } = event
    else {
        if dice.half() {
            disk.apply(event);
        }
        return;
    };
    for (index, part) in data.chunks(SECTOR).enumerate() {
        if dice.half() {
            disk.apply(&Event::Write {
                inode: *inode,
                offset: offset + index * SECTOR,
                data: part.to_vec(),
            });
        }
    }
}

fn folders_of(event: &Event) -> Vec<u64> {
    match event {
        Event::Make { folder, .. } | Event::Remove { folder, .. } => vec![*folder],
        Event::Rename { from, to } => vec![from.0, to.0],
        _ => Vec::new(),
    }
}

fn last_syncs(events: &[Event]) -> BTreeMap<u64, usize> {
    let syncs = events.iter().enumerate();
    syncs
        .filter_map(|(at, event)| match event {
            Event::Sync { inode } => Some((*inode, at)),
            _ => None,
        })
        .collect()
}

/// Changes of names that no power cut takes back: those before the fsync of their folder, and what they rest on.
fn forced(events: &[Event]) -> BTreeSet<usize> {
    let (mut synced, mut needed) = (BTreeSet::new(), BTreeSet::new());
    let mut forced = BTreeSet::new();
    for (at, event) in events.iter().enumerate().rev() {
        if let Event::SyncFolder { inode } = event {
            synced.insert(*inode);
            continue;
        }
        let touched = folders_of(event);
        let made = match event {
            Event::Make { inode, .. } => needed.contains(inode),
            _ => false,
        };
        if made || touched.iter().any(|folder| synced.contains(folder)) {
            forced.insert(at);
            needed.extend(touched.iter().copied());
            synced.extend(touched);
        }
    }
    forced
}

#[derive(Default)]
struct Live {
    disk: Disk,
    events: Vec<Event>,
    next: u64,
    faults: Vec<Fault>,
    refused: usize,
}

/// The disk, and what happened to it so far. Clones share it.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Live>>);

/// A recorder mounted on a folder; unmounted when dropped.
pub struct Recording {
    pub recorder: Recorder,
    session: Option<fuser::BackgroundSession>,
}

impl Recording {
    pub fn start(on: &Path) -> Self {
        let recorder = Recorder::default();
        let mut config = fuser::Config::default();
        config.mount_options = vec![fuser::MountOption::FSName("recorder".into())];
        let session = fuser::spawn_mount(recorder.clone(), on, &config).unwrap();
        Self {
            recorder,
            session: Some(session),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

impl Recorder {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap()
    }

    /// Events so far.
    pub fn count(&self) -> usize {
        self.live().events.len()
    }

    /// From now on it fails like this, too.
    pub fn fail(&self, fault: Fault) {
        self.live().faults.push(fault);
    }

    /// It is well again.
    pub fn heal(&self) {
        self.live().faults.clear();
    }

    /// How often it has failed.
    pub fn refused(&self) -> usize {
        self.live().refused
    }

    /// All of them.
    pub fn events(&self) -> Vec<Event> {
        self.live().events.clone()
    }

    fn make(
        &self,
        parent: INodeNo,
        name: &OsStr,
        is_folder: bool,
        linked: Option<INodeNo>,
    ) -> std::result::Result<FileAttr, Errno> {
        let mut live = self.live();
        let path = live.disk.path(parent.0).join(name);
        live.refuse(Act::Make, &path, 0)?;
        live.next += 1;
        let inode = linked.map_or(live.next + 1, |linked| linked.0);
        live.record(Event::Make {
            folder: parent.0,
            name: name.to_owned(),
            inode,
            is_folder,
        });
        Ok(live.attributes(inode).unwrap())
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Option<FileAttr> {
        let mut live = self.live();
        let inode = *live.disk.folder(parent.0)?.get(name)?;
        live.attributes(inode)
    }
}

impl Live {
    fn refuse(&mut self, act: Act, path: &Path, length: usize) -> std::result::Result<(), Errno> {
        let path = path.to_string_lossy().into_owned();
        let meant = |fault: &&mut Fault| {
            let applies = fault.act == act && length >= fault.least;
            applies && fault.times > 0 && path.contains(fault.place)
        };
        let Some(fault) = self.faults.iter_mut().find(meant) else {
            return Ok(());
        };
        if fault.skip > 0 {
            fault.skip -= 1;
            return Ok(());
        }
        fault.times -= 1;
        self.refused += 1;
        Err(fault.errno)
    }

    fn refuse_inode(
        &mut self,
        act: Act,
        inode: u64,
        length: usize,
    ) -> std::result::Result<(), Errno> {
        let path = self.disk.path(inode);
        self.refuse(act, &path, length)
    }

    /// What was written to a file and not synced never reaches the disk.
    fn lose_unsynced(&mut self, inode: u64) {
        let events = self.events.iter_mut().rev();
        let since = events.take_while(
            |event| !matches!(event, Event::Sync { inode: synced } if *synced == inode),
        );
        for event in since {
            if matches!(event, Event::Write { inode: written, .. } if *written == inode) {
                *event = Event::Sync { inode: u64::MAX };
            }
        }
    }

    fn record(&mut self, event: Event) {
        self.disk.apply(&event);
        self.events.push(event);
    }

    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        let (kind, size) = match self.disk.0.get(&inode)? {
            Content::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Content::Folder(_) => (FileType::Directory, 0),
        };
        let time = SystemTime::UNIX_EPOCH;
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Recorder {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Some(found) => reply.entry(&TTL, &found, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.live().attributes(ino.0) {
            Some(found) => reply.attr(&TTL, &found),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut live = self.live();
        if let Some(size) = size {
            live.record(Event::Cut {
                inode: ino.0,
                size: size as usize,
            });
        }
        match live.attributes(ino.0) {
            Some(found) => reply.attr(&TTL, &found),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.make(parent, name, true, None) {
            Ok(made) => reply.entry(&TTL, &made, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let flags = FopenFlags::empty();
        match self.make(parent, name, false, None) {
            Ok(made) => reply.created(&TTL, &made, Generation(0), FileHandle(0), flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        match self.make(newparent, newname, false, Some(ino)) {
            Ok(linked) => reply.entry(&TTL, &linked, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.live().record(Event::Remove {
            folder: parent.0,
            name: name.to_owned(),
        });
        reply.ok();
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.live().record(Event::Rename {
            from: (parent.0, name.to_owned()),
            to: (newparent.0, newname.to_owned()),
        });
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut live = self.live();
        if let Err(errno) = live.refuse_inode(Act::Read, ino.0, 0) {
            return reply.error(errno);
        }
        let bytes = live.disk.file(ino.0);
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + size as usize);
        reply.data(&bytes[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut live = self.live();
        if let Err(errno) = live.refuse_inode(Act::Write, ino.0, data.len()) {
            return reply.error(errno);
        }
        live.record(Event::Write {
            inode: ino.0,
            offset: offset as usize,
            data: data.to_vec(),
        });
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut live = self.live();
        if let Err(errno) = live.refuse_inode(Act::Sync, ino.0, 0) {
            live.lose_unsynced(ino.0);
            return reply.error(errno);
        }
        live.record(Event::Sync { inode: ino.0 });
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut live = self.live();
        if let Err(errno) = live.refuse_inode(Act::SyncFolder, ino.0, 0) {
            return reply.error(errno);
        }
        live.record(Event::SyncFolder { inode: ino.0 });
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut live = self.live();
        let names = live.disk.folder(ino.0).cloned().unwrap_or_default();
        for (index, (name, inode)) in names.iter().enumerate().skip(offset as usize) {
            let kind = match live.disk.0.get(inode) {
                Some(Content::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(*inode), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
