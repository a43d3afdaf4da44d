//! Into a vault: a file appears under its name when it is complete, never half.

use std::collections::HashMap;
use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use coffre::Error;
use coffre::Refusal;
use coffre::fs::Attributes;
use coffre::fs::Handle;
use coffre::fs::Make;
use coffre::fs::Owner;
use coffre::fs::RenameMode;
use coffre::fs::SetAttributes;
use coffre::fs::Volume;
use coffre::fs::XattrMode;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;
use indicatif::ProgressBar;
use tokio::task::block_in_place;

use crate::interrupt;
use crate::names::Name;
use crate::transfer::CHUNK;
use crate::transfer::Report;
use crate::transfer::advance;
use crate::transfer::chunk_at;
use crate::transfer::local;
use crate::tree;

/// An upload of one or more sources.
pub struct Upload<'a> {
    filesystem: &'a Volume,
    bar: &'a ProgressBar,
    /// Inodes of files with several names, by device and number on this machine.
    links: HashMap<(u64, u64), Inode>,
    report: Report,
}

/// Where something goes.
#[derive(Clone)]
struct Goal {
    folder: Inode,
    name: Vec<u8>,
    path: Name,
}

/// Bytes of a file, or of all files below a folder, without holes; unreadable things count nothing.
pub fn local_size(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        return entries.map(|entry| local_size(&entry.path())).sum();
    }
    if metadata.is_file() {
        return metadata.len().min(metadata.blocks() * 512);
    }
    0
}

impl<'a> Upload<'a> {
    /// Nothing uploaded yet.
    pub fn new(filesystem: &'a Volume, bar: &'a ProgressBar) -> Self {
        Self {
            filesystem,
            bar,
            links: HashMap::new(),
            report: Report::default(),
        }
    }

    /// What was done.
    pub fn report(self) -> Report {
        self.report
    }

    /// A file or folder with all below, as `name` in `folder`. A folder that is there already is filled.
    pub async fn put(
        &mut self,
        source: &Path,
        folder: Inode,
        name: &[u8],
        path: &Name,
    ) -> anyhow::Result<()> {
        let goal = Goal {
            folder,
            name: name.to_vec(),
            path: path.clone(),
        };
        self.any(source, goal).await
    }

    /// A stream of unknown length, as a file.
    pub async fn put_stream(
        &mut self,
        mut source: impl Read,
        folder: Inode,
        name: &[u8],
        path: &Name,
        owner: Owner,
    ) -> anyhow::Result<()> {
        let goal = Goal {
            folder,
            name: name.to_vec(),
            path: path.clone(),
        };
        let (inode, handle, temporary) = self.begin(&goal, owner).await?;
        let written = self.stream(&mut source, handle).await;
        self.filesystem.release(handle).await?;
        self.finish(goal, inode, temporary, written).await?;
        self.report.files += 1;
        Ok(())
    }

    async fn any(&mut self, source: &Path, goal: Goal) -> anyhow::Result<()> {
        interrupt::check()?;
        let metadata =
            std::fs::symlink_metadata(source).map_err(|error| Error::io("read", source, error))?;
        let linked = (metadata.dev(), metadata.ino());
        let shared = metadata.nlink() > 1 && !metadata.is_dir();
        if let Some(inode) = self.links.get(&linked).filter(|_| shared) {
            let inode = *inode;
            return self.link(inode, goal).await;
        }
        let inode = match local::kind(&metadata) {
            FileKind::Directory => return self.folder(source, &metadata, goal).await,
            FileKind::Regular => self.file(source, goal).await?,
            kind => self.other(source, &metadata, kind, goal).await?,
        };
        if shared {
            self.links.insert(linked, inode);
        }
        self.report.files += 1;
        Ok(())
    }

