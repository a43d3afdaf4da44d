//! A pack that waits on the store's own disk is not copied there: it gets a second name, and loses its first one later.
//!
//! A link keeps group and access list of the file, where a file made in the store would get the folder's: then it is copied,
//! or those who share the folder could not read it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::backend::Store;

/// Files made in such a folder get its group.
const SET_GROUP: u32 = 0o2000;

impl Store {
    /// Whether the object is there by a link to a file. Nothing that stands in the way of one is an error: the store is another
    /// disk, has no links, has a half-written object of this name.
    pub(super) fn link(&self, file: &Path, object: &str) -> bool {
        let root = self.uri().local_path().filter(|_| self.is_bare);
        root.is_some_and(|root| root.is_dir() && linked(file, &root.join(object)).is_ok())
    }
}

fn linked(file: &Path, path: &Path) -> std::io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::NotFound)?;
    std::fs::create_dir_all(folder)?;
    if !is_as_if_made_in(file, folder)? {
        return Err(ErrorKind::PermissionDenied.into());
    }
    std::fs::hard_link(file, path)
}

/// Whether the file has the group and the access list that it would have if it had been made in that folder.
fn is_as_if_made_in(file: &Path, folder: &Path) -> std::io::Result<bool> {
    let (of_file, of_folder) = (file.metadata()?, folder.metadata()?);
    let group = match of_folder.mode() & SET_GROUP {
        0 => rustix::process::getegid().as_raw(),
        _ => of_folder.gid(),
    };
    let has = |path, attribute| {
        let mut nothing: [u8; 0] = [];
        rustix::fs::getxattr(path, attribute, &mut nothing).is_ok()
    };
    let inherits = has(folder, "system.posix_acl_default");
    Ok(of_file.gid() == group && !inherits && !has(file, "system.posix_acl_access"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use coffre_format::id::PackName;
    use coffre_format::name::ObjectName;

    use super::*;
    use crate::store::StoreUri;

    /// A file that waits, and where a store beside it would be.
    fn waiting() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("waiting");
        std::fs::write(&file, "content").unwrap();
        let root = dir.path().join("store");
        (dir, file, root)
    }

    #[tokio::test]
    async fn a_file_beside_the_store_gets_a_second_name_in_it() {
        let (_dir, file, root) = waiting();
        std::fs::create_dir(&root).unwrap();
        let name = ObjectName::Pack(PackName([3; 16]));
        let path = root.join(name.to_string());

        let bare = Store::open(&StoreUri::local(&root)).unwrap();
        bare.put_file(&name, &file, "content".into()).await.unwrap();
        let inode = |path| std::fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&path), inode(&file));
        assert_eq!(bare.counts().puts, 1);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(bare.read(&name, 0..7).await.unwrap(), "content");
    }

    #[tokio::test]
    async fn what_a_link_would_hide_from_those_who_share_the_folder_is_copied() {
        let (_dir, file, root) = waiting();
        std::fs::create_dir(&root).unwrap();
        let other = 12_345;
        if std::os::unix::fs::chown(&root, None, Some(other)).is_err() {
            return println!("skipped: only root can give a folder to a group it is not in");
        }
        let shared = PermissionsExt::from_mode(0o2770);
        std::fs::set_permissions(&root, shared).unwrap();
        let store = Store::open(&StoreUri::local(&root)).unwrap();
        let name = ObjectName::Pack(PackName([3; 16]));
        let sent = store.put_file(&name, &file, "content".into()).await;
        sent.unwrap();
        let path = root.join(name.to_string());
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_eq!(path.metadata().unwrap().gid(), other);
    }

    #[tokio::test]
    async fn what_cannot_be_linked_is_copied() {
        let (_dir, file, root) = waiting();
        let name = ObjectName::Pack(PackName([3; 16]));
        let path = root.join(name.to_string());
        let uri = StoreUri::local(&root);
        let inode = |path| std::fs::metadata(path).unwrap().ino();

        let covered = Store::open_through(&uri, |operator| operator).unwrap();
        let sent = covered.put_file(&name, &file, "content".into()).await;
        sent.unwrap();
        assert_ne!(inode(&path), inode(&file));
        // Half of an object is in its place.
        std::fs::write(&path, "con").unwrap();
        let bare = Store::open(&uri).unwrap();
        bare.put_file(&name, &file, "content".into()).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_ne!(inode(&path), inode(&file));
        let nowhere = Store::memory();
        let sent = nowhere.put_file(&name, &file, "content".into()).await;
        sent.unwrap();
        assert_eq!(nowhere.read(&name, 0..7).await.unwrap(), "content");
    }
}
