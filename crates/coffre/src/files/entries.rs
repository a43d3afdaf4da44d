//! Listing folders, one by one or all below.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use futures::Stream;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::Filesystem;
use super::Metadata;
use super::file::Open;
use crate::error::Result;
use crate::fs::FileKind;
use crate::fs::Inode;

/// Entries that are looked up at a time.
const PAGE: usize = 1024;

/// Something in a folder.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The path that was listed, and the name in it.
    pub path: PathBuf,
    /// What is known of it; of a symbolic link itself.
    pub metadata: Metadata,
}

impl Entry {
    /// The name in its folder.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// if let Some(entry) = files.list("/").await?.next().await? {
    ///     println!("{}", entry.name().display());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

/// A stream of [`Entry`]. What it needs is fetched as it is asked for, so that folders of any size can be listed.
pub struct Entries(BoxStream<'static, Result<Entry>>);

impl Entries {
    /// The next one; `None` at the end.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// let mut entries = files.list("/").await?;
    /// while let Some(entry) = entries.next().await? {
    ///     println!("{}", entry.path.display());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        self.0.try_next().await
    }
}

impl Stream for Entries {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// A folder that is being listed.
struct Listing {
    folder: Open,
    cookie: u64,
    page: VecDeque<Entry>,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Entry>> {
        while self.page.is_empty() {
            let Open {
                volume,
                handle,
                path,
                ..
            } = &self.folder;
            let read = volume
                .read_directory(*handle, self.cookie, PAGE, true)
                .await;
            let read = read.map_err(|error| error.at(path))?;
            let Some(last) = read.last() else {
                return Ok(None);
            };
            self.cookie = last.cookie;
            let named = |name: &[u8]| name != b"." && name != b"..";
            let entries = read.into_iter().filter(|listed| named(&listed.name));
            self.page.extend(entries.filter_map(|listed| {
                Some(Entry {
                    path: path.join(OsString::from_vec(listed.name)),
                    metadata: listed.attributes?,
                })
            }));
        }
        Ok(self.page.pop_front())
    }
}

pub(super) async fn list(files: &Filesystem, folder: Inode, path: &Path) -> Result<Entries> {
    let opened = files.volume.open_directory(folder).await;
    let handle = opened.map_err(|error| error.at(path))?;
    let listing = Listing {
        folder: files.opened(handle, path),
        cookie: 0,
        page: VecDeque::new(),
    };
    let entries = futures::stream::try_unfold(listing, |mut listing| async move {
        let entry = listing.next().await?;
        Ok(entry.map(|entry| (entry, listing)))
    });
    Ok(Entries(Box::pin(entries)))
}

pub(super) fn walk(files: &Filesystem, top: Entries) -> Entries {
    let begin = (files.clone(), vec![top]);
    let entries = futures::stream::try_unfold(begin, |(files, mut above)| async move {
        while let Some(folder) = above.last_mut() {
            let Some(entry) = folder.next().await? else {
                above.pop();
                continue;
            };
            if entry.metadata.kind == FileKind::Directory {
                above.push(list(&files, entry.metadata.inode, &entry.path).await?);
            }
            return Ok(Some((entry, (files, above))));
        }
        Ok(None)
    });
    Entries(Box::pin(entries))
}
