//! The requests of the kernel, answered from names and lengths in memory.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use coffre_fuse::kernel;
use coffre_fuse::kernel::TTL;
use fuser::BsdFileFlags;
use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::Filesystem;
use fuser::FopenFlags;
use fuser::Generation;
use fuser::INodeNo;
use fuser::KernelConfig;
use fuser::LockOwner;
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

use crate::tree::Tree;

/// Requests that may wait at a time, as with a drive at its default bound of memory.
const REQUESTS_MOST: usize = 42;
const GENERATION: Generation = Generation(0);
const HANDLE: FileHandle = FileHandle(0);
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Serves one mount.
pub struct Null {
    pub tree: Tree,
    /// Who owns everything.
    pub uid: u32,
    pub gid: u32,
    /// What an fsync writes to.
    pub disk: File,
}

impl Null {
    fn attributes(&self, number: u64) -> FileAttr {
        let inode = self.tree.inode(number);
        let kind = if inode.is_folder() {
            FileType::Directory
        } else {
            FileType::RegularFile
        };
        let size = inode.length.load(Relaxed);
        FileAttr {
            size,
            blocks: size.div_ceil(512),
            kind,
            perm: inode.permissions.load(Relaxed),
            uid: self.uid,
            gid: self.gid,
            ..attributes(number)
        }
    }

    /// Names something new; whether its parent is a folder was asked by the kernel.
    fn name(&self, parent: INodeNo, name: &OsStr, number: u64) -> FileAttr {
        if let Some(mut names) = self.tree.inode(parent.0).names_mut() {
            names.insert(name.into(), number);
        }
        self.attributes(number)
    }

    fn sync(&self, reply: ReplyEmpty) {
        let written = self.disk.write_all_at(&ZEROS[..4096], 0);
        match written.and_then(|()| self.disk.sync_data()) {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}

/// Of an empty file at the beginning of time.
fn attributes(number: u64) -> FileAttr {
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 128 * 1024,
        flags: 0,
    }
}

fn permissions(mode: u32) -> u16 {
    mode as u16 & 0o7777
}

impl Filesystem for Null {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        kernel::negotiate(config, REQUESTS_MOST);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let names = self.tree.inode(parent.0).names();
        let found = match names.and_then(|names| names.find(name)) {
            Some(number) => self.attributes(number),
            // That there is nothing may be kept, too.
            None => attributes(0),
        };
        reply.entry(&TTL, &found, GENERATION);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(ino.0));
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
        let inode = self.tree.inode(ino.0);
        if let Some(size) = size {
            inode.length.store(size, Relaxed);
        }
        if let Some(mode) = mode {
            inode.permissions.store(permissions(mode), Relaxed);
        }
        reply.attr(&TTL, &self.attributes(ino.0));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.tree.make_folder(permissions(mode & !umask));
        reply.entry(&TTL, &self.name(parent, name, made), GENERATION);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.tree.make_file(permissions(mode & !umask));
        let made = self.name(parent, name, made);
        let flags = FopenFlags::FOPEN_KEEP_CACHE;
        reply.created(&TTL, &made, GENERATION, HANDLE, flags);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        const TRUNCATE: i32 = 0o1000;
        if flags.0 & TRUNCATE != 0 {
            self.tree.inode(ino.0).length.store(0, Relaxed);
        }
        reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let names = self.tree.inode(parent.0).names_mut();
        match names.and_then(|mut names| names.remove(name)) {
            Some(_) => reply.ok(),
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
        // One folder at a time: nobody looks for a name that the kernel is moving.
        let names = self.tree.inode(parent.0).names_mut();
        let Some(number) = names.and_then(|mut names| names.remove(name)) else {
            return reply.error(Errno::ENOENT);
        };
        self.name(newparent, newname, number);
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
        let length = self.tree.inode(ino.0).length.load(Relaxed);
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
        let end = offset + data.len() as u64;
        self.tree.inode(ino.0).length.fetch_max(end, Relaxed);
        reply.written(data.len() as u32);
    }

    /// As the drive answers: the kernel does not ask again.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
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
        self.sync(reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(names) = self.tree.inode(ino.0).names() else {
            return reply.error(Errno::ENOTDIR);
        };
        for (name, number, next) in names.listed(offset) {
            let kind = self.attributes(number).kind;
            if reply.add(INodeNo(number), next, kind, name) {
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
        let Some(names) = self.tree.inode(ino.0).names() else {
            return reply.error(Errno::ENOTDIR);
        };
        for (name, number, next) in names.listed(offset) {
            let found = self.attributes(number);
            if reply.add(found.ino, next, name, &TTL, &found, GENERATION) {
                break;
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENODATA);
    }
}
