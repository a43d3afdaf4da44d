//! Paths of a vault's file system: finding, listing, making and emptying, with errors that name the path.

use std::collections::VecDeque;

use coffre::Error;
use coffre::Refusal;
use coffre::fs::Attributes;
use coffre::fs::Follow;
use coffre::fs::Handle;
use coffre::fs::Make;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre_format::id::Inode;
use coffre_format::record::FileKind;

use crate::exit;
use crate::exit::Failure;
use crate::interrupt;
use crate::names::Name;

/// Entries that one request for a listing asks for.
const PAGE: usize = 1024;

/// An error of the file system, with the path that it is about.
pub fn of(path: &Name, error: Error) -> anyhow::Error {
    match error {
        Error::Refused(refusal) => refused(refusal, format!("{path}: {refusal}")),
        other => anyhow::Error::new(other.with_path(&path.to_string())),
    }
}

/// A refusal in our own words.
pub fn refused(refusal: Refusal, what: String) -> anyhow::Error {
    Failure::error(exit::code(&Error::Refused(refusal).into()), what)
}

/// Whether the error says that there is nothing under that path.
pub fn is_absent(error: &anyhow::Error) -> bool {
    exit::code(error) == exit::NOT_FOUND
}

/// What is at a path.
pub async fn resolve(
    filesystem: &Volume,
    path: &Name,
    follow: Follow,
) -> anyhow::Result<Attributes> {
    let found = filesystem.resolve(&path.0, follow).await;
    found.map_err(|error| of(path, error))
}

/// The folder that a path's last component is in, and that component.
pub async fn place(filesystem: &Volume, path: &Name) -> anyhow::Result<(Inode, Vec<u8>)> {
    let Some((folder, name)) = path.split() else {
        return Err(refused(
            Refusal::Invalid,
            format!("{path} cannot be made, moved or removed; name something in the vault"),
        ));
    };
    let found = resolve(filesystem, &folder, Follow::Yes).await?;
    if found.kind != FileKind::Directory {
        return Err(of(&folder, Refusal::NotDirectory.into()));
    }
    Ok((found.inode, name.to_vec()))
}

/// Makes a folder and those above it, as far as they are not there.
pub async fn make_all(filesystem: &Volume, path: &Name, owner: Owner) -> anyhow::Result<Inode> {
    let mut folder = Inode::ROOT;
    let mut done = Name(b"/".to_vec());
    for name in path.0.split(|byte| *byte == b'/') {
        if name.is_empty() || name == b"." {
            continue;
        }
        done = done.join(name);
        match filesystem.resolve(&done.0, Follow::Yes).await {
            Ok(found) if found.kind == FileKind::Directory => folder = found.inode,
            Ok(_) => return Err(of(&done, Refusal::NotDirectory.into())),
            Err(Error::Refused(Refusal::NoEntry)) => {
                let made = filesystem.make(folder, name, Make::Directory, owner).await;
                folder = made.map_err(|error| of(&done, error))?.inode;
            }
            Err(error) => return Err(of(&done, error)),
        }
    }
    Ok(folder)
}

/// Removes everything in a folder.
pub async fn empty(filesystem: &Volume, folder: Inode, path: &Name) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    let mut listing = Listing::open(filesystem, folder).await?;
    while let Some((name, found)) = listing.next().await? {
        entries.push((name, found.inode, found.kind));
    }
    listing.close().await?;
    for (name, inode, kind) in entries {
        interrupt::check()?;
        let path = path.join(&name);
        let removed = if kind == FileKind::Directory {
            Box::pin(empty(filesystem, inode, &path)).await?;
            filesystem.remove_directory(folder, &name).await
        } else {
            filesystem.unlink(folder, &name).await
        };
        removed.map_err(|error| of(&path, error))?;
    }
    Ok(())
}

/// A folder's entries with their attributes, without `.` and `..`, page by page.
pub struct Listing<'a> {
    filesystem: &'a Volume,
    handle: Handle,
    page: VecDeque<(Vec<u8>, Attributes)>,
    cookie: u64,
}

impl<'a> Listing<'a> {
    /// Of this folder. To be closed.
    pub async fn open(filesystem: &'a Volume, folder: Inode) -> anyhow::Result<Self> {
        Ok(Self {
            filesystem,
            handle: filesystem.open_directory(folder).await?,
            page: VecDeque::new(),
            cookie: 0,
        })
    }

    /// The next entry.
    pub async fn next(&mut self) -> anyhow::Result<Option<(Vec<u8>, Attributes)>> {
        while self.page.is_empty() {
            let read = self
                .filesystem
                .read_directory(self.handle, self.cookie, PAGE, true)
                .await?;
            let Some(last) = read.last() else {
                return Ok(None);
            };
            self.cookie = last.cookie;
            for listed in read {
                if listed.name == b"." || listed.name == b".." {
                    continue;
                }
                let attributes = match listed.attributes {
                    Some(attributes) => attributes,
                    None => self.filesystem.attributes(listed.inode).await?,
                };
                self.page.push_back((listed.name, attributes));
            }
        }
        Ok(self.page.pop_front())
    }

    /// Gives the handle back.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.filesystem.release(self.handle).await?)
    }
}
