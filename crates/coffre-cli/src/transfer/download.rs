//! Out of a vault: folders first, then files in parallel, then the folders' own times.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use coffre::Error;
use coffre::Refusal;
use coffre::fs::Attributes;
use coffre::fs::Handle;
use coffre::fs::OpenMode;
use coffre::fs::Seek;
use coffre::fs::Volume;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use futures::TryStreamExt;
use indicatif::ProgressBar;
use tokio::task::block_in_place;

use crate::interrupt;
use crate::names::Name;
use crate::transfer::Report;
use crate::transfer::advance;
use crate::transfer::chunk_at;
use crate::transfer::local;
use crate::tree;

/// Files fetched at the same time.
const PARALLEL: usize = 8;

/// A download of one or more paths.
pub struct Download<'a> {
    filesystem: &'a Volume,
    bar: &'a ProgressBar,
    report: Mutex<Report>,
}

/// One thing to fetch.
struct Job {
    path: Name,
    local: PathBuf,
    found: Attributes,
}

/// What is to be done, in this order.
#[derive(Default)]
struct Plan {
    files: Vec<Job>,
    links: Vec<(PathBuf, PathBuf)>,
    folders: Vec<Job>,
    /// First local name of files with several.
    first: BTreeMap<Inode, PathBuf>,
}

impl<'a> Download<'a> {
    /// Nothing downloaded yet.
    pub fn new(filesystem: &'a Volume, bar: &'a ProgressBar) -> Self {
        Self {
            filesystem,
            bar,
            report: Mutex::default(),
        }
    }

