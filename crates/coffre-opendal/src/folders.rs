//! Folders that are made when something is to go into them.

use std::path::Path;

use coffre::Filesystem;
use coffre::Refusal;
use opendal_core::Result;

use crate::convert::error;

/// Whether something failed only because the folder that it goes into was missing, which is there now.
pub(crate) async fn made_room(
    files: &Filesystem,
    from: &str,
    to: &str,
    failed: &coffre::Error,
) -> Result<bool> {
    if failed.refusal() != Some(Refusal::NoEntry) || !files.exists(from).await.map_err(error)? {
        return Ok(false);
    }
    make_parent(files, Path::new(to)).await
}

/// Makes the folders above a path; answers whether there are any.
pub(crate) async fn make_parent(files: &Filesystem, path: &Path) -> Result<bool> {
    match path.parent() {
        Some(parent) => {
            files.create_dir_all(parent).await.map_err(error)?;
            Ok(true)
        }
        None => Ok(false),
    }
}
