//! The service: what OpenDAL asks, put to the vault's files.

use std::fmt;

use coffre::FileKind;
use coffre::Filesystem;
use opendal_core::Capability;
use opendal_core::Error;
use opendal_core::ErrorKind;
use opendal_core::OperationContext;
use opendal_core::Result;
use opendal_core::raw::OpCopy;
use opendal_core::raw::OpCreateDir;
use opendal_core::raw::OpDelete;
use opendal_core::raw::OpList;
use opendal_core::raw::OpPresign;
use opendal_core::raw::OpRead;
use opendal_core::raw::OpRename;
use opendal_core::raw::OpStat;
use opendal_core::raw::OpWrite;
use opendal_core::raw::RpCreateDir;
use opendal_core::raw::RpPresign;
use opendal_core::raw::RpRename;
use opendal_core::raw::RpStat;
use opendal_core::raw::Service;
use opendal_core::raw::ServiceInfo;
use opendal_core::raw::oio;

use crate::convert::SCHEME;
use crate::convert::error;
use crate::convert::file;
use crate::convert::is_nothing;
use crate::convert::metadata;
use crate::folders::made_room;
use crate::lister::Lister;
use crate::reader::Reader;
use crate::writer::Writer;

/// What an operator is built from.
#[derive(Default)]
pub(crate) struct Builder(Option<Filesystem>);

impl Builder {
    pub(crate) fn of(files: Filesystem) -> Self {
        Self(Some(files))
    }
}

impl opendal_core::Builder for Builder {
    // An open vault is no text that could be configured.
    type Config = ();

    fn build(self) -> Result<impl Service> {
        let files = self.0.ok_or_else(|| {
            Error::new(
                ErrorKind::ConfigInvalid,
                "an operator is made of an open vault: coffre_opendal::operator",
            )
        })?;
        Ok(VaultService { files })
    }
}

pub(crate) struct VaultService {
    files: Filesystem,
}

impl fmt::Debug for VaultService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultService").finish_non_exhaustive()
    }
}

impl Service for VaultService {
    type Reader = oio::PositionReader<Reader>;
    type Writer = Writer;
    type Lister = Lister;
    type Deleter = oio::OneShotDeleter<Deleter>;
    type Copier = oio::OneShotCopier;
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::new(SCHEME, "/", "")
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_empty: true,
            write_can_multi: true,
            write_can_append: true,
            write_with_if_not_exists: true,
            create_dir: true,
            delete: true,
            delete_with_recursive: true,
            list: true,
            list_with_recursive: true,
            copy: true,
            rename: true,
            ..Capability::default()
        }
    }

    async fn create_dir(
        &self,
        _: &OperationContext,
        path: &str,
        _: OpCreateDir,
    ) -> Result<RpCreateDir> {
        self.files.create_dir_all(path).await.map_err(error)?;
        Ok(RpCreateDir::default())
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        let found =
            self.files
                .metadata(path)
                .await
                .map_err(|failed| match is_nothing(&failed) {
                    true => Error::new(ErrorKind::NotFound, failed.to_string()).set_source(failed),
                    false => error(failed),
                })?;
        if path.ends_with('/') && found.kind != FileKind::Directory {
            return Err(Error::new(ErrorKind::NotFound, "it is not a folder"));
        }
        Ok(RpStat::new(metadata(&found)))
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> Result<Self::Reader> {
        let reader = Reader::new(self.files.clone(), path);
        Ok(oio::PositionReader::new(reader))
    }

    fn write(&self, _: &OperationContext, path: &str, options: OpWrite) -> Result<Self::Writer> {
        Ok(Writer::new(self.files.clone(), path, &options))
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(Deleter(self.files.clone())))
    }

    fn list(&self, _: &OperationContext, path: &str, options: OpList) -> Result<Self::Lister> {
        Ok(Lister::new(self.files.clone(), path, options.recursive()))
    }

    fn copy(&self, _: &OperationContext, from: &str, to: &str, _: OpCopy) -> Result<Self::Copier> {
        let files = self.files.clone();
        let (from, to) = (from.to_owned(), to.to_owned());
        Ok(oio::OneShotCopier::new(async move {
            let copied = match files.copy(&from, &to).await {
                Err(failed) if made_room(&files, &from, &to, &failed).await? => {
                    files.copy(&from, &to).await
                }
                copied => copied,
            };
            copied.map_err(error)?;
            let found = files.metadata(&to).await.map_err(error)?;
            Ok(metadata(&found))
        }))
    }

    async fn rename(
        &self,
        _: &OperationContext,
        from: &str,
        to: &str,
        _: OpRename,
    ) -> Result<RpRename> {
        let renamed = match self.files.rename(from, to).await {
            Err(failed) if made_room(&self.files, from, to, &failed).await? => {
                self.files.rename(from, to).await
            }
            renamed => renamed,
        };
        renamed.map_err(error)?;
        Ok(RpRename::default())
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "nobody but the holder of the key can read a vault: there is no address to hand out",
        ))
    }
}

pub(crate) struct Deleter(Filesystem);

impl oio::OneShotDelete for Deleter {
    async fn delete_once(&self, path: String, options: OpDelete) -> Result<()> {
        let name = file(&path);
        if path.ends_with('/') {
            match self.0.symlink_metadata(name).await {
                Ok(found) if found.kind != FileKind::Directory => return Ok(()),
                Err(failed) if is_nothing(&failed) => return Ok(()),
                found => drop(found.map_err(error)?),
            }
        }
        let removed = match options.recursive() {
            true => self.0.remove_all(name).await,
            false => self.0.remove(name).await,
        };
        match removed {
            Err(failed) if is_nothing(&failed) => Ok(()),
            removed => removed.map_err(error),
        }
    }
}
