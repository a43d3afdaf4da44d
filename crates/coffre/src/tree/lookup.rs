//! Finding one record.

use std::sync::Arc;

use coffre_format::frame::FRAME_OVERHEAD;
use coffre_format::node::Entries;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Place;
use coffre_format::record::Value;

use crate::tree::Beside;
use crate::tree::Need;
use crate::tree::Resident;

/// Leaves beside a missing one are fetched with it up to this, in bytes of one pack.
const RUN_MOST: u32 = 1024 * 1024;

/// Finds the record under `key`, or what is missing on the way to it.
pub fn find(root: &Child, key: &Key, resident: &impl Resident) -> Result<Option<Arc<Value>>, Need> {
    let mut child = *root;
    let mut beside = None;
    loop {
        let Some(node) = resident.node(&child) else {
            return Err(Need {
                nodes: vec![child],
                beside,
                ..Need::default()
            });
        };
        match &node.entries {
            Entries::Leaf(entries) => {
                let Ok(index) = entries.binary_search_by(|(known, _)| known.cmp(key)) else {
                    return Ok(None);
                };
                return resolve(key, &entries[index].1, resident).map(Some);
            }
            Entries::Inner(children) => {
                let index = children.partition_point(|(last, _)| last < key);
                let Some((_, next)) = children.get(index) else {
                    return Ok(None);
                };
                child = *next;
                beside = (node.level == 1).then_some(Beside { above: node, index });
            }
        }
    }
}

/// A value itself, or what it was spilled from.
pub(super) fn resolve(
    key: &Key,
    value: &Arc<Value>,
    resident: &impl Resident,
) -> Result<Arc<Value>, Need> {
    match &**value {
        Value::Record(_) => Ok(value.clone()),
        Value::Spilled { pointer, .. } => {
            let tag = key.tag().unwrap_or(0);
            let spilled = Need {
                spills: vec![(tag, *pointer)],
                ..Need::default()
            };
            resident.spill(tag, pointer).ok_or(spilled)
        }
    }
}

/// Siblings that lie next to it in the same pack: one request brings them all.
pub(super) fn neighbours(Beside { above, index }: &Beside) -> Vec<Child> {
    let (Entries::Inner(children), index) = (&above.entries, *index) else {
        return Vec::new();
    };
    let Some((pack, start, end)) = children.get(index).and_then(|(_, child)| extent(child)) else {
        return Vec::new();
    };
    let (mut low, mut high) = (start, end);
    let mut near = Vec::new();
    for (_, child) in children.iter().skip(index + 1) {
        match extent(child) {
            Some((other, from, until))
                if other == pack && from == high && until - low <= RUN_MOST =>
            {
                high = until
            }
            _ => break,
        }
        near.push(*child);
    }
    for (_, child) in children.iter().take(index).rev() {
        match extent(child) {
            Some((other, from, until))
                if other == pack && until == low && high - from <= RUN_MOST =>
            {
                low = from
            }
            _ => break,
        }
        near.push(*child);
    }
    near
}

fn extent(child: &Child) -> Option<(coffre_format::id::PackName, u32, u32)> {
    match child.pointer.place {
        Place::Pack { pack, offset } => Some((
            pack.name,
            offset,
            offset.saturating_add(child.pointer.stored + FRAME_OVERHEAD),
        )),
        Place::Open { .. } => None,
    }
}
