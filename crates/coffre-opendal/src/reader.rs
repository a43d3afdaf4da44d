//! Reading: any ranges of a file that is opened once.

use coffre::File;
use coffre::Filesystem;
use opendal_core::Buffer;
use opendal_core::Result;
use opendal_core::raw::oio::PositionRead;

use crate::convert::error;

/// A file that is opened when the first range is asked for. All ranges are of what it was then, also where its path has
/// been given to another file since.
pub(crate) struct Reader {
    files: Filesystem,
    path: String,
}

impl Reader {
    pub(crate) fn new(files: Filesystem, path: &str) -> Self {
        let path = path.to_owned();
        Self { files, path }
    }
}

impl PositionRead for Reader {
    type Handle = File;

    async fn open(&self) -> Result<File> {
        self.files.open(&self.path).await.map_err(error)
    }

    async fn read_at(file: &File, offset: u64, size: usize) -> Result<Buffer> {
        let range = offset..offset.saturating_add(size as u64);
        let bytes = file.read_at(range).await.map_err(error)?;
        Ok(Buffer::from(bytes))
    }
}