    async fn folder(
        &mut self,
        source: &Path,
        metadata: &Metadata,
        goal: Goal,
    ) -> anyhow::Result<()> {
        let fail = |error| Error::io("list", source, error);
        let mut entries = std::fs::read_dir(source)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            .map_err(fail)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let made = self
            .filesystem
            .make(goal.folder, &goal.name, Make::Directory, owner(metadata))
            .await;
        let inode = match made {
            Ok(made) => made.inode,
            Err(Error::Refused(Refusal::Exists)) => self.existing_folder(&goal).await?,
            Err(error) => return Err(tree::of(&goal.path, error)),
        };
        for entry in entries {
            let name = entry.file_name();
            let goal = Goal {
                folder: inode,
                name: name.as_bytes().to_vec(),
                path: goal.path.join(name.as_bytes()),
            };
            Box::pin(self.any(&entry.path(), goal)).await?;
        }
        self.report.folders += 1;
        // Last, because every entry made in it changes its time.
        self.dress(source, metadata, inode, &goal.path).await
    }

    async fn existing_folder(&self, goal: &Goal) -> anyhow::Result<Inode> {
        let found = self.filesystem.lookup(goal.folder, &goal.name).await?;
        match found.kind {
            FileKind::Directory => Ok(found.inode),
            _ => Err(tree::of(&goal.path, Refusal::NotDirectory.into())),
        }
    }

    async fn file(&mut self, source: &Path, goal: Goal) -> anyhow::Result<Inode> {
        let fail = |error| Error::io("read", source, error);
        // Not through a symlink that took the file's place since it was looked at.
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
        let flags = i32::try_from(nofollow).unwrap_or(0);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(source)
            .map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        let (inode, handle, temporary) = self.begin(&goal, owner(&metadata)).await?;
        let written = self
            .content(source, &file, metadata.len(), handle, inode)
            .await;
        self.filesystem.release(handle).await?;
        let dressed = match written {
            Ok(()) => self.dress(source, &metadata, inode, &goal.path).await,
            failed => failed,
        };
        self.finish(goal, inode, temporary, dressed).await?;
        Ok(inode)
    }

    async fn content(
        &mut self,
        source: &Path,
        file: &File,
        size: u64,
        handle: Handle,
        inode: Inode,
    ) -> anyhow::Result<()> {
        let fail = |error| Error::io("read", source, error);
        let mut offset = 0;
        while let Some((begin, end)) =
            block_in_place(|| local::next_data(file, offset, size)).map_err(fail)?
        {
            offset = begin;
            while offset < end {
                interrupt::check()?;
                let bytes = block_in_place(|| read_at(file, offset, chunk_at(offset, end)))
                    .map_err(fail)?;
                if bytes.is_empty() {
                    break;
                }
                let length = bytes.len() as u64;
                self.filesystem.write(handle, offset, bytes).await?;
                offset += length;
                advance(&mut self.report, self.bar, length);
            }
            if offset < end {
                break; // it became shorter meanwhile
            }
        }
        // A hole at the end.
        let set = SetAttributes {
            size: Some(size),
            ..SetAttributes::default()
        };
        self.filesystem.set_attributes(inode, set).await?;
        Ok(())
    }

    async fn stream(&mut self, source: &mut impl Read, handle: Handle) -> anyhow::Result<()> {
        let mut offset = 0;
        loop {
            interrupt::check()?;
            let read = block_in_place(|| {
                let mut bytes = Vec::new();
                source.take(CHUNK).read_to_end(&mut bytes).map(|_| bytes)
            });
            let bytes = read.map_err(|error| Error::io("read", "standard input", error))?;
            if bytes.is_empty() {
                return Ok(());
            }
            let length = bytes.len() as u64;
            self.filesystem.write(handle, offset, bytes.into()).await?;
            offset += length;
            advance(&mut self.report, self.bar, length);
        }
    }

