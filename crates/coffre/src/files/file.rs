//! An open file, with a place in it: for streaming, and for reading and writing here and there.

use std::io;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::AsyncRead;
use tokio::io::AsyncSeek;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::Filesystem;
use super::Metadata;
use super::place::Place;
use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::Follow;
use crate::fs::Handle;
use crate::fs::IfTaken;
use crate::fs::OpenMode;
use crate::fs::SetAttributes;
use crate::fs::Volume;

/// What one step of a stream reads or writes at most, in bytes; what is no longer is written by one transaction.
pub(super) const STEP: usize = 1024 * 1024;
/// What a range is read in, in bytes.
const PART: u64 = 4 * 1024 * 1024;

/// How a file is to be opened; as [`std::fs::OpenOptions`].
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
        }
    }
}

impl OpenOptions {
    /// Nothing is allowed yet.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().read(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Reading.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().read(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// Writing.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().write(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Writing at the end, wherever that is by then. Two that append at once must agree between themselves.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().append(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Emptying a file that is there.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().write(true).truncate(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Making a file that is not there.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().write(true).create(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Making a file, and nothing else: one that is there is an error.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().write(true).create_new(true).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Permission bits of a file that is made, less a umask of 022 [default: 0666].
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let options = coffre::OpenOptions::new().write(true).create(true).mode(0o600).to_owned();
    /// let file = files.open_with("/notes.txt", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    pub(super) async fn open(&self, files: &Filesystem, path: &Path) -> Result<File> {
        let writes = self.write || self.append;
        let only_reads = self.read && !(self.truncate || self.create || self.create_new);
        if !writes && !only_reads {
            return Err(Refusal::Invalid.into());
        }
        let open = if self.create || self.create_new {
            self.open_or_make(files, path).await?
        } else {
            let mode = if writes {
                OpenMode::Write
            } else {
                OpenMode::Read
            };
            loop {
                let found = files.find(path, Follow::Yes).await?;
                match files.open_inode(found.inode, mode, path).await {
                    // It was replaced since it was found.
                    Err(error) if error.refusal() == Some(Refusal::Stale) => {}
                    opened => break opened?,
                }
            }
        };
        let mut file = File::new(open);
        (file.read, file.append) = (self.read, self.append);
        if self.truncate {
            file.set_len(0).await?;
        }
        Ok(file)
    }

    async fn open_or_make(&self, files: &Filesystem, path: &Path) -> Result<Open> {
        let Place { folder, name } = files.place_of_target(path).await?;
        let owner = files.maker(self.mode);
        loop {
            match files.volume.create(folder, &name, owner).await {
                Ok((_, handle)) => return Ok(files.opened(handle, path)),
                Err(error) if error.refusal() == Some(Refusal::Exists) && !self.create_new => {}
                Err(error) => return Err(error),
            }
            match files.volume.lookup(folder, &name).await {
                Ok(found) => match files.open_inode(found.inode, OpenMode::Write, path).await {
                    Err(error) if error.refusal() == Some(Refusal::Stale) => {}
                    opened => return opened,
                },
                // It has just gone.
                Err(error) if error.refusal() == Some(Refusal::NoEntry) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A handle, released when nobody holds it any more.
pub(super) struct Open {
    pub(super) volume: Volume,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) handle: Handle,
    pub(super) path: PathBuf,
}

impl Open {
    async fn inode(&self) -> Result<Metadata> {
        let found = self.volume.attributes_of(self.handle).await;
        found.map_err(|error| error.at(&self.path))
    }

    async fn read(&self, offset: u64, size: u32) -> Result<Bytes> {
        let read = self.volume.read(self.handle, offset, size).await;
        read.map_err(|error| error.at(&self.path))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (volume, handle) = (self.volume.clone(), self.handle);
        self.runtime.spawn(async move {
            if let Err(error) = volume.release(handle).await {
                log::warn!("closing a file: {}", error.without_path());
            }
        });
    }
}

/// What a stream waits for.
enum Doing {
    Nothing,
    Reading(BoxFuture<'static, Result<Bytes>>),
    /// Goes on where the file is dropped.
    Writing(tokio::task::JoinHandle<Result<()>>),
    Measuring(BoxFuture<'static, Result<Metadata>>),
}

/// An open file. Reads, writes and seeks as [`tokio::fs::File`] does: a write is accepted before it is done, and whatever
/// follows waits for it and tells of its failure; [`flush`](tokio::io::AsyncWriteExt::flush) before letting go.
///
/// Small reads and writes cost a call each: wrap it in [`tokio::io::BufReader`] or [`tokio::io::BufWriter`].
pub struct File {
    open: Arc<Open>,
    read: bool,
    append: bool,
    position: u64,
    /// Shared by nobody: the lock lets the file be named from several threads.
    doing: Mutex<Doing>,
    /// Read, and not given out yet; begins at `position`.
    left: Bytes,
    /// Where a seek that was begun goes.
    seek: Option<SeekFrom>,
}

impl File {
    pub(super) fn new(open: Open) -> Self {
        Self {
            open: Arc::new(open),
            read: true,
            append: false,
            position: 0,
            doing: Mutex::new(Doing::Nothing),
            left: Bytes::new(),
            seek: None,
        }
    }

    /// The path that it was opened by.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let film = files.open("/film.mkv").await?;
    /// assert_eq!(film.path(), std::path::Path::new("/film.mkv"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn path(&self) -> &Path {
        &self.open.path
    }

    /// What is known of it, by whatever name it has now.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let film = files.open("/film.mkv").await?;
    /// println!("{} bytes", film.metadata().await?.size);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn metadata(&self) -> Result<Metadata> {
        self.open.inode().await
    }

    /// The bytes from `range.start` up to `range.end`, as far as there are any; wherever a stream is.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let film = files.open("/film.mkv").await?;
    /// let middle = film.read_at(1_000_000..1_004_096).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let size = self.metadata().await?.size;
        let range = range.start..range.end.min(size);
        let length = range.end.saturating_sub(range.start);
        if length <= PART {
            return match length {
                0 => Ok(Bytes::new()),
                _ => self.open.read(range.start, length as u32).await,
            };
        }
        let mut joined = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        self.read_parts(range, |part| joined.extend_from_slice(part))
            .await?;
        Ok(joined.freeze())
    }

    /// Fills memory of the caller's with the bytes from `offset` on; answers how many there were. Dropped, it has filled some.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let film = files.open("/film.mkv").await?;
    /// let mut memory = vec![0; 1 << 20];
    /// let filled = film.read_into(0, &mut memory).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_into(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let size = self.metadata().await?.size;
        let end = offset.saturating_add(into.len() as u64).min(size);
        let mut filled = 0;
        let fill = |part: &[u8]| {
            if let Some(room) = into.get_mut(filled..filled + part.len()) {
                room.copy_from_slice(part);
                filled += part.len();
            }
        };
        self.read_parts(offset..end, fill).await?;
        Ok(filled)
    }

    /// Hands over a range part by part, in order. Opening the next ones on other threads meanwhile was tried: waking those
    /// costs more than they save.
    async fn read_parts(&self, range: Range<u64>, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let size = (range.end - at).min(PART);
            let part = self.open.read(at, size as u32).await?;
            if part.is_empty() {
                break;
            }
            take(&part);
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Writes all of this at a place, wherever a stream is. Dropped half-way, it has written a beginning.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let disk = coffre::OpenOptions::new().write(true).to_owned();
    /// let disk = files.open_with("/disk.img", &disk).await?;
    /// disk.write_at(4096, "changed in place".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_at(&self, offset: u64, content: Bytes) -> Result<()> {
        let mut offset = offset;
        let mut content = content;
        while !content.is_empty() {
            let part = content.split_to(content.len().min(STEP));
            let length = part.len() as u64;
            let written = self.open.volume.write(self.open.handle, offset, part).await;
            written.map_err(|error| error.at(self.path()))?;
            offset += length;
        }
        Ok(())
    }

    /// Cuts it to this length, or extends it with zeros that take no room.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let disk = coffre::OpenOptions::new().write(true).create(true).to_owned();
    /// let disk = files.open_with("/disk.img", &disk).await?;
    /// disk.set_len(1 << 40).await?; // a tebibyte of zeros, which takes no room
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_len(&self, size: u64) -> Result<()> {
        let set = SetAttributes {
            size: Some(size),
            ..SetAttributes::default()
        };
        self.set(set).await
    }

    /// Waits until everything done so far, to whichever file, survives a power cut on the local disk.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let ledger = coffre::OpenOptions::new().append(true).create(true).to_owned();
    /// let mut ledger = files.open_with("/ledger", &ledger).await?;
    /// ledger.write_all(b"paid\n").await?;
    /// ledger.sync().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync(&mut self) -> Result<()> {
        self.settle().await?;
        self.open.volume.fsync().await
    }

    pub(super) async fn set_mode(&self, mode: u32) -> Result<()> {
        let set = SetAttributes {
            mode: Some(mode),
            ..SetAttributes::default()
        };
        self.set(set).await
    }

    async fn set(&self, set: SetAttributes) -> Result<()> {
        let inode = self.metadata().await?.inode;
        let set = self.open.volume.set_attributes(inode, set).await;
        set.map(drop).map_err(|error| error.at(self.path()))
    }

    /// Takes the content of another, up to this length, by sharing it.
    pub(super) async fn share(&self, source: &Self, length: u64) -> Result<()> {
        let mut at = 0;
        while at < length {
            let (from, to) = ((source.open.handle, at), (self.open.handle, at));
            let copied = self.open.volume.copy_range(from, to, length - at).await;
            match copied.map_err(|error| error.at(source.path()))? {
                0 => break,
                copied => at += copied,
            }
        }
        Ok(())
    }

    pub(super) async fn put_in_place(&self, place: &Place, taken: IfTaken) -> Result<()> {
        let Open { volume, handle, .. } = &*self.open;
        let named = (place.folder, &place.name[..]);
        let put = volume.put_in_place(*handle, named, taken).await;
        put.map_err(|error| error.at(self.path()))
    }

    /// Waits for a write that was accepted.
    pub(super) async fn settle(&mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_settle(cx)).await
    }

    fn doing(&mut self) -> &mut Doing {
        self.doing.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Doing::Writing(task) = self.doing() {
            let written = ready!(task.poll_unpin(cx));
            *self.doing() = Doing::Nothing;
            // A task that panicked or was cut off by the end of its runtime has written nothing for sure.
            written.unwrap_or_else(|error| {
                Err(Error::io("write", self.path(), io::Error::other(error)))
            })?;
        }
        Poll::Ready(Ok(()))
    }

    /// Begins one write and answers how much it took.
    fn begin_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<usize> {
        let taken = bytes.len().min(STEP);
        let content = Bytes::copy_from_slice(bytes.get(..taken).unwrap_or_default());
        let (open, position, append) = (self.open.clone(), self.position, self.append);
        let mut write = async move {
            let position = match append {
                true => open.inode().await?.size,
                false => position,
            };
            let written = open.volume.write(open.handle, position, content).await;
            written.map_err(|error| error.at(&open.path))
        }
        .boxed();
        // Nearly always it waits for nothing.
        match write.poll_unpin(cx) {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                let task = self.open.runtime.spawn(write);
                *self.doing() = Doing::Writing(task);
            }
        }
        self.position += taken as u64;
        Ok(taken)
    }
}

