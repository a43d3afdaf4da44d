//! Packs in the store against the pointers into them; at `Data` every byte of every pack.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

use bytes::Bytes;
use coffre_format::crypto::key::Keyring;
use coffre_format::frame::FRAME_OVERHEAD;
use coffre_format::frame::FrameKind;
use coffre_format::id::Digest;
use coffre_format::id::Inode;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::name::ObjectName;
use coffre_format::pack::PACK_FULL;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::record::PackRef;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use futures::StreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::store::Prefix;
use crate::tree::Nodes;
use crate::vault::Vault;
use crate::vault::check::CheckProgress;
use crate::vault::check::CheckReport;
use crate::vault::check::Depth;
use crate::vault::check::Finding;
use crate::vault::check::objects::Added;
use crate::vault::commits::forged;

/// Packs that are held in memory together.
const TOGETHER: usize = 4;
/// Names of unknown objects that are told.
const NOTES_MAX: usize = 20;

/// A frame that something points to.
struct Used {
    offset: u32,
    stored: u32,
    kind: FrameKind,
    digest: Digest,
    /// Whose content it is; the vault's own for nodes.
    inode: Inode,
}

/// All frames that something points to, by pack.
#[derive(Default)]
pub(super) struct Uses(BTreeMap<PackName, (PackRef, Vec<Used>)>);

impl Uses {
    pub(super) fn node(&mut self, pointer: &Pointer) {
        self.add(pointer, FrameKind::Node, Inode::VAULT);
    }

    pub(super) fn data(&mut self, pointer: &Pointer, inode: Inode) {
        self.add(pointer, FrameKind::Data, inode);
    }

    /// Frames and their bytes in the store; a frame that several things point to counts once.
    pub(super) fn totals(&self) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        for (_, frames) in self.0.values() {
            let unique: HashMap<u32, u32> = frames
                .iter()
                .map(|frame| (frame.offset, frame.stored))
                .collect();
            count += unique.len() as u64;
            let lengths = unique
                .values()
                .map(|stored| u64::from(stored + FRAME_OVERHEAD));
            bytes += lengths.sum::<u64>();
        }
        (count, bytes)
    }

    fn add(&mut self, pointer: &Pointer, kind: FrameKind, inode: Inode) {
        if let Place::Pack { pack, offset } = pointer.place {
            let (_, frames) = self.0.entry(pack.name).or_insert((pack, Vec::new()));
            frames.push(Used {
                offset,
                stored: pointer.stored,
                kind,
                digest: pointer.digest,
                inode,
            });
        }
    }
}

/// The inspection of all packs.
pub(super) struct Inspection<'a> {
    pub(super) vault: &'a Vault,
    pub(super) nodes: &'a Nodes,
    pub(super) depth: Depth,
    pub(super) added: Added,
    pub(super) report: &'a mut CheckReport,
    pub(super) findings: &'a mut Vec<Finding>,
}

