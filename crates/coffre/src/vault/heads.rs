//! Finds the heads of all devices, compares them with the anchor, and takes up what is right.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffre_format::anchor::Anchor;
use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::DeviceId;
use coffre_format::id::VaultId;
use coffre_format::name::ObjectName;
use futures::StreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::store::Object;
use crate::store::Prefix;
use crate::store::Store;
use crate::tree::Nodes;
use crate::vault::Access;
use crate::vault::Head;
use crate::vault::Heads;
use crate::vault::Memory;
use crate::vault::Vault;
use crate::vault::base;
use crate::vault::chain::Chains;
use crate::vault::chain::Names;
use crate::vault::chain::Offered;
use crate::vault::commits::Commits;
use crate::vault::device;
use crate::vault::kept;
use crate::vault::state::StateDir;

/// Chains that are looked at together.
const TOGETHER: usize = 8;
/// Devices beyond this are reported, not followed.
const DEVICES_MAX: usize = 1024;

/// What the store offers, verified.
pub(super) struct Survey {
    pub(super) heads: Vec<Head>,
    /// What the anchor is to name from now on.
    pub(super) accepted: Vector,
    pub(super) ring: Arc<Keyring>,
    pub(super) warnings: Vec<String>,
}

/// Where to look, and what is known.
pub(super) struct Lookout<'a> {
    pub(super) store: &'a Store,
    pub(super) state: &'a StateDir,
    pub(super) nodes: &'a Nodes,
    pub(super) anchor: &'a Anchor,
}

#[doc(hidden)]
impl Vault {
    /// Lists heads again. `Rollback` is sticky.
    pub async fn refresh(&self) -> Result<Heads> {
        let _turn = self.inner.turn.lock().await;
        let anchor = {
            let memory = self.memory();
            if let Some(rollback) = &memory.rollback {
                return Err(rollback.clone());
            }
            memory.anchor.clone()
        };
        let lookout = Lookout {
            store: self.store(),
            state: self.state(),
            nodes: &self.inner.nodes,
            anchor: &anchor,
        };
        let survey = survey(&lookout).await;
        let mut memory = self.memory();
        match survey {
            Ok(survey) => {
                memory.take_up(self.inner.id, self.inner.access, survey)?;
                memory.offline = false;
                self.save(&mut memory)?;
                drop(memory);
                Ok(self.heads())
            }
            Err(error) => {
                if matches!(error, Error::Rollback { .. } | Error::WrongVault { .. }) {
                    memory.rollback = Some(error.clone());
                }
                memory.offline |= matches!(error, Error::Unreachable { .. });
                Err(error)
            }
        }
    }
}

impl Memory {
    /// Compares a survey with the anchor and makes it what this session knows.
    pub(super) fn take_up(&mut self, vault: VaultId, access: Access, survey: Survey) -> Result<()> {
        let mut warnings = survey.warnings;
        let own = self.device(vault);
        if let Some(device) = own {
            self.own_chain(device, access, &survey.heads, &mut warnings);
        }
        for (device, point) in &survey.accepted {
            base::raise(&mut self.anchor.accepted, *device, *point);
        }
        self.ring = survey.ring;
        let own = self.device(vault).zip(self.anchor.last);
        self.heads = gather(survey.heads, own, warnings).ok_or_else(no_commits)?;
        Ok(())
    }

    /// Looks at what the store has of our own chain: nothing new, the intent, or a clone's commits.
    fn own_chain(
        &mut self,
        device: DeviceId,
        access: Access,
        heads: &[Head],
        warnings: &mut Vec<String>,
    ) {
        let intent = self.anchor.intent.as_ref().map(|intent| intent.point);
        let ours = |point: &Point| Some(*point) == self.anchor.last || Some(*point) == intent;
        let own = heads.iter().filter(|head| head.device == device);
        let strange = own.clone().any(|head| !ours(&head.point));
        // Another device has seen a commit of ours that we do not know: our folder is an older copy.
        let highest = intent.or(self.anchor.last).map_or(0, |point| point.seq.0);
        let seen = |head: &Head| head.commit.body.seen.get(&device).copied();
        let ahead = heads
            .iter()
            .filter_map(seen)
            .any(|point| point.seq.0 > highest);
        if strange || ahead {
            let clone = Error::DeviceCloned {
                device: device.to_string(),
            };
            warnings.push(clone.to_string());
            if access == Access::ReadWrite {
                device::retire(&mut self.anchor, device);
            }
        } else if let Some(landed) = own
            .map(|head| head.point)
            .find(|point| Some(*point) == intent)
        {
            self.anchor.last = Some(landed);
            self.anchor.intent = None;
        }
    }
}

/// Heads with the one to work on.
pub(super) fn gather(
    all: Vec<Head>,
    own: Option<(DeviceId, Point)>,
    warnings: Vec<String>,
) -> Option<Heads> {
    let base = base::choose(&all, own)?.clone();
    Some(Heads {
        diverged: base::diverged(&base, &all),
        base,
        all,
        warnings,
    })
}

