//! Verifies what a store offers of one device's chain against what the anchor has accepted of it.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

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

/// Pauses before an object that must be there is looked for again: some stores show writes late.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];
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
    /// Commits that could not be accepted, and why.
    pub(super) failures: Vec<Error>,
    /// The accepted commit, if it is gone and nothing continues from it.
    pub(super) gone: Option<Point>,
    /// Another vault that a commit belongs to.
    pub(super) foreign: Option<VaultId>,
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
            let forked = self
                .take_newer(device, objects, names, anchored, &mut offered)
                .await?;
            if !offered.heads.is_empty() && !forked {
                return Ok(offered);
            }
            if forked || self.stops(anchored, &offered) {
                break;
            }
        }
        if let Some(point) = anchored {
            self.take_anchored(device, point, names, &mut offered)
                .await?;
        }
        Ok(offered)
    }

    /// On first contact a damaged newest state is an error, not a reason to show an older one.
    fn stops(&self, anchored: Option<Point>, offered: &Offered) -> bool {
        let damaged = |error: &Error| !matches!(error, Error::Forged { object, .. } if object.starts_with("commits/"));
        anchored.is_none() && offered.failures.iter().any(damaged)
    }

    /// Takes the acceptable commits of one sequence number; true if they are beside the accepted chain.
    async fn take_newer(
        &self,
        device: DeviceId,
        objects: &[Object],
        names: &Names,
        anchored: Option<Point>,
        offered: &mut Offered,
    ) -> Result<bool> {
        let mut forked = false;
        for object in objects {
            let head = match self.commits.read(&object.name, object.length).await? {
                Read::Good(head) => *head,
                Read::Absent => continue,
                Read::Bad(error) => {
                    offered.failures.push(error);
                    continue;
                }
                Read::Foreign(vault) => {
                    offered.foreign = Some(vault);
                    continue;
                }
            };
            let continuity = match anchored {
                Some(point) => self.continuity(device, &head, point, names).await?,
                None => Continuity::Succeeds,
            };
            forked |= matches!(continuity, Continuity::Forked);
            match (continuity, self.enrolled(&head).await) {
                (Continuity::Broken(error), _) => offered.failures.push(error),
                (_, Ok(())) => offered.heads.push(head),
                (_, Err(error @ (Error::Unreachable { .. } | Error::Denied { .. }))) => {
                    return Err(error);
                }
                (_, Err(error)) => offered.failures.push(error),
            }
        }
        Ok(forked)
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
            None => self.look_again(&name).await?.map(Some),
        };
        match length {
            None => offered.gone = Some(point),
            Some(length) => match self.commits.read(&name, length).await? {
                Read::Good(head) => offered.heads.push(*head),
                Read::Absent => offered.gone = Some(point),
                // The anchor names it, so this is no torn upload.
                Read::Bad(error) => return Err(error),
                Read::Foreign(_) => return Err(forged(&name, "it belongs to another vault")),
            },
        }
        let others: Vec<Object> = beside
            .iter()
            .filter(|object| object.name != name)
            .cloned()
            .collect();
        self.take_newer(device, &others, names, Some(point), offered)
            .await?;
        Ok(())
    }

    /// Looks for an object that a listing does not show, several times.
    async fn look_again(&self, name: &ObjectName) -> Result<Option<u64>> {
        for pause in PAUSES {
            if let Some(length) = self.commits.store.length(name).await? {
                return Ok(Some(length));
            }
            tokio::time::sleep(pause).await;
        }
        self.commits.store.length(name).await
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
