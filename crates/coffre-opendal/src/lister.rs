//! Listing: a folder or the names in it that begin alike, with what is below them or without.

use std::sync::Mutex;
use std::sync::PoisonError;

use coffre::Entry;
use coffre::FileKind;
use coffre::Filesystem;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::stream;
use futures::stream::BoxStream;
use opendal_core::MetadataBuilder;
use opendal_core::Result;
use opendal_core::raw::oio;

use crate::convert::error;
use crate::convert::is_nothing;
use crate::convert::metadata;

/// What is listed, as OpenDAL asks for it: `folder/`, or `folder/beginning of names`.
struct Asked {
    files: Filesystem,
    folder: String,
    beginning: String,
    recursive: bool,
}

enum State {
    Asked(Asked),
    Listing(BoxStream<'static, Result<oio::Entry>>),
}

/// The lock lets it be named from several threads; nobody shares it.
pub(crate) struct Lister(Mutex<State>);

impl Lister {
    pub(crate) fn new(files: Filesystem, path: &str, recursive: bool) -> Self {
        let split = path.rfind('/').map_or(0, |at| at + 1);
        let (folder, beginning) = path.split_at_checked(split).unwrap_or((path, ""));
        let asked = Asked {
            files,
            folder: folder.trim_start_matches('/').to_owned(),
            beginning: beginning.to_owned(),
            recursive,
        };
        Self(Mutex::new(State::Asked(asked)))
    }
}

impl oio::List for Lister {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Asked(asked) = state {
            let begun = begin(asked).await?;
            *state = State::Listing(begun);
        }
        match state {
            State::Listing(entries) => entries.try_next().await,
            State::Asked(_) => Ok(None),
        }
    }
}

async fn begin(asked: &Asked) -> Result<BoxStream<'static, Result<oio::Entry>>> {
    let listed = match asked.files.list(&asked.folder).await {
        // What is not there, or is a file, has nothing in it.
        Err(failed) if is_nothing(&failed) => {
            return Ok(stream::empty().boxed());
        }
        listed => listed.map_err(error)?,
    };
    let itself = asked.beginning.is_empty().then(|| {
        let folder = MetadataBuilder::dir().build();
        Ok(oio::Entry::new(&asked.folder, folder))
    });
    let (files, recursive) = (asked.files.clone(), asked.recursive);
    let beginning = asked.beginning.clone();
    let named = move |entry: &Entry| entry.name().to_string_lossy().starts_with(&beginning);
    let below = listed
        .map_err(error)
        .try_filter(move |entry| std::future::ready(named(entry)))
        .and_then(move |entry| with_what_is_below(files.clone(), entry, recursive))
        .try_flatten();
    Ok(stream::iter(itself).chain(below).boxed())
}

async fn with_what_is_below(
    files: Filesystem,
    top: Entry,
    recursive: bool,
) -> Result<BoxStream<'static, Result<oio::Entry>>> {
    let below = match recursive && top.metadata.kind == FileKind::Directory {
        true => files.walk(&top.path).await.map_err(error)?.boxed(),
        false => stream::empty().boxed(),
    };
    let first = stream::iter([Ok(top)]);
    let all = first.chain(below.map_err(error));
    Ok(all
        .and_then(move |entry| shown(files.clone(), entry))
        .boxed())
}

/// The entry as it is seen through a symbolic link.
async fn shown(files: Filesystem, entry: Entry) -> Result<oio::Entry> {
    let Entry {
        path,
        metadata: found,
    } = entry;
    let found = match found.kind {
        FileKind::Symlink => match files.metadata(&path).await {
            Ok(target) => target,
            Err(failed) if failed.refusal().is_some() => found,
            Err(failed) => return Err(error(failed)),
        },
        _ => found,
    };
    let slash = match found.kind {
        FileKind::Directory => "/",
        _ => "",
    };
    let path = format!("{}{slash}", path.display());
    Ok(oio::Entry::new(&path, metadata(&found)))
}
