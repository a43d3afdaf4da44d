//! Writing: beside the file until the writer is closed, or at the end of it.

use std::path::PathBuf;

use coffre::File;
use coffre::Filesystem;
use coffre::OpenOptions;
use coffre::Refusal;
use coffre::Replacement;
use opendal_core::Buffer;
use opendal_core::Error;
use opendal_core::ErrorKind;
use opendal_core::Metadata;
use opendal_core::Result;
use opendal_core::raw::OpWrite;
use opendal_core::raw::oio::Write;

use crate::convert::error;
use crate::convert::file;
use crate::convert::metadata;
use crate::folders::make_parent;

/// What a writer does to a file that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Replace,
    /// Nothing: it is refused.
    MakeNew,
    Append,
}

enum Begun {
    /// With how much it holds.
    Replacement(Replacement, u64),
    Appending(File),
}

pub(crate) struct Writer {
    files: Filesystem,
    path: PathBuf,
    way: Way,
    begun: Option<Begun>,
}

impl Writer {
    pub(crate) fn new(files: Filesystem, path: &str, options: &OpWrite) -> Self {
        let way = match (options.append(), options.if_not_exists()) {
            (true, _) => Way::Append,
            (false, true) => Way::MakeNew,
            (false, false) => Way::Replace,
        };
        let path = file(path).to_owned();
        Self {
            files,
            path,
            way,
            begun: None,
        }
    }

    async fn begin(&self) -> Result<Begun> {
        // Said before everything is written rather than after.
        if self.way == Way::MakeNew && self.files.exists(&self.path).await.map_err(error)? {
            return Err(exists());
        }
        match self.try_begin().await {
            Err(failed) if failed.refusal() == Some(Refusal::NoEntry) => {
                make_parent(&self.files, &self.path).await?;
                self.try_begin().await.map_err(error)
            }
            begun => begun.map_err(error),
        }
    }

    async fn try_begin(&self) -> coffre::Result<Begun> {
        if self.way != Way::Append {
            let replacement = self.files.replace(&self.path).await?;
            return Ok(Begun::Replacement(replacement, 0));
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        let opened = self.files.open_with(&self.path, &options).await?;
        Ok(Begun::Appending(opened))
    }

    async fn begun(&mut self) -> Result<Begun> {
        match self.begun.take() {
            Some(begun) => Ok(begun),
            None => self.begin().await,
        }
    }
}

impl Write for Writer {
    async fn write(&mut self, content: Buffer) -> Result<()> {
        let mut begun = self.begun().await?;
        match &mut begun {
            Begun::Replacement(replacement, length) => {
                for part in content {
                    let more = part.len() as u64;
                    let written = replacement.file().write_at(*length, part).await;
                    written.map_err(error)?;
                    *length += more;
                }
            }
            Begun::Appending(file) => {
                for part in content {
                    let end = file.metadata().await.map_err(error)?.size;
                    file.write_at(end, part).await.map_err(error)?;
                }
            }
        }
        self.begun = Some(begun);
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        let found = match (self.begun().await?, self.way) {
            (Begun::Replacement(replacement, _), Way::MakeNew) => {
                let made = replacement.commit_new().await;
                made.map_err(|failed| match failed.refusal() {
                    Some(Refusal::Exists) => exists().set_source(failed),
                    _ => error(failed),
                })
            }
            (Begun::Replacement(replacement, _), _) => replacement.commit().await.map_err(error),
            (Begun::Appending(file), _) => file.metadata().await.map_err(error),
        }?;
        Ok(metadata(&found))
    }

    async fn abort(&mut self) -> Result<()> {
        match self.begun.take() {
            Some(Begun::Appending(_)) => Err(Error::new(
                ErrorKind::Unsupported,
                "what was appended is in the file already",
            )),
            _ => Ok(()),
        }
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::ConditionNotMatch, "the file exists already")
}
