//! Files by path: what programs use that link this library.
//!
//! ```text
//!  program ─▶ Filesystem (paths) ─▶ fs::Volume (inodes and handles, as a kernel asks) ─▶ journal, store
//!                 └─ File, Replacement, Entries
//! ```

mod entries;
mod file;
mod location;
mod place;
mod replacement;

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;

use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::FileKind;
use crate::fs::Follow;
use crate::fs::IfTaken;
use crate::fs::Make;
use crate::fs::OpenMode;
use crate::fs::Options;
use crate::fs::Owner;
use crate::fs::RenameMode;
use crate::fs::SetAttributes;
use crate::fs::Status;
use crate::fs::Volume;
use crate::fs::XattrMode;
use crate::vault::Vault;

pub use crate::fs::Attributes as Metadata;
pub use entries::Entries;
pub use entries::Entry;
pub use file::File;
pub use file::OpenOptions;
pub use location::Location;
pub use replacement::Replacement;

use file::Open;
use file::STEP;
use place::components;

/// The files of a vault, by path.
///
/// Paths begin at the vault's root, with or without a slash. Symbolic links are followed within the vault, by every
/// method that does not say otherwise. What a method has changed when it returns is in memory; it reaches the journal on this
/// machine within a second, at once with [`sync`](Self::sync) or [`close`](Self::close), and survives a kill or a power cut then;
/// of what comes later, a beginning is kept. It is in the store after [`publish`](Self::publish), which happens by itself a few
/// seconds after the last change. A method whose future is dropped has done all of its work or none.
///
/// Clones share it. Nothing is checked against permissions: whoever can open the vault can read all of it.
#[derive(Clone)]
pub struct Filesystem {
    volume: Volume,
    runtime: tokio::runtime::Handle,
    owner: Owner,
}

impl Vault {
    /// The vault's files, with the usual settings. The runtime of the call does the work in the background.
    ///
    /// # Errors
    /// What the local disk or the store says, see [`Error`]; [`Error::Busy`] where another process has the vault open.
    ///
    /// ```
    /// # async fn example(vault: coffre::Vault) -> coffre::Result<()> {
    /// let files = vault.files().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn files(&self) -> Result<Filesystem> {
        self.files_with(self.options()?).await
    }

    /// The same with settings of one's own; [`options`](Self::options) has the usual ones.
    ///
    /// ```
    /// # async fn example(vault: coffre::Vault) -> coffre::Result<()> {
    /// let mut options = vault.options()?;
    /// options.memory = 128 << 20; // bytes
    /// let files = vault.files_with(options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn files_with(&self, options: Options) -> Result<Filesystem> {
        let volume = Volume::open(self.clone(), options).await?;
        Ok(Filesystem::of(volume))
    }
}

impl Filesystem {
    /// The files of an open volume, for programs that need both. To be called on the runtime that is to do the work.
    #[doc(hidden)]
    pub fn of(volume: Volume) -> Self {
        Self {
            volume,
            runtime: tokio::runtime::Handle::current(),
            owner: Owner {
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
                mode: 0,
                umask: 0o022,
            },
        }
    }