impl Inspection<'_> {
    pub(super) async fn run(
        &mut self,
        uses: Uses,
        state: &mut CheckProgress,
        progress: &(dyn Fn(CheckProgress) + Sync),
    ) -> Result<()> {
        let listing = self.vault.store().list(Prefix::Packs).await?;
        let mut listed = BTreeMap::new();
        for object in &listing.objects {
            if let ObjectName::Pack(name) = object.name {
                listed.insert(name, object.length);
            }
        }
        state.packs_total = uses.0.len() as u64;
        let used: HashSet<PackName> = uses.0.keys().copied().collect();
        self.count(&uses);
        let (vault, nodes, depth) = (self.vault, self.nodes, self.depth);
        let ring = nodes.ring();
        let (ring, added, lengths) = (&*ring, &self.added, &listed);
        let cut = listing.cut;
        let mut inspections = futures::stream::iter(uses.0)
            .map(|(name, (pack, frames))| async move {
                let length = length_of(vault, nodes, name, lengths.get(&name), cut).await?;
                let Some(length) = length else {
                    return gone(name, &frames).map(|found| (0, vec![found]));
                };
                let mut found = lengths_agree(name, length, added, &frames)?;
                if depth == Depth::Data {
                    found.extend(contents(vault, nodes, ring, pack, length, added, &frames).await?);
                }
                Ok::<_, Error>((length, found))
            })
            .buffer_unordered(TOGETHER);
        while let Some(inspected) = inspections.next().await {
            let (length, found) = inspected?;
            self.findings.extend(found);
            state.packs += 1;
            state.bytes += if depth == Depth::Data { length } else { 0 };
            progress(*state);
        }
        drop(inspections);
        if self.depth == Depth::Data {
            self.superseded(&listed, &used).await?;
        }
        self.report.stored_bytes = listed.values().flatten().sum();
        self.report.unused_bytes = self
            .report
            .stored_bytes
            .saturating_sub(self.report.live_bytes);
        self.unknown(listed.keys(), &used);
        let foreign = listing.foreign.iter().take(NOTES_MAX);
        let notes = foreign.map(|name| format!("{name} is none of Coffre's objects"));
        self.report.notes.extend(notes);
        let left = self.vault.store().list(Prefix::Probes).await?.probes;
        let probes = left.iter().take(NOTES_MAX);
        let notes = probes
            .map(|name| format!("{name} was left behind by a probe; `coffre doctor` removes it"));
        self.report.notes.extend(notes);
        Ok(())
    }

    /// Packs that a commit names and the newest tree does not need: older states rest on them.
    async fn superseded(
        &mut self,
        listed: &BTreeMap<PackName, Option<u64>>,
        used: &HashSet<PackName>,
    ) -> Result<()> {
        for (name, pack) in &self.added {
            if used.contains(name) || !listed.contains_key(name) {
                continue;
            }
            let object = ObjectName::Pack(*name);
            let store = self.vault.store();
            match store
                .read_whole(&object, Some(pack.length), u64::from(PACK_FULL))
                .await
            {
                Ok(bytes) if ObjectHash::of(&bytes) == pack.hash => {}
                Ok(_) => self.findings.push(Finding::of_error(forged(
                    &object,
                    "it is not what its commit named (no current file needs it)",
                ))?),
                Err(error) => self.findings.push(Finding::of_error(error)?),
            }
        }
        Ok(())
    }

    fn count(&mut self, uses: &Uses) {
        self.report.packs = uses.0.len() as u64;
        (self.report.frames, self.report.live_bytes) = uses.totals();
    }

    /// Packs that nothing needs: normal after changes, and never adopted or deleted for being there.
    fn unknown<'n>(
        &mut self,
        listed: impl Iterator<Item = &'n PackName>,
        used: &HashSet<PackName>,
    ) {
        let unknown: BTreeSet<&PackName> = listed
            .filter(|name| !used.contains(*name) && !self.added.contains_key(*name))
            .collect();
        // Without having read all commits, an unknown pack may just be an older one.
        if self.depth == Depth::Structure || unknown.is_empty() {
            return;
        }
        for name in unknown.iter().take(NOTES_MAX) {
            let name = ObjectName::Pack(**name);
            self.report
                .notes
                .push(format!("{name} is named by no commit"));
        }
        if unknown.len() > NOTES_MAX {
            let more = unknown.len() - NOTES_MAX;
            self.report
                .notes
                .push(format!("and {more} more packs that no commit names"));
        }
    }
}

/// Length of a pack in the store or, not uploaded yet, in the outbox.
async fn length_of(
    vault: &Vault,
    nodes: &Nodes,
    name: PackName,
    listed: Option<&Option<u64>>,
    cut: bool,
) -> Result<Option<u64>> {
    match listed {
        Some(Some(length)) => return Ok(Some(*length)),
        None if !cut => {}
        _ => {
            if let Some(length) = vault.store().length(&ObjectName::Pack(name)).await? {
                return Ok(Some(length));
            }
        }
    }
    let outbox = nodes.reader().outbox().packs();
    let mut waiting = outbox.iter().filter(|(waiting, _)| *waiting == name);
    Ok(waiting.next().map(|(_, length)| *length))
}

fn gone(name: PackName, frames: &[Used]) -> Result<Finding> {
    let mut finding = Finding::of_error(Error::Missing {
        object: ObjectName::Pack(name).to_string(),
        path: None,
    })?;
    finding.inodes = inodes(frames.iter());
    Ok(finding)
}

fn lengths_agree(
    name: PackName,
    length: u64,
    added: &Added,
    frames: &[Used],
) -> Result<Vec<Finding>> {
    let end = |frame: &Used| u64::from(frame.offset) + u64::from(frame.stored + FRAME_OVERHEAD);
    let beyond = inodes(frames.iter().filter(|frame| end(frame) > length));
    let expected = added.get(&name).map(|pack| pack.length);
    if beyond.is_empty() && expected.is_none_or(|expected| expected == length) {
        return Ok(Vec::new());
    }
    let object = ObjectName::Pack(name);
    let longer = expected.is_some_and(|expected| expected < length);
    let mut finding = Finding::of_error(match longer {
        true => forged(&object, "it is longer than the commit says"),
        false => Error::Truncated {
            object: object.to_string(),
            path: None,
        },
    })?;
    finding.inodes = beyond;
    Ok(vec![finding])
}

