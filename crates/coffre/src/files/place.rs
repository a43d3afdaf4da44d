//! From a path to a folder and a name in it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Filesystem;
use super::Metadata;
use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::FileKind;
use crate::fs::Follow;
use crate::fs::Inode;

/// Symbolic links at the end of one path that are followed, as Linux does.
const LINKS_MOST: usize = 40;

/// Where a name is, or would be.
pub(super) struct Place {
    pub(super) folder: Inode,
    pub(super) name: Vec<u8>,
}

impl Filesystem {
    pub(super) async fn find(&self, path: &Path, follow: Follow) -> Result<Metadata> {
        let found = self.volume.resolve(path.as_os_str().as_bytes(), follow);
        found.await.map_err(|error| error.at(path))
    }

    /// The folder and the name of the last component itself, whatever is there.
    pub(super) async fn place(&self, path: &Path) -> Result<Place> {
        let (folder, name) = split(path.as_os_str().as_bytes());
        let placed = self.place_in(folder, name).await;
        placed.map_err(|error| error.at(path))
    }

    /// The same where the last component, if it is a symbolic link, leads.
    pub(super) async fn place_of_target(&self, path: &Path) -> Result<Place> {
        let mut now = path.as_os_str().as_bytes().to_vec();
        for _ in 0..LINKS_MOST {
            let (folder, name) = split(&now);
            let placed = self.place_in(folder, name).await;
            let place = placed.map_err(|error| error.at(path))?;
            let found = match self.volume.lookup(place.folder, &place.name).await {
                Ok(found) if found.kind == FileKind::Symlink => found,
                Ok(_) | Err(Error::Refused(Refusal::NoEntry)) => return Ok(place),
                Err(error) => return Err(error.at(path)),
            };
            let target = self.volume.read_link(found.inode).await;
            let target = target.map_err(|error| error.at(path))?;
            now = match target.first() {
                Some(b'/') => target,
                _ => [folder, b"/", &target].concat(),
            };
        }
        Err(Error::from(Refusal::Loop).at(path))
    }

    async fn place_in(&self, folder: &[u8], name: &[u8]) -> Result<Place> {
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Refusal::Invalid.into());
        }
        let found = self.volume.resolve(folder, Follow::Yes).await?;
        if found.kind != FileKind::Directory {
            return Err(Refusal::NotDirectory.into());
        }
        Ok(Place {
            folder: found.inode,
            name: name.to_vec(),
        })
    }
}

/// The names in a path.
pub(super) fn components(path: &Path) -> impl Iterator<Item = &[u8]> {
    let names = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    names.filter(|name| !name.is_empty() && *name != b".")
}

/// Everything before the last component, and that; both may be empty.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |at| at + 1);
    let path = path.get(..end).unwrap_or_default();
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_its_last_name() {
        assert_eq!(split(b"/a/b/c"), (&b"/a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a/b//"), (&b"a"[..], &b"b"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b"/a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b"//"), (&b""[..], &b""[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
    }
}
