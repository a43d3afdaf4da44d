//! The last known heads in the state folder, sealed as they were fetched: a root without the network.
//!
//! Nothing is trusted because it is here: each is verified like an object of the store.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use bytes::Bytes;
use coffre_format::commit::Point;
use coffre_format::id::DeviceId;
use coffre_format::name::ObjectName;

use crate::error::Error;
use crate::error::Result;
use crate::vault::Head;
use crate::vault::anchor::read_if_there;
use crate::vault::anchor::replace;
use crate::vault::state::StateDir;

/// Name of the commit at this place of a chain.
pub(super) fn commit_name(device: DeviceId, point: &Point) -> ObjectName {
    ObjectName::Commit {
        device,
        seq: point.seq,
        hash: point.hash.short(),
    }
}

/// The kept bytes of a commit, if they are there.
pub(super) fn read(state: &StateDir, name: &ObjectName) -> Option<Bytes> {
    let bytes = read_if_there(&path(state, name)).ok()??;
    Some(bytes.into())
}

/// Whether all of these are kept.
pub(super) fn has(state: &StateDir, heads: &[Head]) -> bool {
    let mut names = heads
        .iter()
        .map(|head| commit_name(head.device, &head.point));
    names.all(|name| path(state, &name).exists())
}

/// Keeps these heads too.
pub(super) fn add(state: &StateDir, heads: &[Head]) -> Result<()> {
    let folder = state.heads();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Error::io("create", &folder, error))?;
    for head in heads {
        let path = path(state, &commit_name(head.device, &head.point));
        if !path.exists() {
            replace(&path, &head.sealed)?;
        }
    }
    Ok(())
}

/// Keeps only these heads. What cannot be removed is harmless.
pub(super) fn prune(state: &StateDir, heads: &[Head]) {
    let kept: Vec<PathBuf> = heads
        .iter()
        .map(|head| path(state, &commit_name(head.device, &head.point)))
        .collect();
    let Ok(entries) = fs::read_dir(state.heads()) else {
        return;
    };
    for entry in entries.flatten() {
        if !kept.contains(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn path(state: &StateDir, name: &ObjectName) -> PathBuf {
    let name = name.to_string();
    let name = name.strip_prefix("commits/").unwrap_or(&name);
    state.heads().join(name.replace('/', "."))
}
