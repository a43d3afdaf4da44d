//! The overlay of changes against a map that remembers what was said of each key.

use std::collections::BTreeMap;

use coffre_format::id::Inode;
use coffre_format::record::Key;
use coffre_format::record::tag;
use proptest::prelude::*;

use super::records::stored;
use crate::tree::Changes;

/// Keys that exist here.
const KEYS: usize = 24;

#[derive(Debug, Clone)]
enum Edit {
    Put(usize, u32),
    Delete(usize),
    DeleteRange(usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (0..KEYS, any::<u32>()).prop_map(|(key, number)| Edit::Put(key, number)),
        3 => (0..KEYS).prop_map(Edit::Delete),
        2 => (0..KEYS, 0..KEYS).prop_map(|(from, to)| Edit::DeleteRange(from, to)),
        2 => (0..KEYS, 0..4_usize).prop_map(|(from, width)| Edit::DeleteRange(from, from + width)),
    ];
    proptest::collection::vec(edit, 0..40)
}

/// Of several kinds, so that weights differ.
fn key(number: usize) -> Key {
    let kinds = [tag::INODE, tag::XATTR, tag::BLOCK];
    Key::new(Inode(1 + number as u64 / 3), kinds[number % 3], &[])
}

/// What was said of a key: nothing (absent), deleted, or the number of its value.
type Said = BTreeMap<usize, Option<u32>>;

fn apply(edits: &[Edit], changes: &mut Changes, said: &mut Said) {
    for edit in edits {
        match *edit {
            Edit::Put(at, number) => {
                changes.put(key(at), stored(&key(at), number));
                said.insert(at, Some(number));
            }
            Edit::Delete(at) => {
                changes.delete(key(at));
                said.insert(at, None);
            }
            Edit::DeleteRange(from, to) => {
                changes.delete_range(key(from), key(to));
                said.extend((from..to.max(from)).map(|at| (at, None)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_last_word_on_a_key_counts(edits in edits()) {
        let (mut changes, mut said) = (Changes::default(), Said::new());
        for edit in &edits {
            apply(std::slice::from_ref(edit), &mut changes, &mut said);
            for at in 0..KEYS + 4 {
                let found = changes.get(&key(at)).map(|value| value.cloned());
                let expected = said.get(&at).copied();
                let expected = expected.map(|value| value.map(|number| stored(&key(at), number)));
                prop_assert_eq!(found, expected);
            }
        }
        check_ranges(&changes, &said);
        check_order(&changes, &said);
        check_weight(&changes);
    }

    #[test]
    fn a_layer_over_a_layer_is_both_in_turn(first in edits(), second in edits()) {
        let (mut lower, mut upper, mut both) = (Changes::default(), Changes::default(), Changes::default());
        let said = &mut Said::new();
        apply(&first, &mut lower, said);
        apply(&second, &mut upper, said);
        apply(&first, &mut both, said);
        apply(&second, &mut both, said);
        for at in 0..KEYS + 4 {
            let key = key(at);
            prop_assert_eq!(upper.get(&key).or_else(|| lower.get(&key)), both.get(&key));
        }
    }
}

/// Deleted ranges are in order, apart from each other, and hide what they cover.
fn check_ranges(changes: &Changes, said: &Said) {
    let ranges: Vec<_> = changes.ranges().collect();
    for (start, end) in &ranges {
        assert!(start < end);
    }
    for pair in ranges.windows(2) {
        assert!(pair[0].1 < pair[1].0, "ranges touch");
    }
    for at in 0..KEYS + 4 {
        let here = key(at);
        let covering = ranges
            .iter()
            .find(|(start, end)| **start <= here && here < **end);
        assert_eq!(changes.covered_until(&here), covering.map(|(_, end)| *end));
        assert_eq!(changes.covers(&here), covering.is_some());
        if covering.is_some() {
            assert!(said.contains_key(&at), "it was never deleted");
        }
    }
}

/// Iterating tells what was put, and the deleted keys that no range covers.
fn check_order(changes: &Changes, said: &Said) {
    let told = |from: usize, to: usize| -> Vec<_> {
        said.range(from..to.max(from))
            .filter(|(at, value)| value.is_some() || !changes.covers(&key(**at)))
            .map(|(at, value)| (key(*at), value.map(|number| stored(&key(*at), number))))
            .collect()
    };
    let owned = |(key, value): (&Key, Option<&_>)| (key.clone(), value.cloned());
    let all: Vec<_> = changes.iter().map(owned).collect();
    assert_eq!(all, told(0, KEYS + 4));
    for (from, to) in [(0, KEYS), (5, 17), (17, 5), (9, 9), (11, 12)] {
        let mut expected = told(from, to);
        let found: Vec<_> = changes.range(&key(from), &key(to)).map(owned).collect();
        assert_eq!(found, expected);
        expected.reverse();
        let found: Vec<_> = changes
            .range(&key(from), &key(to))
            .rev()
            .map(owned)
            .collect();
        assert_eq!(found, expected);
    }
}

/// The weight is that of what is there now, whatever has come and gone.
fn check_weight(changes: &Changes) {
    let mut fresh = Changes::default();
    for (start, end) in changes.ranges() {
        fresh.delete_range(start.clone(), end.clone());
    }
    for (key, value) in changes.iter() {
        match value {
            Some(value) => fresh.put(key.clone(), value.clone()),
            None => fresh.delete(key.clone()),
        }
    }
    assert_eq!(changes.weight(), fresh.weight());
    assert_eq!(changes.weight() == 0, changes.is_empty());
}
