//! Every FUSE request: its arguments are copied, the library is called, the answer is sent.
//!
//! A call is polled once where the request arrived; what needs nothing from disk or store is answered there,
//! without a hop to another thread. Everything else goes on in the runtime.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use coffre::Refusal;
use coffre::Result;
use coffre::fs::Attributes;
use coffre::fs::FileKind;
use coffre::fs::Handle;
use coffre::fs::Inode;
use coffre::fs::Listed;
use coffre::fs::Make;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::Privileges;
use coffre::fs::RenameMode;
use coffre::fs::Seek;
use coffre::fs::SetAttributes;
use coffre::fs::SetTime;
use coffre::fs::Volume;
use coffre::fs::XattrMode;
use fuser::CopyFileRangeFlags;
use fuser::Errno;
use fuser::FileHandle;
use fuser::Filesystem;
use fuser::FopenFlags;
use fuser::Generation;
use fuser::INodeNo;
use fuser::IoctlFlags;
use fuser::KernelConfig;
use fuser::LockOwner;
use fuser::Notifier;
use fuser::OpenFlags;
use fuser::RenameFlags;
use fuser::ReplyAttr;
use fuser::ReplyCreate;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use fuser::ReplyIoctl;
use fuser::ReplyLseek;
use fuser::ReplyOpen;
use fuser::ReplyStatfs;
use fuser::ReplyWrite;
use fuser::ReplyXattr;
use fuser::Request;
use fuser::TimeOrNow;
use fuser::WriteFlags;
use tokio::runtime::Handle as Runtime;

use crate::convert;
use crate::errno::errno;
use crate::kernel;
use crate::kernel::TTL;

const GENERATION: Generation = Generation(0);
/// What the names of attributes begin with that hold access lists.
const ACCESS_LISTS: &[u8] = b"system.posix_acl_";

/// Serves the requests of one mount.
pub(crate) struct Requests {
    vault: Volume,
    runtime: Runtime,
    /// There when the session is.
    notifier: Arc<OnceLock<Notifier>>,
}

impl Requests {
    pub(crate) fn new(vault: Volume, runtime: Runtime, notifier: Arc<OnceLock<Notifier>>) -> Self {
        Self {
            vault,
            runtime,
            notifier,
        }
    }

    /// Calls, and answers here if nothing has to be waited for.
    fn answer<T, C, F>(
        &self,
        call: C,
        reply: impl FnOnce(std::result::Result<T, Errno>) + Send + 'static,
    ) where
        T: Send + 'static,
        C: FnOnce(Volume) -> F,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.serve(call, |result| reply(result.map_err(|error| errno(&error))));
    }

    /// The same for a call that tells of its failure in its own way.
    fn serve<T, C, F>(&self, call: C, reply: impl FnOnce(T) + Send + 'static)
    where
        T: Send + 'static,
        C: FnOnce(Volume) -> F,
        F: Future<Output = T> + Send + 'static,
    {
        let _inside = self.runtime.enter();
        let mut call = Box::pin(call(self.vault.clone()));
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => reply(result),
            Poll::Pending => {
                self.runtime.spawn(async move { reply(call.await) });
            }
        }
    }

    fn sync(&self, reply: ReplyEmpty) {
        let _inside = self.runtime.enter();
        self.vault
            .fsync_then(|done| empty(reply, done.map_err(|error| errno(&error))));
    }

    fn make(&self, parent: INodeNo, name: &OsStr, make: Make, owner: Owner, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        self.answer(
            move |vault| async move { vault.make(Inode(parent.0), &name, make, owner).await },
            |made| entry(reply, made),
        );
    }
}

/// What was written is in the kernel's cache: data that looks like a hole from here. It comes when the kernel is told to
/// drop what it has of the file.
async fn write_back(notifier: Arc<OnceLock<Notifier>>, inode: INodeNo) {
    let tell = move || match notifier.get() {
        Some(notifier) => notifier.inval_inode(inode, 0, 0),
        None => Ok(()),
    };
    if let Ok(Err(error)) = tokio::task::spawn_blocking(tell).await {
        log::debug!("looked for holes with something unwritten: {error}");
    }
}

fn entry(reply: ReplyEntry, result: std::result::Result<Attributes, Errno>) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &convert::attributes(&attributes), GENERATION),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, result: std::result::Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// A value or its length, as getxattr and listxattr ask.
fn xattr(reply: ReplyXattr, size: u32, result: std::result::Result<Bytes, Errno>) {
    match result {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(error) => reply.error(error),
    }
}

fn owner(request: &Request, mode: u32, umask: u32) -> Owner {
    Owner {
        uid: request.uid(),
        gid: request.gid(),
        mode: mode & 0o7777,
        umask,
    }
}

/// The kernel says that set-id bits are to go with a flag that is not passed on: they stay where root changes the size.
fn privileges(request: &Request) -> Privileges {
    if request.uid() == 0 {
        Privileges::KeepSetId
    } else {
        Privileges::Clear
    }
}

