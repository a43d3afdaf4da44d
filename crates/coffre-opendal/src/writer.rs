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

/// What can still come of a writer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// All that was asked for is written.
    Whole,
    /// A write failed or was given up. Asked for again it goes where it was to go; until then there is nothing to be closed.
    Owing,
    /// It was closed, or nobody knows what of it was written.
    Over,
}

pub(crate) struct Writer {
    files: Filesystem,
    path: PathBuf,
    way: Way,
    begun: Option<Begun>,
    standing: Standing,
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
            standing: Standing::Whole,
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
}

async fn append(file: &File, content: Buffer) -> Result<()> {
    for part in content {
        let end = file.metadata().await.map_err(error)?.size;
        file.write_at(end, part).await.map_err(error)?;
    }
    Ok(())
}

impl Write for Writer {
    async fn write(&mut self, content: Buffer) -> Result<()> {
        if self.standing == Standing::Over {
            return Err(over());
        }
        self.standing = Standing::Owing;
        let begun = match self.begun.take() {
            Some(begun) => begun,
            None => self.begin().await?,
        };
        match self.begun.insert(begun) {
            Begun::Replacement(replacement, length) => {
                let mut at = *length;
                for part in content {
                    let more = part.len() as u64;
                    let written = replacement.file().write_at(at, part).await;
                    written.map_err(error)?;
                    at += more;
                }
                *length = at;
            }
            Begun::Appending(file) => {
                // A part of it may be in the file then, which asking again would write twice.
                self.standing = Standing::Over;
                append(file, content).await.map_err(Error::set_persistent)?;
            }
        }
        self.standing = Standing::Whole;
        Ok(())
    }

    /// Once: what there is of an end that failed is not known.
    async fn close(&mut self) -> Result<Metadata> {
        if std::mem::replace(&mut self.standing, Standing::Over) != Standing::Whole {
            return Err(over());
        }
        let begun = match self.begun.take() {
            Some(begun) => begun,
            None => self.begin().await.map_err(Error::set_persistent)?,
        };
        let found = match (begun, self.way) {
            (Begun::Replacement(replacement, _), Way::MakeNew) => {
                let made = replacement.commit_new().await;
                made.map_err(|failed| match failed.refusal() {
                    Some(Refusal::Exists) => exists().set_source(failed),
                    _ => error(failed),
                })
            }
            (Begun::Replacement(replacement, _), _) => replacement.commit().await.map_err(error),
            (Begun::Appending(file), _) => file.metadata().await.map_err(error),
        };
        Ok(metadata(&found.map_err(Error::set_persistent)?))
    }

    async fn abort(&mut self) -> Result<()> {
        self.standing = Standing::Over;
        match self.begun.take() {
            Some(Begun::Appending(_)) => Err(Error::new(
                ErrorKind::Unsupported,
                "what was appended is in the file already",
            )),
            _ => Ok(()),
        }
    }
}

fn over() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "a write or the end of this writer failed or was given up; nothing is put in place by it any more",
    )
}

fn exists() -> Error {
    Error::new(ErrorKind::ConditionNotMatch, "the file exists already")
}
