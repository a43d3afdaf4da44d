//! Which of several heads to work on: pure decisions over their vectors.

use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::id::DeviceId;

use crate::vault::Head;

/// Whether the root of `this` contains the commit `other`.
///
/// A commit's own place is implied; its `merged` names its predecessor and all else that went in.
pub(super) fn contains(this: &Head, other: &Head) -> bool {
    if this.device == other.device && this.point == other.point {
        return true;
    }
    reaches(&this.commit.body.merged, other.device, &other.point)
}

/// Whether a vector stands at or above a point. At the same height the hashes decide: a fork is not contained.
pub(super) fn reaches(vector: &Vector, device: DeviceId, point: &Point) -> bool {
    vector.get(&device).is_some_and(|known| {
        known.seq > point.seq || (known.seq == point.seq && known.hash == point.hash)
    })
}

/// Whether a vector names exactly this point.
pub(super) fn names(vector: &Vector, device: DeviceId, point: &Point) -> bool {
    vector.get(&device) == Some(point)
}

/// Whether nothing in `lower` stands above `upper`.
pub(super) fn at_most(lower: &Vector, upper: &Vector) -> bool {
    lower.iter().all(|(device, point)| {
        upper
            .get(device)
            .is_some_and(|known| known.seq >= point.seq)
    })
}

/// Raises `vector` to at least `point`.
pub(super) fn raise(vector: &mut Vector, device: DeviceId, point: Point) {
    let known = vector.entry(device).or_insert(point);
    if known.seq < point.seq {
        *known = point;
    }
}

/// The head to work on: a head that contains the own one, else the own one; on first contact
/// the head that contains all others, else the one that has seen most.
pub(super) fn choose(all: &[Head], own: Option<(DeviceId, Point)>) -> Option<&Head> {
    let own = own.and_then(|(device, point)| {
        all.iter()
            .find(|head| head.device == device && head.point == point)
    });
    match own {
        Some(own) => all
            .iter()
            .filter(|head| contains(head, own))
            .max_by_key(|head| rank(head, all)),
        None => all.iter().max_by_key(|head| rank(head, all)),
    }
}

/// Devices with a head that `base` does not contain.
pub(super) fn diverged(base: &Head, all: &[Head]) -> Vec<DeviceId> {
    let mut devices: Vec<_> = all
        .iter()
        .filter(|head| !contains(base, head))
        .map(|head| head.device)
        .collect();
    devices.sort();
    devices.dedup();
    devices
}

type Rank = (bool, u128, [u8; 32]);

fn rank(head: &Head, all: &[Head]) -> Rank {
    let everything = all.iter().all(|other| contains(head, other));
    let merged = &head.commit.body.merged;
    let others = merged.iter().filter(|(device, _)| **device != head.device);
    let sum = u128::from(head.point.seq.0)
        + others
            .map(|(_, point)| u128::from(point.seq.0))
            .sum::<u128>();
    (everything, sum, head.point.hash.0)
}
