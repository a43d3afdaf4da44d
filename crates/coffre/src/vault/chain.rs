//! Verifies what a store offers of one device's chain against what the anchor has accepted of it.

use std::collections::BTreeMap;
use std::collections::HashMap;

use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::id::DeviceId;
use coffre_format::id::Seq;
use coffre_format::id::VaultId;
use coffre_format::name::ObjectName;
use futures::StreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::store::Object;
use crate::vault::Head;
use crate::vault::base;
use crate::vault::commits::Commits;
use crate::vault::commits::Read;
use crate::vault::commits::forged;
use crate::vault::kept;

/// Commits of a chain that are fetched together.
const RUN: usize = 32;

/// Commits of one device as listed.
pub(super) type Names = BTreeMap<Seq, Vec<Object>>;

/// How a commit stands to the one that the anchor has accepted.
enum Continuity {
    /// It is that one or comes after it.
    Succeeds,
    /// Its chain has another commit in that place: the device exists twice.
    Forked,
    /// A commit between the two cannot be had.
    Broken(Error),
}

/// What the store offers of one chain.
#[derive(Default)]
pub(super) struct Offered {
    /// Its heads: one, or two of a device that exists twice.
    pub(super) heads: Vec<Head>,
    /// The one of them that the anchor is to name from now on.
    pub(super) accept: Option<Point>,
    /// Commits that could not be accepted, and why.
    pub(super) failures: Vec<Error>,
    /// The accepted commit, if it is gone and nothing continues from it.
    pub(super) gone: Option<Point>,
    /// Another vault that a commit belongs to.
    pub(super) foreign: Option<VaultId>,
}

impl Offered {
    /// On first contact a damaged newest state is an error, not a reason to show an older one.
    fn stops(&self, anchored: Option<Point>) -> bool {
        let damaged = |error: &Error| !matches!(error, Error::Forged { object, .. } if object.starts_with("commits/"));
        anchored.is_none() && self.failures.iter().any(damaged)
    }
}

/// Compares what is offered with what was accepted.
pub(super) struct Chains<'a> {
    pub(super) commits: Commits<'a>,
    /// What the anchor has accepted.
    pub(super) known: &'a Vector,
    /// This device's own commit that may have reached the store.
    pub(super) intent: Option<Point>,
}