    /// An empty file under a name of its own, in the folder where it will appear.
    async fn begin(&self, goal: &Goal, owner: Owner) -> anyhow::Result<(Inode, Handle, Vec<u8>)> {
        for number in 0u32.. {
            let name = format!(".coffre-put-{}-{number}", std::process::id()).into_bytes();
            match self.filesystem.create(goal.folder, &name, owner).await {
                Ok((made, handle)) => return Ok((made.inode, handle, name)),
                Err(Error::Refused(Refusal::Exists)) => {}
                Err(error) => return Err(tree::of(&goal.path, error)),
            }
        }
        Err(tree::of(&goal.path, Refusal::Exists.into()))
    }

    /// Gives a complete file its name, or takes a half one away.
    async fn finish(
        &mut self,
        goal: Goal,
        inode: Inode,
        temporary: Vec<u8>,
        written: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let named = match written {
            Ok(()) => {
                let (from, to) = ((goal.folder, &temporary[..]), (goal.folder, &goal.name[..]));
                let renamed = self.filesystem.rename(from, to, RenameMode::Replace).await;
                renamed.map_err(|error| tree::of(&goal.path, error))
            }
            failed => failed,
        };
        if named.is_err() {
            log_failure(inode, self.filesystem.unlink(goal.folder, &temporary).await);
        }
        named
    }

    async fn link(&mut self, inode: Inode, goal: Goal) -> anyhow::Result<()> {
        self.clear(&goal).await?;
        let linked = self.filesystem.link(inode, goal.folder, &goal.name).await;
        linked.map_err(|error| tree::of(&goal.path, error))?;
        self.report.files += 1;
        Ok(())
    }

    /// A symlink, fifo, socket or device node.
    async fn other(
        &mut self,
        source: &Path,
        metadata: &Metadata,
        kind: FileKind,
        goal: Goal,
    ) -> anyhow::Result<Inode> {
        let make = if kind == FileKind::Symlink {
            let target =
                std::fs::read_link(source).map_err(|error| Error::io("read", source, error))?;
            Make::Symlink(target.as_os_str().as_bytes().to_vec())
        } else {
            // Device numbers of files that a vault can hold fit into 32 bits.
            Make::Special(kind, u32::try_from(metadata.rdev()).unwrap_or(0))
        };
        self.clear(&goal).await?;
        let made = self
            .filesystem
            .make(goal.folder, &goal.name, make, owner(metadata))
            .await;
        let made: Attributes = made.map_err(|error| tree::of(&goal.path, error))?;
        self.dress(source, metadata, made.inode, &goal.path).await?;
        Ok(made.inode)
    }

    /// Removes what has the name, if it is no folder.
    async fn clear(&self, goal: &Goal) -> anyhow::Result<()> {
        match self.filesystem.unlink(goal.folder, &goal.name).await {
            Ok(()) | Err(Error::Refused(Refusal::NoEntry)) => Ok(()),
            Err(error) => Err(tree::of(&goal.path, error)),
        }
    }

    /// Extended attributes, mode and times; times last.
    async fn dress(
        &mut self,
        source: &Path,
        metadata: &Metadata,
        inode: Inode,
        path: &Name,
    ) -> anyhow::Result<()> {
        match local::xattrs(source) {
            Ok(xattrs) => {
                for (name, value) in xattrs {
                    let set = self
                        .filesystem
                        .set_xattr(inode, &name, &value, XattrMode::Set)
                        .await;
                    match set {
                        Err(Error::Refused(refusal)) => {
                            let name = Name(name);
                            self.report
                                .note(format!("{path}: attribute {name} is not kept: {refusal}"));
                        }
                        other => other.map_err(|error| tree::of(path, error))?,
                    }
                }
            }
            Err(error) => {
                let source = source.display();
                self.report.note(format!(
                    "{source}: extended attributes cannot be read: {error}"
                ));
            }
        }
        let set = local::attributes(metadata);
        let dressed = self.filesystem.set_attributes(inode, set).await;
        dressed.map(|_| ()).map_err(|error| tree::of(path, error))
    }
}

fn owner(metadata: &Metadata) -> Owner {
    Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        umask: 0,
    }
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

fn log_failure(inode: Inode, removed: coffre::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!("a half-written file (inode {}) is left: {error}", inode.0);
    }
}
