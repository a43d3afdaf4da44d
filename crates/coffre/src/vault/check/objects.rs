//! Slots and commits in the store, against the tree and against each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use coffre_format::commit::AddedPack;
use coffre_format::commit::COMMIT_MAX;
use coffre_format::commit::Clear;
use coffre_format::commit::Point;
use coffre_format::commit::Verified;
use coffre_format::id::CommitHash;
use coffre_format::id::DeviceId;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::id::Seq;
use coffre_format::name::ObjectName;
use coffre_format::record::Child;
use futures::StreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::store::Prefix;
use crate::tree::Nodes;
use crate::vault::Vault;
use crate::vault::check::CheckReport;
use crate::vault::check::Depth;
use crate::vault::check::Finding;
use crate::vault::commits::forged;
use crate::vault::kept;
use crate::vault::keys;
use crate::vault::unlock::read_slot;

/// Commits that are fetched together.
const TOGETHER: usize = 16;

/// Packs that commits name.
pub(super) type Added = BTreeMap<PackName, AddedPack>;

/// Every slot that the tree lists is there, and is the one that the tree means.
pub(super) async fn slots(
    vault: &Vault,
    nodes: &Nodes,
    root: &Child,
    findings: &mut Vec<Finding>,
    report: &mut CheckReport,
) -> Result<()> {
    let listed = match keys::listed(nodes, root).await {
        Ok(listed) => listed,
        // The walk has reported the node that is damaged.
        Err(error) => return Finding::of_error(error).map(|_| ()),
    };
    for (id, record) in &listed {
        match read_slot(vault.store(), *id).await {
            Ok(bytes) if ObjectHash::of(&bytes).0 == record.hash => {}
            Ok(_) => {
                let why = "it is not the slot that the vault lists";
                findings.push(Finding::of_error(forged(&ObjectName::Slot(*id), why))?);
            }
            Err(error) => findings.push(Finding::of_error(error)?),
        }
    }
    for object in vault.store().list(Prefix::Slots).await?.objects {
        if let ObjectName::Slot(id) = object.name
            && !listed.iter().any(|(other, _)| *other == id)
        {
            let note = format!(
                "{} is not listed in the vault: removed, or never made by its owner",
                object.name
            );
            report.notes.push(note);
        }
    }
    Ok(())
}

/// Every commit of every chain is what its name says and follows the one before it. Only the heads
/// at `Structure`.
pub(super) async fn commits(
    vault: &Vault,
    depth: Depth,
    findings: &mut Vec<Finding>,
    report: &mut CheckReport,
) -> Result<Added> {
    let heads = vault.heads().all;
    let mut added = Added::new();
    for head in &heads {
        added.extend(
            head.commit
                .clear
                .packs
                .iter()
                .map(|pack| (pack.name, *pack)),
        );
    }
    if depth == Depth::Structure {
        report.commits = heads.len() as u64;
        return Ok(added);
    }
    let listing = vault.store().list(Prefix::Commits).await?;
    let reads = futures::stream::iter(listing.objects)
        .map(|object| async move {
            let read = vault
                .store()
                .read_whole(&object.name, object.length, COMMIT_MAX);
            (object.name, read.await)
        })
        .buffer_unordered(TOGETHER);
    let mut chains: BTreeMap<DeviceId, BTreeMap<(Seq, CommitHash), Clear>> = BTreeMap::new();
    let reads: Vec<(ObjectName, Result<Bytes>)> = reads.collect().await;
    for (name, read) in reads {
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                findings.push(Finding::of_error(error)?);
                continue;
            }
        };
        match Verified::check(&bytes, &name) {
            Ok(verified) if verified.clear.vault == vault.id() => {
                report.commits += 1;
                let clear = verified.clear;
                added.extend(clear.packs.iter().map(|pack| (pack.name, *pack)));
                let chain = chains.entry(clear.device).or_default();
                chain.insert((clear.seq, verified.hash), clear);
            }
            Ok(_) => report
                .notes
                .push(format!("{name} belongs to another vault")),
            Err(error) => report.notes.push(Error::of_object(name, error).to_string()),
        }
    }
    for head in &heads {
        let floor = head.commit.body.floor;
        let chain = chains.remove(&head.device).unwrap_or_default();
        if let Some(name) = gap(head.device, head.point, floor, &chain) {
            let object = name.to_string();
            findings.push(Finding::of_error(Error::Missing { object, path: None })?);
        }
        // A device that exists twice has two heads in one chain.
        chains.insert(head.device, chain);
    }
    Ok(added)
}

/// The first commit, going back from the head, that is not there or not intact.
fn gap(
    device: DeviceId,
    head: Point,
    floor: Seq,
    chain: &BTreeMap<(Seq, CommitHash), Clear>,
) -> Option<ObjectName> {
    let mut at = head;
    while at.seq >= floor && at.seq.0 > 0 {
        match chain.get(&(at.seq, at.hash)) {
            Some(clear) => {
                at = Point {
                    seq: Seq(at.seq.0 - 1),
                    hash: clear.previous,
                };
            }
            None => return Some(kept::commit_name(device, &at)),
        }
    }
    None
}
