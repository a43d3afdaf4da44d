//! The anchor on disk: replaced as a whole, and on the disk before anybody relies on it.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use coffre_format::anchor::Anchor;
use coffre_format::anchor::AnchorHeader;
use coffre_format::crypto::key::Keyring;
use coffre_format::error::FormatError;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::vault::state::StateDir;

/// What to do without an anchor.
pub(super) const WAY_OUT: &str = "restore the file; or move its folder away (keep it: what was not uploaded is in \
     it) to meet the vault as a new device, which takes what the store offers now as the newest state";

/// The anchor's bytes, if there is one.
pub(super) fn load(state: &StateDir) -> Result<Option<Vec<u8>>> {
    read_if_there(&state.anchor())
}

/// The clear part.
pub(super) fn peek(state: &StateDir, bytes: &[u8]) -> Result<AnchorHeader> {
    Anchor::peek(bytes).map_err(|error| damaged(state, error))
}

/// The whole of it.
pub(super) fn open(state: &StateDir, bytes: &[u8], ring: &Keyring) -> Result<Anchor> {
    Anchor::open(bytes, ring).map_err(|error| damaged(state, error))
}

/// Its bytes. Equal anchors have equal bytes.
pub(super) fn seal(state: &StateDir, anchor: &Anchor, ring: &Keyring) -> Result<Vec<u8>> {
    anchor.seal(ring).map_err(|error| damaged(state, error))
}

/// Seals and replaces it. When this returns, the anchor survives a power cut.
pub(super) fn save(state: &StateDir, anchor: &Anchor, ring: &Keyring) -> Result<()> {
    replace(&state.anchor(), &seal(state, anchor, ring)?)
}

/// The file's bytes, or `None` where it does not exist.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Writes a file so that after a crash it is the old one or the new one:
/// temporary file → fdatasync → rename → fsync of the folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|error| Error::io("create", &temporary, error))?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_data())
        .map_err(|error| Error::io("write", &temporary, error));
    fault::point("anchor.written");
    written
        .and_then(|()| {
            fs::rename(&temporary, path).map_err(|error| Error::io("replace", path, error))
        })
        .inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    fault::point("anchor.renamed");
    let folder = path
        .parent()
        .expect("a file of the state folder has a parent");
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("sync", folder, error))
}

/// The anchor contradicts itself.
pub(super) fn spoilt(state: &StateDir, why: &str) -> Error {
    Error::Damaged {
        file: state.anchor(),
        offset: 0,
        why: format!("{why}; {WAY_OUT}"),
    }
}

fn damaged(state: &StateDir, error: FormatError) -> Error {
    match error {
        FormatError::Unsupported { .. } => Error::Unsupported(format!("the anchor: {error}")),
        FormatError::Random => Error::Secret(error),
        _ => spoilt(state, &error.to_string()),
    }
}
