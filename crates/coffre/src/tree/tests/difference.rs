//! Comparing trees: what differs is found, and what is equal is not read.

use std::collections::BTreeSet;
use std::collections::HashSet;

use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Place;
use proptest::prelude::*;

use super::Memory;
use super::Records;
use super::Universe;
use super::model::apply;
use super::model::edits;
use super::records::stored;
use crate::tree::Changes;
use crate::tree::Difference;

/// The difference of two sorted maps.
fn expected(old: &Records, new: &Records) -> Vec<Difference> {
    let keys: BTreeSet<&Key> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .map(|key| {
            let value = |records: &Records| records.get(key).map(|number| stored(key, *number));
            (key.clone(), value(old), value(new))
        })
        // Other numbers may stand for the same value.
        .filter(|(_, old, new)| old != new)
        .collect()
}

/// Nodes that both trees have, by what they hold.
fn shared(memory: &Memory, one: &Child, other: &Child) -> HashSet<Place> {
    let (one, other) = (memory.children(one), memory.children(other));
    let hashes =
        |children: &[Child]| -> HashSet<_> { children.iter().map(|child| child.hash).collect() };
    let both: HashSet<_> = hashes(&one)
        .intersection(&hashes(&other))
        .copied()
        .collect();
    let nodes = one.iter().chain(&other);
    nodes
        .filter(|child| both.contains(&child.hash))
        .map(|child| child.pointer.place)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_difference_of_the_maps(
        step in 1..4_usize,
        batch in edits(1..60),
        unrelated in any::<bool>(),
    ) {
        let universe = Universe::whole();
        let memory = Memory::new(universe.ring.clone());
        let old: Records = universe.keys.iter().step_by(step).cloned().zip(0..).collect();
        let mut new = if unrelated { Records::new() } else { old.clone() };
        apply(universe, &batch, &mut Changes::default(), &mut new);
        let (one, other) = (memory.build(&old), memory.build(&new));
        for (one, other, old, new) in [(&one, &other, &old, &new), (&other, &one, &new, &old)] {
            let differences = expected(old, new);
            let count = differences.len();
            let found = memory.diff(one, other, usize::MAX).unwrap();
            prop_assert!(found.as_ref() == Some(&differences));
            prop_assert!(memory.diff(one, other, count).unwrap() == Some(differences));
            if count > 0 {
                prop_assert_eq!(memory.diff(one, other, count - 1).unwrap(), None);
            }
        }
    }
}

#[test]
fn equal_trees_are_not_read() {
    let universe = Universe::natural();
    let memory = Memory::new(universe.ring.clone());
    let records: Records = universe.keys.iter().cloned().zip(0..).collect();
    let root = memory.build(&records);
    memory.traffic();
    assert_eq!(memory.diff(&root, &root, 0).unwrap(), Some(Vec::new()));
    assert_eq!(memory.traffic().read.len(), 0);
}

#[test]
fn another_value_reads_one_path_of_each_tree() {
    let universe = Universe::natural();
    let memory = Memory::new(universe.ring.clone());
    let records: Records = universe.keys.iter().cloned().zip(0..).collect();
    let root = memory.build(&records);
    for key in universe.keys.iter().step_by(31) {
        let mut changes = Changes::default();
        changes.put(key.clone(), stored(key, 1_000_001));
        let new = memory.edit(&root, &changes);
        memory.traffic();
        let found = memory.diff(&root, &new, 1).unwrap().unwrap();
        assert_eq!(found.len(), 1);
        let read = memory.traffic().read;
        assert_eq!(read.len(), 2 * memory.levels(&root));
        assert!(read.is_disjoint(&shared(&memory, &root, &new)));
    }
}

#[test]
fn a_record_more_or_less_reads_the_neighbours_at_most() {
    let universe = Universe::natural();
    let memory = Memory::new(universe.ring.clone());
    let records: Records = universe.keys.iter().cloned().zip(0..).collect();
    let root = memory.build(&records);
    let levels = memory.levels(&root);
    let high = universe.keys.iter().filter(|key| universe.zeros(key) >= 14);
    for key in universe.keys.iter().step_by(31).chain(high) {
        let mut changes = Changes::default();
        changes.delete(key.clone());
        let new = memory.edit(&root, &changes);
        for (old, new) in [(&root, &new), (&new, &root)] {
            memory.traffic();
            let found = memory.diff(old, new, 1).unwrap().unwrap();
            assert_eq!(found.len(), 1);
            let read = memory.traffic().read;
            let equal = read.intersection(&shared(&memory, old, new)).count();
            assert!(equal <= 2 * levels, "{equal} equal nodes read");
            assert!(read.len() <= 5 * levels, "{} nodes read", read.len());
        }
    }
}