impl AsyncRead for File {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read {
            return Poll::Ready(Err(Error::from(Refusal::BadHandle).at(self.path()).into()));
        }
        ready!(self.poll_settle(cx))?;
        while into.remaining() > 0 {
            if !self.left.is_empty() {
                let length = self.left.len().min(into.remaining());
                into.put_slice(&self.left.split_to(length));
                self.position += length as u64;
                break;
            }
            if let Doing::Reading(read) = self.doing() {
                let bytes = ready!(read.poll_unpin(cx));
                *self.doing() = Doing::Nothing;
                self.left = bytes?;
                if self.left.is_empty() {
                    break;
                }
                continue;
            }
            let (open, position) = (self.open.clone(), self.position);
            let size = into.remaining().min(STEP) as u32;
            *self.doing() = Doing::Reading(async move { open.read(position, size).await }.boxed());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for File {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_settle(cx))?;
        *self.doing() = Doing::Nothing;
        self.left.clear();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Poll::Ready(self.begin_write(cx, bytes).map_err(io::Error::from))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_settle(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl AsyncSeek for File {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        self.seek = Some(to);
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        ready!(self.poll_settle(cx))?;
        let Some(to) = self.seek else {
            return Poll::Ready(Ok(self.position));
        };
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.position, by),
            SeekFrom::End(by) => {
                if !matches!(self.doing(), Doing::Measuring(_)) {
                    let open = self.open.clone();
                    *self.doing() = Doing::Measuring(async move { open.inode().await }.boxed());
                }
                let Doing::Measuring(measured) = self.doing() else {
                    return Poll::Pending;
                };
                let measured = ready!(measured.poll_unpin(cx));
                *self.doing() = Doing::Nothing;
                match measured {
                    Ok(found) => (found.size, by),
                    Err(error) => {
                        self.seek = None;
                        return Poll::Ready(Err(error.into()));
                    }
                }
            }
        };
        self.seek = None;
        let Some(position) = base.checked_add_signed(by) else {
            let error = Error::from(Refusal::Invalid).at(self.path());
            return Poll::Ready(Err(error.into()));
        };
        // What was read ahead belongs to another place.
        *self.doing() = Doing::Nothing;
        self.left.clear();
        self.position = position;
        Poll::Ready(Ok(position))
    }
}
