//! Changes over a base tree: an ordered map of records and tombstones, and deleted ranges under it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;

/// What one entry of the map costs beside its key's bytes, in bytes: its place, and the key's allocation.
const ENTRY_COST: usize = 80;
/// What a value costs beside what it points to, in bytes.
const VALUE_COST: usize = 224;

/// Changes in the order they were applied: a deleted range hides the base and what was put before it;
/// what is put later lives over it.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    map: BTreeMap<Key, Option<Arc<Value>>>,
    /// Disjoint, not touching: start (inclusive) → end (exclusive).
    ranges: BTreeMap<Key, Key>,
    weight: usize,
}

impl Changes {
    /// Sets a record.
    pub fn put(&mut self, key: Key, value: Arc<Value>) {
        self.weight += cost(&key, Some(&value));
        self.insert(key, Some(value));
    }

    /// Removes one record.
    pub fn delete(&mut self, key: Key) {
        if self.covers(&key) {
            // The range hides the base already.
            if let Some(old) = self.map.remove(&key) {
                self.weight -= cost(&key, old.as_ref());
            }
            return;
        }
        self.weight += cost(&key, None);
        self.insert(key, None);
    }

    /// Removes all records from `start` (inclusive) to `end` (exclusive).
    pub fn delete_range(&mut self, start: Key, end: Key) {
        if start >= end {
            return;
        }
        let inside: Vec<Key> = self
            .map
            .range(start.clone()..end.clone())
            .map(|(key, _)| key.clone())
            .collect();
        for key in inside {
            if let Some(old) = self.map.remove(&key) {
                self.weight -= cost(&key, old.as_ref());
            }
        }
        let (mut start, mut end) = (start, end);
        // Ranges that overlap or touch become one.
        if let Some((before, until)) = self.ranges.range(..=start.clone()).next_back()
            && *until >= start
        {
            start = before.clone();
            end = end.max(until.clone());
        }
        let swallowed: Vec<Key> = self
            .ranges
            .range(start.clone()..=end.clone())
            .map(|(key, _)| key.clone())
            .collect();
        for key in swallowed {
            if let Some(until) = self.ranges.remove(&key) {
                self.weight -= ENTRY_COST;
                end = end.max(until);
            }
        }
        self.weight += ENTRY_COST;
        self.ranges.insert(start, end);
    }

    /// `None`: says nothing about this key; `Some(None)`: deleted.
    pub fn get(&self, key: &Key) -> Option<Option<&Arc<Value>>> {
        match self.map.get(key) {
            Some(value) => Some(value.as_ref()),
            None if self.covers(key) => Some(None),
            None => None,
        }
    }

    /// Records and tombstones in the range, in order. (Deleted ranges are told by [`Changes::covers`].)
    pub fn range<'a>(
        &'a self,
        start: &Key,
        end: &Key,
    ) -> impl DoubleEndedIterator<Item = (&'a Key, Option<&'a Arc<Value>>)> + use<'a> {
        let end = start.max(end);
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        self.map
            .range::<Key, _>(bounds)
            .map(|(key, value)| (key, value.as_ref()))
    }

    /// Whether a deleted range covers this key (a put after the deletion still counts).
    pub fn covers(&self, key: &Key) -> bool {
        self.covered_until(key).is_some()
    }

    /// End of the deleted range that covers this key, for skipping over it.
    pub fn covered_until(&self, key: &Key) -> Option<&Key> {
        let (_, until) = self.ranges.range::<Key, _>(..=key).next_back()?;
        (key < until).then_some(until)
    }

    /// Deleted ranges, disjoint and in order.
    pub fn ranges(&self) -> impl Iterator<Item = (&Key, &Key)> {
        self.ranges.iter()
    }

    /// Records and tombstones, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Value>>)> {
        self.map.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// Bytes of memory, roughly (keys, values with their content bytes).
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty() && self.ranges.is_empty()
    }

    fn insert(&mut self, key: Key, value: Option<Arc<Value>>) {
        match self.map.entry(key) {
            Entry::Vacant(vacant) => drop(vacant.insert(value)),
            Entry::Occupied(mut known) => {
                let old = known.insert(value);
                self.weight -= cost(known.key(), old.as_ref());
            }
        }
    }
}

fn cost(key: &Key, value: Option<&Arc<Value>>) -> usize {
    let own = if value.is_some() { VALUE_COST } else { 0 };
    let content = match value.map(|value| &**value) {
        Some(Value::Record(Record::Block(block))) => block
            .pieces
            .iter()
            .map(|piece| {
                128 + match &piece.content {
                    Content::Bytes(bytes) => bytes.len(),
                    Content::Frame(_) => 0,
                }
            })
            .sum(),
        Some(Value::Record(
            Record::Xattr(bytes) | Record::Setting(bytes) | Record::Unknown(bytes),
        )) => bytes.len(),
        Some(Value::Record(Record::Inode(inode))) => inode.target.as_ref().map_or(0, Vec::len),
        _ => 0,
    };
    ENTRY_COST + key.as_bytes().len() + own + content
}