impl Filesystem for Requests {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        kernel::negotiate(config, self.vault.requests_most());
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        self.answer(
            move |vault| async move { vault.lookup(Inode(parent.0), &name).await },
            |found| match found {
                // The kernel may keep that there is nothing, too: whoever else makes it is told to the kernel.
                Err(error) if error.code() == Errno::ENOENT.code() => {
                    reply.entry(&TTL, &convert::nothing(), GENERATION);
                }
                found => entry(reply, found),
            },
        );
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.answer(
            move |vault| async move { vault.attributes(Inode(ino.0)).await },
            |found| match found {
                Ok(attributes) => reply.attr(&TTL, &convert::attributes(&attributes)),
                Err(error) => reply.error(error),
            },
        );
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttributes {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(convert::set_time),
            mtime: mtime.map(convert::set_time),
            ctime: ctime.map(convert::timestamp),
            privileges: privileges(request),
        };
        // The kernel tells times of its own even of what was removed meanwhile, and a failure of that is one of the next syncfs.
        let asked =
            mode.is_some() || uid.is_some() || gid.is_some() || size.is_some() || atime.is_some();
        let late = mtime.is_some() && ctime.is_some() && !asked;
        self.answer(
            move |vault| async move { vault.set_attributes(Inode(ino.0), set).await },
            move |changed| match changed {
                Ok(attributes) => reply.attr(&TTL, &convert::attributes(&attributes)),
                Err(error) if late && error == Errno::ESTALE => {
                    reply.attr(&Duration::ZERO, &convert::nothing());
                }
                Err(error) => reply.error(error),
            },
        );
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.answer(
            move |vault| async move { vault.read_link(Inode(ino.0)).await },
            |target| match target {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(error),
            },
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let make = match convert::kind_of_mode(mode) {
            Some(FileKind::Regular) => Make::File,
            Some(kind) => Make::Special(kind, rdev),
            None => return reply.error(Errno::EINVAL),
        };
        self.make(parent, name, make, owner(request, mode, umask), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.make(
            parent,
            name,
            Make::Directory,
            owner(request, mode, umask),
            reply,
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        self.answer(
            move |vault| async move { vault.unlink(Inode(parent.0), &name).await },
            |done| empty(reply, done),
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        self.answer(
            move |vault| async move { vault.remove_directory(Inode(parent.0), &name).await },
            |done| empty(reply, done),
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes().to_vec();
        self.make(
            parent,
            name,
            Make::Symlink(target),
            owner(request, 0o777, 0),
            reply,
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return reply.error(Errno::EINVAL);
        };
        let (from, to) = (name.as_bytes().to_vec(), newname.as_bytes().to_vec());
        self.answer(
            move |vault| async move {
                vault
                    .rename((Inode(parent.0), &from), (Inode(newparent.0), &to), mode)
                    .await
            },
            |done| empty(reply, done),
        );
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let name = newname.as_bytes().to_vec();
        self.answer(
            move |vault| async move { vault.link(Inode(ino.0), Inode(newparent.0), &name).await },
            |linked| entry(reply, linked),
        );
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        // The kernel reads pages through write-only handles too; whether a program may is its business.
        let mode = match flags.acc_mode() {
            fuser::OpenAccMode::O_RDONLY => OpenMode::Read,
            _ => OpenMode::Write,
        };
        let truncates = flags.0 & TRUNCATE != 0;
        let privileges = privileges(request);
        self.answer(
            move |vault| async move {
                let handle = vault.open_file(Inode(ino.0), mode).await?;
                if truncates {
                    // What is empty already changes as well: so says O_TRUNC.
                    let empty = SetAttributes {
                        size: Some(0),
                        mtime: Some(SetTime::Now),
                        privileges,
                        ..SetAttributes::default()
                    };
                    if let Err(error) = vault.set_attributes(Inode(ino.0), empty).await {
                        vault.release(handle).await?;
                        return Err(error);
                    }
                }
                Ok(handle)
            },
            |opened| match opened {
                Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::FOPEN_KEEP_CACHE),
                Err(error) => reply.error(error),
            },
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (name, owner) = (name.as_bytes().to_vec(), owner(request, mode, umask));
        let may_be_there = flags & EXCLUSIVE == 0;
        self.answer(
            move |vault| async move { vault.create(Inode(parent.0), &name, owner).await },
            move |created| match created {
                Ok((attributes, handle)) => reply.created(
                    &TTL,
                    &convert::attributes(&attributes),
                    GENERATION,
                    FileHandle(handle.0),
                    FopenFlags::FOPEN_KEEP_CACHE,
                ),
                // The kernel was not told yet of what somebody else has made: it looks the name up anew, and opens that.
                Err(error) if may_be_there && error == Errno::EEXIST => reply.error(Errno::ESTALE),
                Err(error) => reply.error(error),
            },
        );
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer(
            move |vault| async move { vault.read(Handle(fh.0), offset, size).await },
            |bytes| match bytes {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(error),
            },
        );
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = data.len() as u32;
        let data = Bytes::copy_from_slice(data);
        let kills = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let held_back = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        self.answer(
            move |vault| async move {
                let handle = Handle(fh.0);
                match (kills, held_back) {
                    (true, _) => vault.write_kill_privileges(handle, offset, data).await,
                    (false, true) => vault.write_back(handle, offset, data).await,
                    (false, false) => vault.write(handle, offset, data).await,
                }
            },
            move |written| match written {
                Ok(()) => reply.written(length),
                Err(error) => reply.error(error),
            },
        );
    }

    /// The kernel has written everything back before it asks this, and locks are its own: with this answer it does not ask
    /// again, which saves each close a round trip.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.answer(
            move |vault| async move { vault.release(Handle(fh.0)).await },
            |done| empty(reply, done),
        );
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.answer(
            move |vault| async move { vault.open_directory(Inode(ino.0)).await },
            |opened| match opened {
                Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::FOPEN_KEEP_CACHE),
                Err(error) => reply.error(error),
            },
        );
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.serve(
            move |vault| async move {
                let visit = |entry: &Listed| {
                    let kind = convert::file_type(entry.kind);
                    let name = OsStr::from_bytes(&entry.name);
                    !reply.add(INodeNo(entry.inode.0), entry.cookie, kind, name)
                };
                let visited = vault.visit_directory(Handle(fh.0), offset, false, visit);
                (visited.await, reply)
            },
            |(visited, reply)| match visited {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.serve(
            move |vault| async move {
                let visit = |entry: &Listed| {
                    let Some(attributes) = &entry.attributes else {
                        return true;
                    };
                    let attributes = convert::attributes(attributes);
                    let name = OsStr::from_bytes(&entry.name);
                    let inode = INodeNo(entry.inode.0);
                    !reply.add(inode, entry.cookie, name, &TTL, &attributes, GENERATION)
                };
                let visited = vault.visit_directory(Handle(fh.0), offset, true, visit);
                (visited.await, reply)
            },
            |(visited, reply)| match visited {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.answer(
            move |vault| async move { vault.release(Handle(fh.0)).await },
            |done| empty(reply, done),
        );
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCK: u64 = 4096;
        self.answer(
            |vault| async move { vault.space().await },
            |space| match space {
                Ok(space) => {
                    let (used, free) = (space.used.div_ceil(BLOCK), space.free / BLOCK);
                    let inodes = space.inodes + u64::from(u32::MAX);
                    reply.statfs(
                        used + free,
                        free,
                        free,
                        inodes,
                        u64::from(u32::MAX),
                        BLOCK as u32,
                        255,
                        BLOCK as u32,
                    );
                }
                Err(error) => reply.error(error),
            },
        );
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            0 => XattrMode::Set,
            1 => XattrMode::Create,
            2 => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (name, value) = (name.as_bytes().to_vec(), value.to_vec());
        self.answer(
            move |vault| async move { vault.set_xattr(Inode(ino.0), &name, &value, mode).await },
            |done| empty(reply, done),
        );
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = name.as_bytes().to_vec();
        self.answer(
            move |vault| async move { vault.xattr(Inode(ino.0), &name).await },
            move |value| xattr(reply, size, value),
        );
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let trusted = request.uid() == 0;
        self.answer(
            move |vault| async move {
                let mut joined = Vec::new();
                for name in vault.list_xattrs(Inode(ino.0)).await? {
                    if !trusted && name.starts_with(b"trusted.") {
                        continue;
                    }
                    joined.extend_from_slice(&name);
                    joined.push(0);
                }
                Ok(Bytes::from(joined))
            },
            move |names| xattr(reply, size, names),
        );
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        self.answer(
            move |vault| async move {
                match vault.remove_xattr(Inode(ino.0), &name).await {
                    // A list that is not there was taken away.
                    Err(error)
                        if name.starts_with(ACCESS_LISTS) && errno(&error) == Errno::ENODATA =>
                    {
                        Ok(())
                    }
                    done => done,
                }
            },
            |done| empty(reply, done),
        );
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = convert::allocate(mode) else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        self.answer(
            move |vault| async move { vault.allocate(Handle(fh.0), mode, offset, length).await },
            |done| empty(reply, done),
        );
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let what = match whence {
            3 => Seek::Data,
            4 => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        let notifier = self.notifier.clone();
        self.answer(
            move |vault| async move {
                if vault.is_open_for_writing(Inode(ino.0)) {
                    write_back(notifier, ino).await;
                }
                let found = vault.seek(Handle(fh.0), what, offset).await?;
                i64::try_from(found).map_err(|_| Refusal::FileTooLarge.into())
            },
            |found| match found {
                Ok(offset) => reply.offset(offset),
                Err(error) => reply.error(error),
            },
        );
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The answer has 32 bits; programs call again for the rest.
        let length = len.min(1 << 30);
        self.answer(
            move |vault| async move {
                vault
                    .copy_range(
                        (Handle(fh_in.0), offset_in),
                        (Handle(fh_out.0), offset_out),
                        length,
                    )
                    .await
            },
            |copied| match copied {
                Ok(copied) => reply.written(copied as u32),
                Err(error) => reply.error(error),
            },
        );
    }
}

/// O_EXCL and O_TRUNC on Linux.
const EXCLUSIVE: i32 = 0o200;
const TRUNCATE: i32 = 0o1000;