/// Reads a whole pack: its name, its hash, each frame, its end, and that each pointer meets its frame.
async fn contents(
    vault: &Vault,
    nodes: &Nodes,
    ring: &Keyring,
    pack: PackRef,
    length: u64,
    added: &Added,
    frames: &[Used],
) -> Result<Vec<Finding>> {
    let name = ObjectName::Pack(pack.name);
    let whole = match nodes.reader().outbox().read(pack.name, 0..length) {
        Some(read) => read,
        None => {
            let limit = u64::from(PACK_FULL);
            vault.store().read_whole(&name, Some(length), limit).await
        }
    };
    let bytes: Bytes = match whole {
        Ok(bytes) => bytes,
        Err(error) => {
            let mut finding = Finding::of_error(error)?;
            finding.inodes = inodes(frames.iter());
            return Ok(vec![finding]);
        }
    };
    let hash = ObjectHash::of(&bytes);
    let named = PackName::of(&hash) == pack.name;
    let committed = added.get(&pack.name).is_none_or(|pack| pack.hash == hash);
    let found = match (named && committed, keys_of(ring, &bytes, &pack)) {
        (true, Ok(keys)) => scan(&keys, &bytes, frames).err(),
        (false, Ok(keys)) => {
            let failing = frames.iter().filter(|frame| !opens(&keys, &bytes, frame));
            Some(("its content is not what its name promises", inodes(failing)))
        }
        (_, Err(why)) => Some((why, inodes(frames.iter()))),
    };
    let Some((why, inodes)) = found else {
        return Ok(Vec::new());
    };
    let mut finding = Finding::of_error(forged(&name, why))?;
    finding.inodes = inodes;
    Ok(vec![finding])
}

fn keys_of(
    ring: &Keyring,
    bytes: &[u8],
    pack: &PackRef,
) -> std::result::Result<PackKeys, &'static str> {
    let preamble = bytes
        .get(..PREAMBLE as usize)
        .and_then(|start| Preamble::decode(start).ok())
        .filter(|preamble| preamble.salt == pack.salt && preamble.epoch == pack.epoch)
        .ok_or("its beginning is not that of a pack")?;
    PackKeys::new(ring, &preamble).map_err(|_| "its keys are not known")
}

/// Opens every frame of an intact pack; answers what is wrong and whose content that is.
fn scan(
    keys: &PackKeys,
    bytes: &[u8],
    frames: &[Used],
) -> std::result::Result<(), (&'static str, BTreeSet<Inode>)> {
    let mut there: HashMap<u32, (FrameKind, Digest, u32)> = HashMap::new();
    let mut offset = PREAMBLE;
    let bad = |why| (why, inodes(frames.iter()));
    loop {
        let rest = bytes.get(offset as usize..).unwrap_or(&[]);
        let frame = keys
            .scan(offset, rest)
            .map_err(|_| bad("a frame does not open"))?;
        if frame.kind == FrameKind::End {
            let count = u32::try_from(there.len()).unwrap_or(u32::MAX);
            keys.verify_end(offset, rest, count)
                .map_err(|_| bad("its end is not what was written"))?;
            break;
        }
        there.insert(offset, (frame.kind, frame.digest, frame.stored));
        offset += frame.length;
    }
    let failing = inodes(frames.iter().filter(|frame| {
        there.get(&frame.offset) != Some(&(frame.kind, frame.digest, frame.stored))
    }));
    match failing.is_empty() {
        true => Ok(()),
        false => Err(("a frame is not the one that was meant", failing)),
    }
}

fn opens(keys: &PackKeys, bytes: &[u8], frame: &Used) -> bool {
    let start = frame.offset as usize;
    let end = start + (frame.stored + FRAME_OVERHEAD) as usize;
    let Some(sealed) = bytes.get(start..end) else {
        return false;
    };
    let opened = keys.open(frame.kind, frame.offset, sealed, &frame.digest);
    opened.is_ok()
}

fn inodes<'u>(frames: impl Iterator<Item = &'u Used>) -> BTreeSet<Inode> {
    frames.map(|frame| frame.inode).collect()
}
