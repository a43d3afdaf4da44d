//! Paths: from the root to an inode, and back to a name for messages.

use coffre_format::id::Inode;
use coffre_format::record::FileKind;

use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::Volume;
use crate::fs::inner::Inner;
use crate::fs::namespace::directory;
use crate::fs::types::Attributes;
use crate::fs::types::Follow;

/// Symlinks followed for one path, as Linux does.
const LINKS_MOST: usize = 40;

impl Volume {
    /// Resolves a path from the root (`/a/b`; `.` and `..` allowed), following symlinks in between always and
    /// the last one if asked. An absolute symlink starts at the vault's root.
    pub async fn resolve(&self, path: &[u8], follow: Follow) -> Result<Attributes> {
        let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        let mut above: Vec<Inode> = Vec::new();
        let mut here = self.attributes(Inode::ROOT).await?;
        while let Some(name) = rest.pop() {
            if here.kind != FileKind::Directory {
                return Err(Refusal::NotDirectory.into());
            }
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    here = self.attributes(above.pop().unwrap_or(Inode::ROOT)).await?;
                    continue;
                }
                _ => {}
            }
            let child = self.lookup(here.inode, &name).await?;
            if child.kind == FileKind::Symlink && (follow == Follow::Yes || !rest.is_empty()) {
                links += 1;
                if links > LINKS_MOST {
                    return Err(Refusal::Loop.into());
                }
                let target = self.read_link(child.inode).await?;
                if target.starts_with(b"/") {
                    above.clear();
                    here = self.attributes(Inode::ROOT).await?;
                }
                rest.extend(components(&target).rev().map(<[u8]>::to_vec));
                continue;
            }
            above.push(here.inode);
            here = child;
        }
        Ok(here)
    }
}

impl Inner {
    /// Adds the path of the file that an error is about.
    pub(crate) async fn name(&self, inode: Inode, error: Error) -> Error {
        match self.path_of(inode).await {
            Ok(path) => error.with_path(&path),
            Err(_) => error,
        }
    }

    /// One path of an inode, for messages.
    pub(crate) async fn path_of(&self, inode: Inode) -> Result<String> {
        let path = self
            .query(|view, _| directory::path_of(view, inode))
            .await?;
        Ok(String::from_utf8_lossy(&path).into_owned())
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
}