impl Chains<'_> {
    /// Finds the heads of one chain, newest first, not below the accepted commit.
    pub(super) async fn offered(&self, device: DeviceId, names: &Names) -> Result<Offered> {
        let anchored = self.known.get(&device).copied();
        let mut offered = Offered::default();
        for (seq, objects) in names.iter().rev() {
            if anchored.is_some_and(|point| *seq <= point.seq) {
                break;
            }
            for object in objects {
                self.take(device, object, names, anchored, &mut offered)
                    .await?;
            }
            // Below a fork, the accepted chain may go on.
            if offered.accept.is_some() || offered.stops(anchored) {
                break;
            }
        }
        if let Some(point) = anchored
            && offered.accept.is_none()
        {
            self.take_anchored(device, point, names, &mut offered)
                .await?;
        }
        Ok(offered)
    }

    /// Takes a commit that is not the accepted one, if it is right.
    async fn take(
        &self,
        device: DeviceId,
        object: &Object,
        names: &Names,
        anchored: Option<Point>,
        offered: &mut Offered,
    ) -> Result<()> {
        let head = match self.commits.read(&object.name, object.length).await? {
            Read::Good(head) => *head,
            Read::Absent => return Ok(()),
            Read::Bad(error) => {
                offered.failures.push(error);
                return Ok(());
            }
            Read::Foreign(vault) => {
                offered.foreign = Some(vault);
                return Ok(());
            }
        };
        let continuity = match anchored {
            Some(point) => self.continuity(device, &head, point, names).await?,
            None => Continuity::Succeeds,
        };
        let beside = match continuity {
            Continuity::Succeeds => offered.accept.is_some(),
            // One fork is told by its newest commit; what is below that is part of it.
            Continuity::Forked if !offered.heads.is_empty() => return Ok(()),
            Continuity::Forked => true,
            Continuity::Broken(error) => {
                offered.failures.push(error);
                return Ok(());
            }
        };
        match self.enrolled(&head).await {
            Ok(()) => {
                if !beside {
                    offered.accept = Some(head.point);
                }
                offered.heads.push(head);
                Ok(())
            }
            Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) => Err(error),
            Err(error) => {
                offered.failures.push(error);
                Ok(())
            }
        }
    }

    /// Our own intent was enrolled when it was made.
    async fn enrolled(&self, head: &Head) -> Result<()> {
        if self.intent == Some(head.point) {
            return Ok(());
        }
        self.commits.enrolled(head).await
    }

    /// The accepted commit itself (and a second one in its place), or word that it is gone.
    async fn take_anchored(
        &self,
        device: DeviceId,
        point: Point,
        names: &Names,
        offered: &mut Offered,
    ) -> Result<()> {
        let name = kept::commit_name(device, &point);
        let beside = names.get(&point.seq).map(Vec::as_slice).unwrap_or(&[]);
        let length = match beside.iter().find(|object| object.name == name) {
            Some(object) => Some(object.length),
            // A listing that does not show it may be an old one.
            None => {
                let store = self.commits.store;
                store.length_in_time(&name, |_| true).await?.map(Some)
            }
        };
        let mut beside_it = false;
        match length {
            None => offered.gone = Some(point),
            Some(length) => match self.commits.read(&name, length).await? {
                Read::Good(head) => {
                    offered.accept = Some(point);
                    beside_it = offered.heads.is_empty();
                    offered.heads.push(*head);
                }
                Read::Absent => offered.gone = Some(point),
                // The anchor names it, so this is no torn upload.
                Read::Bad(error) => return Err(error),
                Read::Foreign(_) => return Err(forged(&name, "it belongs to another vault")),
            },
        }
        // A second commit in the same place, unless a newer one has told of that fork.
        for object in beside
            .iter()
            .filter(|object| beside_it && object.name != name)
        {
            self.take(device, object, names, None, offered).await?;
        }
        Ok(())
    }

    /// Whether the chain that ends in `head` has `point` in it, or has pruned it.
    pub(super) async fn leads_to(&self, head: &Head, point: Point, names: &Names) -> Result<bool> {
        if head.point == point {
            return Ok(true);
        }
        match self.continuity(head.device, head, point, names).await? {
            Continuity::Succeeds => Ok(true),
            Continuity::Forked => Ok(false),
            Continuity::Broken(error) => Err(error),
        }
    }

    /// Walks back from `head` to the accepted commit.
    async fn continuity(
        &self,
        device: DeviceId,
        head: &Head,
        anchored: Point,
        names: &Names,
    ) -> Result<Continuity> {
        let mut fetched = HashMap::new();
        let mut current = head.clone();
        loop {
            if current.point.seq <= anchored.seq {
                return Ok(Continuity::Forked);
            }
            let before = Point {
                seq: Seq(current.point.seq.0 - 1),
                hash: current.commit.clear.previous,
            };
            if before.seq == anchored.seq {
                return Ok(match before.hash == anchored.hash {
                    true => Continuity::Succeeds,
                    false => Continuity::Forked,
                });
            }
            let name = kept::commit_name(device, &before);
            if !fetched.contains_key(&name) {
                self.fetch_run(&name, before.seq, anchored.seq, names, &mut fetched)
                    .await?;
            }
            match fetched.remove(&name) {
                Some(Read::Good(previous)) => {
                    if let Some(why) = falls_back(&previous, &current) {
                        return Ok(Continuity::Broken(forged(&name, why)));
                    }
                    current = *previous;
                }
                Some(Read::Bad(error)) => return Ok(Continuity::Broken(error)),
                _ if before.seq < head.commit.body.floor => return Ok(Continuity::Succeeds),
                _ => {
                    let object = name.to_string();
                    return Ok(Continuity::Broken(Error::Missing { object, path: None }));
                }
            }
        }
    }

    /// Fetches the commit and those listed below it, down to the accepted one, in parallel.
    async fn fetch_run(
        &self,
        name: &ObjectName,
        from: Seq,
        to: Seq,
        names: &Names,
        fetched: &mut HashMap<ObjectName, Read>,
    ) -> Result<()> {
        let mut run: Vec<(ObjectName, Option<u64>)> = names
            .iter()
            .rev()
            .filter(|(seq, _)| **seq <= from && **seq > to)
            .flat_map(|(_, objects)| objects.iter().map(|o| (o.name, o.length)))
            .take(RUN)
            .collect();
        if !run.iter().any(|(listed, _)| listed == name) {
            run.push((*name, None));
        }
        let mut reads = futures::stream::iter(run)
            .map(|(name, length)| async move { (name, self.commits.read(&name, length).await) })
            .buffer_unordered(RUN);
        while let Some((name, read)) = reads.next().await {
            fetched.insert(name, read?);
        }
        Ok(())
    }
}

/// Along one chain, what was merged and seen never becomes less.
fn falls_back(previous: &Head, next: &Head) -> Option<&'static str> {
    let (before, after) = (&previous.commit.body, &next.commit.body);
    if !base::at_most(&before.merged, &after.merged) {
        Some("its successor contains less")
    } else if !base::at_most(&before.seen, &after.seen) {
        Some("its successor has seen less")
    } else {
        None
    }
}