    /// What was done.
    pub fn report(self) -> Report {
        self.report
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A file or folder with all below. A folder that is there already is filled.
    pub async fn get(&self, path: Name, found: Attributes, local: PathBuf) -> anyhow::Result<()> {
        let mut plan = Plan::default();
        self.plan(&mut plan, Job { path, local, found }).await?;
        futures::stream::iter(plan.files.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |job| self.fetch(job))
            .await?;
        for (first, other) in &plan.links {
            replace(other, |temporary| std::fs::hard_link(first, temporary))?;
            self.with_report(|report| report.files += 1);
        }
        // Inner folders first: what is made in a folder changes its time.
        for job in plan.folders.iter().rev() {
            self.dress(job).await?;
            self.with_report(|report| report.folders += 1);
        }
        Ok(())
    }

    /// Content as a stream.
    pub async fn stream(
        &self,
        path: &Name,
        found: Attributes,
        out: &mut impl io::Write,
    ) -> anyhow::Result<()> {
        if found.kind != FileKind::Regular {
            return Err(match found.kind {
                FileKind::Directory => tree::of(path, Refusal::IsDirectory.into()),
                _ => tree::refused(Refusal::Invalid, format!("{path} is no regular file")),
            });
        }
        let handle = self
            .filesystem
            .open_file(found.inode, OpenMode::Read)
            .await?;
        let mut offset = 0;
        let streamed = loop {
            let chunk = chunk_at(offset, u64::MAX) as u32;
            let bytes = match self.filesystem.read(handle, offset, chunk).await {
                Ok(bytes) if bytes.is_empty() => break Ok(()),
                Ok(bytes) => bytes,
                Err(error) => break Err(tree::of(path, error)),
            };
            match block_in_place(|| out.write_all(&bytes)) {
                Ok(()) => offset += bytes.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break Ok(()),
                Err(error) => break Err(Error::io("write", "standard output", error).into()),
            }
        };
        self.filesystem.release(handle).await?;
        streamed
    }

    async fn plan(&self, plan: &mut Plan, job: Job) -> anyhow::Result<()> {
        if job.found.kind != FileKind::Directory {
            if job.found.nlink > 1 {
                if let Some(first) = plan.first.get(&job.found.inode) {
                    plan.links.push((first.clone(), job.local));
                    return Ok(());
                }
                plan.first.insert(job.found.inode, job.local.clone());
            }
            plan.files.push(job);
            return Ok(());
        }
        let mut folders = vec![job];
        while let Some(job) = folders.pop() {
            interrupt::check()?;
            make_folder(&job.local)?;
            let mut listing = tree::Listing::open(self.filesystem, job.found.inode).await?;
            while let Some((name, found)) = listing.next().await? {
                let below = Job {
                    path: job.path.join(&name),
                    local: job.local.join(std::ffi::OsStr::from_bytes(&name)),
                    found,
                };
                match found.kind {
                    FileKind::Directory => folders.push(below),
                    _ => Box::pin(self.plan(plan, below)).await?,
                }
            }
            listing.close().await?;
            plan.folders.push(job);
        }
        Ok(())
    }

    async fn fetch(&self, job: &Job) -> anyhow::Result<()> {
        interrupt::check()?;
        let temporary = temporary(&job.local);
        let fetched = match job.found.kind {
            FileKind::Regular => self.file(job, &temporary).await.map(|()| true),
            FileKind::Symlink => self.symlink(job, &temporary).await.map(|()| true),
            _ => self.special(job, &temporary).await,
        };
        let done = match fetched {
            Ok(true) => std::fs::rename(&temporary, &job.local)
                .map_err(|error| Error::io("replace", &job.local, error).into()),
            Ok(false) => return Ok(()),
            Err(error) => Err(error),
        };
        if done.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        self.with_report(|report| report.files += u64::from(done.is_ok()));
        done
    }

    async fn file(&self, job: &Job, temporary: &Path) -> anyhow::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temporary)
            .map_err(|error| Error::io("create", temporary, error))?;
        let handle = self
            .filesystem
            .open_file(job.found.inode, OpenMode::Read)
            .await;
        let handle = handle.map_err(|error| tree::of(&job.path, error))?;
        let copied = self.content(job, handle, &file).await;
        self.filesystem.release(handle).await?;
        copied?;
        self.xattrs(job, temporary).await?;
        let fail = |error| Error::io("set attributes of", &job.local, error);
        let found = &job.found;
        local::give_to(temporary, found.uid, found.gid).map_err(fail)?;
        let mode = std::fs::Permissions::from_mode(found.mode & self.mode_mask());
        file.set_permissions(mode).map_err(fail)?;
        local::set_times(&file, found.atime, found.mtime).map_err(fail)?;
        Ok(())
    }

    async fn content(&self, job: &Job, handle: Handle, file: &File) -> anyhow::Result<()> {
        let fail = |error| Error::io("write", &job.local, error);
        let size = job.found.size;
        file.set_len(size).map_err(fail)?;
        let mut offset = 0;
        while offset < size {
            interrupt::check()?;
            offset = match self.filesystem.seek(handle, Seek::Data, offset).await {
                Ok(data) => data,
                Err(Error::Refused(Refusal::NothingThere)) => break,
                Err(error) => return Err(tree::of(&job.path, error)),
            };
            let hole = self.filesystem.seek(handle, Seek::Hole, offset).await;
            let end = hole.map_err(|error| tree::of(&job.path, error))?.min(size);
            while offset < end {
                interrupt::check()?;
                let chunk = u32::try_from(chunk_at(offset, end)).expect("a chunk is small");
                let read = self.filesystem.read(handle, offset, chunk).await;
                let bytes = read.map_err(|error| tree::of(&job.path, error))?;
                if bytes.is_empty() {
                    return Ok(());
                }
                block_in_place(|| file.write_all_at(&bytes, offset)).map_err(fail)?;
                offset += bytes.len() as u64;
                self.with_report(|report| advance(report, self.bar, bytes.len() as u64));
            }
        }
        Ok(())
    }

    async fn symlink(&self, job: &Job, temporary: &Path) -> anyhow::Result<()> {
        let target = self.filesystem.read_link(job.found.inode).await?;
        let fail = |error| Error::io("create", &job.local, error);
        std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), temporary)
            .map_err(fail)?;
        local::give_to(temporary, job.found.uid, job.found.gid).map_err(fail)?;
        local::set_times_of(temporary, job.found.atime, job.found.mtime).map_err(fail)?;
        Ok(())
    }

    /// False where only root could make it.
    async fn special(&self, job: &Job, temporary: &Path) -> anyhow::Result<bool> {
        let found = &job.found;
        let fail = |error| Error::io("create", &job.local, error);
        if !local::make_special(temporary, found.kind, found.mode, found.rdev).map_err(fail)? {
            let path = &job.path;
            self.with_report(|report| {
                report.note(format!("{path}: only root can make device nodes; left out"))
            });
            return Ok(false);
        }
        local::give_to(temporary, found.uid, found.gid).map_err(fail)?;
        local::set_times_of(temporary, found.atime, found.mtime).map_err(fail)?;
        Ok(true)
    }

    async fn dress(&self, job: &Job) -> anyhow::Result<()> {
        let fail = |error| Error::io("set attributes of", &job.local, error);
        self.xattrs(job, &job.local).await?;
        local::give_to(&job.local, job.found.uid, job.found.gid).map_err(fail)?;
        let folder = File::open(&job.local).map_err(fail)?;
        let mode = std::fs::Permissions::from_mode(job.found.mode & self.mode_mask());
        folder.set_permissions(mode).map_err(fail)?;
        local::set_times(&folder, job.found.atime, job.found.mtime).map_err(fail)?;
        Ok(())
    }

    /// A file that does not go to its owner must not run as another one.
    fn mode_mask(&self) -> u32 {
        if local::is_root() { 0o7777 } else { 0o1777 }
    }

    async fn xattrs(&self, job: &Job, local: &Path) -> anyhow::Result<()> {
        let inode = job.found.inode;
        for name in self.filesystem.list_xattrs(inode).await? {
            let value = self.filesystem.xattr(inode, &name).await?;
            let set = local::set_xattr(local, &name, &value);
            if !set.map_err(|error| Error::io("set an attribute of", &job.local, error))? {
                let (path, name) = (&job.path, Name(name));
                self.with_report(|report| {
                    report.note(format!("{path}: attribute {name} cannot be kept here"))
                });
            }
        }
        Ok(())
    }

    fn with_report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A folder that is there is taken, but not through a symlink.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there =
                std::fs::symlink_metadata(path).map_err(|error| Error::io("read", path, error))?;
            match there.is_dir() {
                true => Ok(()),
                false => Err(Error::io("create", path, error).into()),
            }
        }
        made => made.map_err(|error| Error::io("create", path, error).into()),
    }
}

/// A name beside the final one, on the same file system; no two of one process are the same.
fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".coffre-get-{}-{number}", std::process::id()))
}

fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> anyhow::Result<()> {
    let temporary = temporary(path);
    make(&temporary).map_err(|error| Error::io("create", path, error))?;
    // rename() does nothing where both names are of one file already.
    let renamed = std::fs::rename(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    Ok(renamed.map_err(|error| Error::io("create", path, error))?)
}