/// Lists and verifies the heads of every device.
pub(super) async fn survey(lookout: &Lookout<'_>) -> Result<Survey> {
    let mut warnings = Vec::new();
    let names = list(lookout, &mut warnings).await?;
    let chains = Chains {
        commits: Commits::new(lookout.store, lookout.state, lookout.nodes),
        known: &lookout.anchor.accepted,
        intent: lookout.anchor.intent.as_ref().map(|intent| intent.point),
    };
    let chains = &chains;
    let offers = futures::stream::iter(names)
        .map(|(device, names)| async move { (device, chains.offered(device, &names).await) })
        .buffer_unordered(TOGETHER);
    let offers: Vec<(DeviceId, Result<Offered>)> = offers.collect().await;
    let mut heads = Vec::new();
    let mut accepted = Vector::new();
    let mut gone = Vec::new();
    let mut failures = Vec::new();
    let mut foreign = None;
    for (device, offered) in offers {
        let offered = offered?;
        heads.extend(offered.heads);
        accepted.extend(offered.accept.map(|point| (device, point)));
        let of_device = |error| (device, error);
        failures.extend(offered.failures.into_iter().map(of_device));
        foreign = offered.foreign.or(foreign);
        gone.extend(offered.gone.map(|point| (device, point)));
    }
    let vault = lookout.nodes.ring().vault();
    if let Some(found) = foreign
        && (heads.is_empty() || !gone.is_empty())
    {
        return Err(Error::WrongVault {
            expected: vault.to_string(),
            found: found.to_string(),
        });
    }
    if let Some((device, point)) = gone.first() {
        let what = format!(
            "commit {} of device {device} was accepted earlier and is not offered any more",
            point.seq
        );
        return Err(Error::Rollback { what });
    }
    if heads.is_empty() {
        return Err(failures
            .into_iter()
            .next()
            .map_or_else(no_commits, |(_, error)| error));
    }
    heads.sort_by_key(|head| (head.device, head.point));
    let skipped = |(device, error): &(DeviceId, Error)| {
        format!("skipped a commit of device {device}: {error}")
    };
    warnings.extend(failures.iter().map(skipped));
    warnings.extend(forks(&heads));
    warnings.extend(withheld(&heads));
    Ok(Survey {
        ring: chains.commits.ring(),
        heads,
        accepted,
        warnings,
    })
}

/// Names of all commits by device; devices that the anchor knows are there even with nothing listed.
async fn list(
    lookout: &Lookout<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<DeviceId, Names>> {
    let known = &lookout.anchor.accepted;
    let mut devices: BTreeMap<DeviceId, Names> = BTreeMap::new();
    for device in known.keys() {
        devices.insert(*device, Names::new());
    }
    let listing = lookout.store.list(Prefix::Commits).await?;
    let mut objects = listing.objects;
    if listing.cut {
        warnings.push("the store lists more commits than are followed".to_owned());
        for device in known.keys() {
            let more = lookout.store.list(Prefix::CommitsOf(*device)).await?;
            objects.extend(more.objects);
        }
    }
    for object in objects {
        add(&mut devices, object, warnings);
    }
    Ok(devices)
}

/// Names of one device's commits.
pub(super) async fn names_of(store: &Store, device: DeviceId) -> Result<Names> {
    let mut devices = BTreeMap::new();
    for object in store.list(Prefix::CommitsOf(device)).await?.objects {
        add(&mut devices, object, &mut Vec::new());
    }
    Ok(devices.remove(&device).unwrap_or_default())
}

fn add(devices: &mut BTreeMap<DeviceId, Names>, object: Object, warnings: &mut Vec<String>) {
    let ObjectName::Commit { device, seq, .. } = object.name else {
        return;
    };
    if devices.len() >= DEVICES_MAX && !devices.contains_key(&device) {
        let what = format!("more than {DEVICES_MAX} devices are listed; the rest is ignored");
        if !warnings.contains(&what) {
            warnings.push(what);
        }
        return;
    }
    let same = devices.entry(device).or_default().entry(seq).or_default();
    if !same.iter().any(|other| other.name == object.name) {
        same.push(object);
    }
}

fn forks(heads: &[Head]) -> Vec<String> {
    let twice = heads.windows(2).filter_map(|pair| match pair {
        [first, second] if first.device == second.device => Some(first.device),
        _ => None,
    });
    twice
        .map(|device| format!("device {device} has published two commits in one place: its state folder was copied; both are kept"))
        .collect()
}

/// Commits that one device has seen and the store does not offer.
fn withheld(heads: &[Head]) -> Vec<String> {
    let mut offered = Vector::new();
    for head in heads {
        base::raise(&mut offered, head.device, head.point);
    }
    let mut missing: BTreeMap<DeviceId, (Point, DeviceId)> = BTreeMap::new();
    for head in heads {
        for (device, point) in &head.commit.body.seen {
            let there = offered.get(device).map_or(0, |known| known.seq.0);
            let noted = missing.get(device).map_or(0, |(known, _)| known.seq.0);
            if point.seq.0 > there.max(noted) {
                missing.insert(*device, (*point, head.device));
            }
        }
    }
    missing
        .into_iter()
        .map(|(device, (point, by))| {
            format!(
                "withheld: device {by} has seen commit {} of device {device}, which the store does not offer",
                point.seq
            )
        })
        .collect()
}

/// The accepted heads from the state folder, for a start without the network.
pub(super) fn kept_survey(lookout: &Lookout<'_>) -> Option<Survey> {
    let commits = Commits::new(lookout.store, lookout.state, lookout.nodes);
    let heads = lookout
        .anchor
        .accepted
        .iter()
        .filter_map(|(device, point)| {
            let head = commits.kept(&kept::commit_name(*device, point))?;
            (head.point == *point).then_some(head)
        });
    let heads: Vec<Head> = heads.collect();
    (!heads.is_empty()).then(|| Survey {
        ring: commits.ring(),
        heads,
        accepted: lookout.anchor.accepted.clone(),
        warnings: Vec::new(),
    })
}

pub(super) fn no_commits() -> Error {
    Error::Missing {
        object: "commits/".to_owned(),
        path: None,
    }
}
