//! The limit of FUSE: a file system that keeps names and lengths in memory and content nowhere, with the same flags as
//! the drive. An fsync is one write of 4 KiB and one fdatasync of a file on the disk.
//!
//! `null MOUNT FILE` mounts it until it is unmounted.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
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
use fuser::InitFlags;
use fuser::KernelConfig;
use fuser::LockOwner;
use fuser::MountOption;
use fuser::OpenFlags;
use fuser::RenameFlags;
use fuser::ReplyAttr;
use fuser::ReplyCreate;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use fuser::ReplyOpen;
use fuser::ReplyWrite;
use fuser::ReplyXattr;
use fuser::Request;
use fuser::TimeOrNow;
use fuser::WriteFlags;

const TTL: Duration = Duration::from_secs(24 * 60 * 60);
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

struct Inode {
    attributes: FileAttr,
    children: BTreeMap<OsString, u64>,
}

struct Null {
    inodes: Mutex<BTreeMap<u64, Inode>>,
    disk: File,
}

fn attributes(inode: u64, kind: FileType, perm: u32) -> FileAttr {
    let now = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(inode),
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm: perm as u16 & 0o7777,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 128 * 1024,
        flags: 0,
    }
}

impl Null {
    fn inodes(&self) -> MutexGuard<'_, BTreeMap<u64, Inode>> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Option<FileAttr> {
        let inodes = self.inodes();
        let inode = inodes.get(&parent.0)?.children.get(name)?;
        Some(inodes.get(inode)?.attributes)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, kind: FileType, mode: u32) -> FileAttr {
        let mut inodes = self.inodes();
        let inode = inodes.last_key_value().map_or(2, |(last, _)| last + 1);
        let attributes = attributes(inode, kind, mode);
        inodes.insert(
            inode,
            Inode {
                attributes,
                children: BTreeMap::new(),
            },
        );
        if let Some(folder) = inodes.get_mut(&parent.0) {
            folder.children.insert(name.to_owned(), inode);
        }
        attributes
    }

    fn take(&self, parent: INodeNo, name: &OsStr) -> Option<u64> {
        self.inodes().get_mut(&parent.0)?.children.remove(name)
    }

    fn listed(&self, folder: INodeNo, offset: u64) -> Vec<(OsString, FileAttr)> {
        let inodes = self.inodes();
        let Some(folder) = inodes.get(&folder.0) else {
            return Vec::new();
        };
        let rest = folder.children.iter().skip(offset as usize).take(512);
        rest.filter_map(|(name, inode)| Some((name.clone(), inodes.get(inode)?.attributes)))
            .collect()
    }
}

impl Filesystem for Null {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in [
            InitFlags::FUSE_WRITEBACK_CACHE,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            let _ = config.add_capabilities(capability);
        }
        let _ = config.set_max_write(1024 * 1024);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Some(found) => reply.entry(&TTL, &found, Generation(0)),
            None => {
                let nothing = attributes(0, FileType::RegularFile, 0);
                reply.entry(&TTL, &nothing, Generation(0));
            }
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.inodes().get(&ino.0) {
            Some(found) => reply.attr(&TTL, &found.attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
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
        let mut inodes = self.inodes();
        let Some(found) = inodes.get_mut(&ino.0) else {
            return reply.error(Errno::ENOENT);
        };
        let changed = &mut found.attributes;
        changed.size = size.unwrap_or(changed.size);
        changed.perm = mode.map_or(changed.perm, |mode| mode as u16 & 0o7777);
        reply.attr(&TTL, changed);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make(parent, name, FileType::Directory, mode);
        reply.entry(&TTL, &made, Generation(0));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(parent, name, FileType::RegularFile, mode);
        let flags = FopenFlags::FOPEN_KEEP_CACHE;
        reply.created(&TTL, &made, Generation(0), FileHandle(0), flags);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        const TRUNCATE: i32 = 0o1000;
        if flags.0 & TRUNCATE != 0
            && let Some(found) = self.inodes().get_mut(&ino.0)
        {
            found.attributes.size = 0;
        }
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.take(parent, name) {
            Some(inode) => {
                self.inodes().remove(&inode);
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
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
        let Some(inode) = self.take(parent, name) else {
            return reply.error(Errno::ENOENT);
        };
        if let Some(folder) = self.inodes().get_mut(&newparent.0) {
            folder.children.insert(newname.to_owned(), inode);
        }
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
        let length = match self.inodes().get(&ino.0) {
            Some(found) => found.attributes.size,
            None => 0,
        };
        let rest = length.saturating_sub(offset).min(u64::from(size)) as usize;
        reply.data(&ZEROS[..rest.min(ZEROS.len())]);
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
        if let Some(found) = self.inodes().get_mut(&ino.0) {
            let size = &mut found.attributes.size;
            *size = (*size).max(offset + data.len() as u64);
        }
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self
            .disk
            .write_all_at(&ZEROS[..4096], 0)
            .and_then(|()| self.disk.sync_data());
        match synced {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (index, (name, found)) in (offset + 1..).zip(self.listed(ino, offset)) {
            if reply.add(found.ino, index, found.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        for (index, (name, found)) in (offset + 1..).zip(self.listed(ino, offset)) {
            if reply.add(found.ino, index, name, &TTL, &found, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENODATA);
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(mount), Some(disk)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("null MOUNT FILE");
    };
    let root = Inode {
        attributes: attributes(1, FileType::Directory, 0o755),
        children: BTreeMap::new(),
    };
    let null = Null {
        inodes: Mutex::new(BTreeMap::from([(1, root)])),
        disk: File::create(disk)?,
    };
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        MountOption::FSName("null".into()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
    ];
    config.n_threads = Some(4);
    config.clone_fd = true;
    Ok(fuser::mount(null, mount, &config)?)
}
