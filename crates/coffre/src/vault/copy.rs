//! Leaving a provider: the set of objects goes to another store, verified by name, without any key.
//!
//! Objects never change, so copying is set union: what is there already is skipped, a broken copy is begun
//! again, and the same vault may be copied twice. Packs go first and the `vault` object last: the destination
//! never shows a commit before what it names.

use std::collections::BTreeMap;

use coffre_format::commit::COMMIT_MAX;
use coffre_format::commit::Verified;
use coffre_format::header::HEADER_LENGTH;
use coffre_format::header::VaultHeader;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::keyslot::Ceiling;
use coffre_format::keyslot::SLOT_LENGTH;
use coffre_format::keyslot::SlotHeader;
use coffre_format::name::ObjectName;
use coffre_format::pack::PACK_FULL;
use futures::StreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::store::Object;
use crate::store::Prefix;
use crate::store::Store;

/// Objects on their way at a time; each is at most 16 MiB.
const TOGETHER: usize = 6;
/// Longest inventory that is taken, in bytes.
const INVENTORY_MOST: u64 = 256 * 1024 * 1024;

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct CopyProgress {
    /// Objects there.
    pub done: u64,
    /// Objects in all.
    pub total: u64,
    /// Bytes sent in this run.
    pub bytes: u64,
}

/// What a copy came to.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct CopyReport {
    /// Objects sent in this run.
    pub copied: u64,
    /// Objects that were there already.
    pub present: u64,
    /// Bytes sent in this run.
    pub bytes: u64,
    /// Objects that were not copied because they are damaged at the source, with what is wrong.
    pub damaged: Vec<String>,
    /// Names at the source that belong to no vault; they were left.
    pub foreign: Vec<String>,
}

/// Copies the vault in `source` to `destination`, which is empty or holds a part of the same vault.
pub async fn copy(
    source: &Store,
    destination: &Store,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<CopyReport> {
    let offered = source.list(Prefix::All).await?;
    if offered.objects.is_empty() {
        return Err(Error::NoVault {
            location: source.uri().canonical().to_owned(),
        });
    }
    let there = destination.list(Prefix::All).await?;
    check_destination(source, destination, &there.foreign).await?;
    let there: BTreeMap<ObjectName, Option<u64>> = there
        .objects
        .iter()
        .map(|object| (object.name, object.length))
        .collect();
    let mut report = CopyReport {
        foreign: offered.foreign,
        ..CopyReport::default()
    };
    let mut state = CopyProgress {
        total: offered.objects.len() as u64,
        ..CopyProgress::default()
    };
    let mut ordered = offered.objects;
    ordered.sort_by_key(|object| rank(&object.name));
    for group in ordered.chunk_by(|a, b| rank(&a.name) == rank(&b.name)) {
        // One kind after the other: a later one may name what an earlier one brought.
        let mut copies = futures::stream::iter(group.iter().map(|object| async {
            (
                object.name,
                one(source, destination, object, there.get(&object.name)).await,
            )
        }))
        .buffer_unordered(TOGETHER);
        while let Some((name, result)) = copies.next().await {
            match result {
                Ok(Some(bytes)) => {
                    report.copied += 1;
                    report.bytes += bytes;
                    state.bytes += bytes;
                }
                Ok(None) => report.present += 1,
                Err(
                    error
                    @ (Error::Forged { .. } | Error::Truncated { .. } | Error::Missing { .. }),
                ) => {
                    report.damaged.push(format!("{name}: {error}"));
                }
                Err(error) => return Err(error),
            }
            state.done += 1;
            progress(state);
        }
    }
    Ok(report)
}

/// Another vault, or files of somebody else, are not mixed with this one.
async fn check_destination(source: &Store, destination: &Store, foreign: &[String]) -> Result<()> {
    if let Some(found) = foreign.first() {
        let location = destination.uri().canonical().to_owned();
        return Err(Error::NotEmpty {
            location,
            found: found.clone(),
        });
    }
    let (ours, theirs) = (header(source).await?, header(destination).await?);
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.vault != theirs.vault => Err(Error::WrongVault {
            expected: ours.vault.to_string(),
            found: theirs.vault.to_string(),
        }),
        _ => Ok(()),
    }
}

async fn header(store: &Store) -> Result<Option<VaultHeader>> {
    match store
        .read(&ObjectName::Vault, 0..HEADER_LENGTH as u64)
        .await
    {
        Ok(bytes) => VaultHeader::decode(&bytes)
            .map(Some)
            .map_err(|error| Error::of_object(ObjectName::Vault, error)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Packs, inventories, key slots, commits, the header.
fn rank(name: &ObjectName) -> u8 {
    match name {
        ObjectName::Pack(_) => 0,
        ObjectName::Inventory { .. } => 1,
        ObjectName::Slot(_) => 2,
        ObjectName::Commit { .. } => 3,
        ObjectName::Vault => 4,
    }
}

/// Copies one object unless it is there with the same length. Answers the bytes sent.
async fn one(
    source: &Store,
    destination: &Store,
    object: &Object,
    there: Option<&Option<u64>>,
) -> Result<Option<u64>> {
    let name = &object.name;
    let limit = match name {
        ObjectName::Pack(_) => u64::from(PACK_FULL),
        ObjectName::Inventory { .. } => INVENTORY_MOST,
        ObjectName::Slot(_) => SLOT_LENGTH as u64,
        ObjectName::Commit { .. } => COMMIT_MAX,
        ObjectName::Vault => HEADER_LENGTH as u64,
    };
    let length = match object.length {
        Some(length) => Some(length),
        None => source.length(name).await?,
    };
    let present = match there {
        Some(Some(length)) => Some(*length),
        Some(None) => destination.length(name).await?,
        None => None,
    };
    if present.is_some() && present == length {
        return Ok(None);
    }
    let bytes = source.read_whole(name, length, limit).await?;
    verify(name, &bytes)?;
    let sent = bytes.len() as u64;
    destination.put(name, bytes).await?;
    match destination.length(name).await? {
        Some(length) if length == sent => Ok(Some(sent)),
        _ => Err(Error::Unreachable {
            operation: "write",
            object: name.to_string(),
            why: "the destination does not show what it acknowledged".into(),
        }),
    }
}

/// What can be known of an object without a key.
fn verify(name: &ObjectName, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::of_object(name, error);
    let misnamed = || Error::Forged {
        object: name.to_string(),
        path: None,
        why: "its content does not have this name".into(),
    };
    match name {
        ObjectName::Pack(pack) => {
            if PackName::of(&ObjectHash::of(bytes)) == *pack {
                Ok(())
            } else {
                Err(misnamed())
            }
        }
        ObjectName::Inventory { hash, .. } => {
            if PackName::of(&ObjectHash::of(bytes)).0 == *hash {
                Ok(())
            } else {
                Err(misnamed())
            }
        }
        ObjectName::Slot(slot) => match SlotHeader::decode(bytes, Ceiling::Lifted)
            .map_err(failed)?
            .slot
            == *slot
        {
            true => Ok(()),
            false => Err(misnamed()),
        },
        ObjectName::Commit { .. } => Verified::check(bytes, name).map(drop).map_err(failed),
        ObjectName::Vault => VaultHeader::decode(bytes).map(drop).map_err(failed),
    }
}