    /// The volume below: inodes and handles.
    #[doc(hidden)]
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// A whole file. It is in memory then; [`open`](Self::open) streams.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let notes = files.read("/notes.txt").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, path: impl AsRef<Path>) -> Result<Bytes> {
        self.read_range(path, 0..u64::MAX).await
    }

    /// The bytes of a file from `range.start` up to `range.end`, as far as there are any. Only what lies in the range is
    /// fetched.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let first_kilobyte = files.read_range("/film.mkv", 0..1000).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_range(&self, path: impl AsRef<Path>, range: Range<u64>) -> Result<Bytes> {
        let file = self.open(path).await?;
        file.read_at(range).await
    }

    /// Makes a file with this content, or replaces all of one: whoever reads meanwhile finds the old content or the new. A
    /// file that was there keeps its mode, owner and extended attributes.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.write("/notes.txt", "sealed before it leaves").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self, path: impl AsRef<Path>, content: impl Into<Bytes>) -> Result<()> {
        let (path, content) = (path.as_ref(), content.into());
        if content.len() > STEP {
            let replacement = self.replace(path).await?;
            replacement.file().write_at(0, content).await?;
            return replacement.commit().await.map(drop);
        }
        let place = self.place_of_target(path).await?;
        let owner = self.maker(0o666);
        let place = (place.folder, &place.name[..]);
        let written = self
            .volume
            .write_whole(place, &content, owner, IfTaken::Replace);
        written.await.map_err(|error| error.at(path))
    }

    /// As [`write`](Self::write), for content that comes by and by. Nothing shows before
    /// [`Replacement::commit`]; what is dropped before that leaves no trace.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let mut film = files.replace("/film.mkv").await?;
    /// film.write_all(b"...").await?;
    /// film.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace(&self, path: impl AsRef<Path>) -> Result<Replacement> {
        Replacement::begin(self, path.as_ref()).await
    }

    /// Opens a file for reading.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncReadExt;
    ///
    /// let mut film = files.open("/film.mkv").await?;
    /// let mut head = [0; 16];
    /// film.read_exact(&mut head).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(&self, path: impl AsRef<Path>) -> Result<File> {
        self.open_with(path, OpenOptions::new().read(true)).await
    }

    /// Opens a file in another way.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let appending = coffre::OpenOptions::new().append(true).create(true).to_owned();
    /// let log = files.open_with("/log", &appending).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_with(&self, path: impl AsRef<Path>, options: &OpenOptions) -> Result<File> {
        let path = path.as_ref();
        options
            .open(self, path)
            .await
            .map_err(|error| error.at(path))
    }

    /// What is in a folder, in no order that means anything; without `.` and `..`.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let mut entries = files.list("/photos").await?;
    /// while let Some(entry) = entries.next().await? {
    ///     println!("{}", entry.name().display());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, path: impl AsRef<Path>) -> Result<Entries> {
        let path = path.as_ref();
        let folder = self.find(path, Follow::Yes).await?;
        entries::list(self, folder.inode, path).await
    }

    /// Everything below a folder: each folder before what is in it. Symbolic links are shown, not followed.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let (mut all, mut bytes) = (files.walk("/").await?, 0);
    /// while let Some(entry) = all.next().await? {
    ///     bytes += entry.metadata.size;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn walk(&self, path: impl AsRef<Path>) -> Result<Entries> {
        Ok(entries::walk(self, self.list(path).await?))
    }

    /// What is known of a file or folder.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let film = files.metadata("/film.mkv").await?;
    /// println!("{} bytes, {:?}", film.size, film.modified());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.find(path.as_ref(), Follow::Yes).await
    }

    /// The same of a symbolic link itself, if it is one.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let is_link = files.symlink_metadata("/latest").await?.kind == coffre::FileKind::Symlink;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.find(path.as_ref(), Follow::No).await
    }

    /// Whether there is anything at the path.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// assert!(files.exists("/notes.txt").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        match self.metadata(path).await {
            Ok(_) => Ok(true),
            Err(error) => match error.refusal() {
                Some(Refusal::NoEntry | Refusal::NotDirectory) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Changes mode, owner, times or size.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let set = coffre::SetAttributes {
    ///     mode: Some(0o600),
    ///     mtime: Some(coffre::SetTime::Now),
    ///     ..Default::default()
    /// };
    /// files.set_metadata("/notes.txt", set).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_metadata(
        &self,
        path: impl AsRef<Path>,
        set: SetAttributes,
    ) -> Result<Metadata> {
        let path = path.as_ref();
        let found = self.find(path, Follow::Yes).await?;
        let changed = self.volume.set_attributes(found.inode, set).await;
        changed.map_err(|error| error.at(path))
    }

    /// Makes a folder.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.create_dir("/reports").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        self.make(path.as_ref(), Make::Directory, 0o777).await
    }

    /// Makes a folder and those above it, as far as they are not there.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.create_dir_all("/reports/2026/may").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut made = PathBuf::new();
        for name in components(path) {
            made.push(OsStr::from_bytes(name));
            match self.find(&made, Follow::Yes).await {
                Ok(found) if found.kind == FileKind::Directory => continue,
                Ok(_) => return Err(Error::from(Refusal::NotDirectory).at(&made)),
                Err(error) if error.refusal() == Some(Refusal::NoEntry) => {}
                Err(error) => return Err(error),
            }
            match self.create_dir(&made).await {
                // Somebody else did it.
                Err(error) if error.refusal() == Some(Refusal::Exists) => {}
                made => made?,
            }
        }
        Ok(())
    }

    /// Makes a symbolic link that leads to `target`.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.symlink("reports/2026", "/latest").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let target = target.as_ref().as_os_str().as_bytes().to_vec();
        self.make(path.as_ref(), Make::Symlink(target), 0o777).await
    }

    /// Where a symbolic link leads.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// assert_eq!(files.read_link("/latest").await?, std::path::Path::new("reports/2026"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let found = self.find(path, Follow::No).await?;
        let target = self.volume.read_link(found.inode).await;
        let target = target.map_err(|error| error.at(path))?;
        Ok(std::ffi::OsString::from_vec(target).into())
    }

    /// Gives a file or folder another name, in one step. What has that name already is replaced: a file, or an empty folder
    /// by a folder.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.rename("/draft.txt", "/final.txt").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let (source, target) = (self.place(from).await?, self.place(to).await?);
        let renamed = self.volume.rename(
            (source.folder, &source.name),
            (target.folder, &target.name),
            RenameMode::Replace,
        );
        renamed.await.map_err(|error| error.at(from))
    }

    /// A copy of a file that shares its content: neither time nor space for it is needed, whatever its size. Replaces what
    /// has the name, as [`write`](Self::write) does; a new file gets the mode of the source.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.copy("/film.mkv", "/film again.mkv").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let source = self.open(from).await?;
        let metadata = source.metadata().await?;
        let target = self.replace(to).await?;
        target.file().share(&source, metadata.size).await?;
        target.file().set_mode(metadata.mode & 0o777).await?;
        target.commit().await.map(drop)
    }

    /// Removes a file, a symbolic link or an empty folder.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.remove("/draft.txt").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let found = self.find(path, Follow::No).await?;
        let place = self.place(path).await?;
        let removed = if found.kind == FileKind::Directory {
            self.volume
                .remove_directory(place.folder, &place.name)
                .await
        } else {
            self.volume.unlink(place.folder, &place.name).await
        };
        removed.map_err(|error| error.at(path))
    }

    /// Removes a file or a folder with everything below. Dropped half-way, it has removed a part.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.remove_all("/reports/2025").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let found = self.find(path, Follow::No).await?;
        // What cannot be removed itself, as the root, keeps what is in it.
        self.place(path).await?;
        self.remove_tree(path, found).await
    }

    /// The value of an extended attribute.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let kind = files.xattr("/film.mkv", "user.mime_type").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<Bytes> {
        let path = path.as_ref();
        let found = self.find(path, Follow::Yes).await?;
        let value = self
            .volume
            .xattr(found.inode, name.as_ref().as_bytes())
            .await;
        value.map_err(|error| error.at(path))
    }

    /// Sets an extended attribute (names of at most 255 bytes that begin with `user.`, `trusted.`, `security.` or
    /// `system.posix_acl_`; values of at most 64 KiB).
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.set_xattr("/film.mkv", "user.mime_type", "video/x-matroska").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_xattr(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        let path = path.as_ref();
        let found = self.find(path, Follow::Yes).await?;
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref());
        let set = self
            .volume
            .set_xattr(found.inode, name, value, XattrMode::Set);
        set.await.map_err(|error| error.at(path))
    }

    /// The names of all extended attributes.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// for name in files.xattrs("/film.mkv").await? {
    ///     println!("{}", name.display());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<std::ffi::OsString>> {
        let path = path.as_ref();
        let found = self.find(path, Follow::Yes).await?;
        let names = self.volume.list_xattrs(found.inode).await;
        let names = names.map_err(|error| error.at(path))?;
        Ok(names
            .into_iter()
            .map(std::ffi::OsString::from_vec)
            .collect())
    }

    /// Removes an extended attribute.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.remove_xattr("/film.mkv", "user.mime_type").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_xattr(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
    ) -> Result<()> {
        let path = path.as_ref();
        let found = self.find(path, Follow::Yes).await?;
        let removed = self
            .volume
            .remove_xattr(found.inode, name.as_ref().as_bytes());
        removed.await.map_err(|error| error.at(path))
    }

    /// Waits until everything done so far survives a power cut, on the local disk.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.write("/ledger", "paid").await?;
    /// files.sync().await?; // survives a power cut from here on
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync(&self) -> Result<()> {
        self.volume.fsync().await
    }

    /// Uploads now, and waits until the store has everything done so far. [`status`](Self::status) shows beside it how far
    /// it is. Dropped, it goes on in the background.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.publish().await?;
    /// assert_eq!(files.status().unpublished_operations, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish(&self) -> Result<()> {
        self.volume.publish().await
    }

    /// What is not in the store yet, and what keeps it.
    ///
    /// ```
    /// # fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let status = files.status();
    /// println!("{} bytes wait for their upload", status.unpublished_bytes);
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Status {
        self.volume.status()
    }

    /// Publishes everything and ends the background work. The vault is free for another process when the last clone and the
    /// last open file of it are gone too. A file system that is dropped instead keeps what it has not published for the next time.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// files.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) -> Result<()> {
        self.volume.close().await
    }

    async fn remove_tree(&self, path: &Path, found: Metadata) -> Result<()> {
        use futures::TryStreamExt;
        if found.kind == FileKind::Directory {
            let entries = entries::list(self, found.inode, path).await?;
            let below: Vec<Entry> = entries.try_collect().await?;
            for entry in below {
                Box::pin(self.remove_tree(&entry.path, entry.metadata)).await?;
            }
        }
        self.remove(path).await
    }

    /// Whose is what is made with this mode.
    fn maker(&self, mode: u32) -> Owner {
        Owner { mode, ..self.owner }
    }

    async fn make(&self, path: &Path, what: Make, mode: u32) -> Result<()> {
        let place = self.place(path).await?;
        let owner = self.maker(mode);
        let made = self.volume.make(place.folder, &place.name, what, owner);
        made.await.map(drop).map_err(|error| error.at(path))
    }

    fn opened(&self, handle: crate::fs::Handle, path: &Path) -> Open {
        Open {
            volume: self.volume.clone(),
            runtime: self.runtime.clone(),
            handle,
            path: path.to_owned(),
        }
    }

    async fn open_inode(
        &self,
        inode: crate::fs::Inode,
        mode: OpenMode,
        path: &Path,
    ) -> Result<Open> {
        let handle = self.volume.open_file(inode, mode).await?;
        Ok(self.opened(handle, path))
    }
}
