//! Content that takes the place of a file all at once.

use std::path::Path;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncWrite;

use super::File;
use super::Filesystem;
use super::Metadata;
use super::place::Place;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::FileKind;
use crate::fs::IfTaken;

/// A file in the making, which nobody sees. [`commit`](Self::commit) puts it in its place; dropped before, it is gone, as it is
/// when the process ends.
pub struct Replacement {
    file: File,
    place: Place,
}

impl Replacement {
    pub(super) async fn begin(files: &Filesystem, path: &Path) -> Result<Self> {
        let begun = Self::make(files, path).await;
        begun.map_err(|error| error.at(path))
    }

    async fn make(files: &Filesystem, path: &Path) -> Result<Self> {
        let place = files.place_of_target(path).await?;
        // Said now rather than when all is written.
        match files.volume.lookup(place.folder, &place.name).await {
            Ok(found) if found.kind == FileKind::Directory => {
                return Err(Refusal::IsDirectory.into());
            }
            Ok(_) => {}
            Err(error) if error.refusal() == Some(Refusal::NoEntry) => {}
            Err(error) => return Err(error),
        }
        let owner = files.maker(0o666);
        let (_, handle) = files.volume.create_unnamed(place.folder, owner).await?;
        let file = File::new(files.opened(handle, path));
        Ok(Self { file, place })
    }

    /// The file that is being written.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let image = files.replace("/disk.img").await?;
    /// image.file().write_at(1 << 20, "written here and there".into()).await?;
    /// image.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Puts what was written in place of what had the name, and says what is known of it there.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let notes = files.replace("/notes.txt").await?;
    /// notes.file().write_at(0, "whole".into()).await?;
    /// let placed = notes.commit().await?;
    /// assert_eq!(placed.size, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit(self) -> Result<Metadata> {
        self.put(IfTaken::Replace).await
    }

    /// The same where nothing may have the name yet: [`Refusal::Exists`] if something has.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let lock = files.replace("/lock").await?;
    /// match lock.commit_new().await {
    ///     Err(error) if error.refusal() == Some(coffre::Refusal::Exists) => println!("somebody has it"),
    ///     made => drop(made?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit_new(self) -> Result<Metadata> {
        self.put(IfTaken::Refuse).await
    }

    async fn put(mut self, taken: IfTaken) -> Result<Metadata> {
        self.file.settle().await?;
        self.file.put_in_place(&self.place, taken).await?;
        self.file.metadata().await
    }
}

impl AsyncWrite for Replacement {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.file).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(cx)
    }
}
