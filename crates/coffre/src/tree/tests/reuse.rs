//! What one edit reads and writes: the path to it and what lies beside it, never the rest of the tree.

use std::collections::HashSet;

use coffre_format::id::Inode;
use coffre_format::record::Child;
use coffre_format::record::Key;

use super::Memory;
use super::Records;
use super::Universe;
use super::records::stored;
use crate::tree::Changes;

/// One tree, and the cost of edits of it.
struct Cost {
    memory: Memory,
    root: Child,
    levels: usize,
    records: Records,
}

impl Cost {
    fn of(universe: &Universe, records: Records) -> Self {
        let memory = Memory::new(universe.ring.clone());
        let root = memory.build(&records);
        let levels = memory.levels(&root);
        Self {
            memory,
            root,
            levels,
            records,
        }
    }

    /// Nodes read and written. What the new tree has that the old one has not is exactly what was written.
    fn edit(&self, change: impl FnOnce(&mut Changes)) -> (usize, usize) {
        let mut changes = Changes::default();
        change(&mut changes);
        let before = self.memory.places(&self.root);
        self.memory.traffic();
        let root = self.memory.edit(&self.root, &changes);
        let traffic = self.memory.traffic();
        let after = self.memory.places(&root);
        let fresh: HashSet<_> = after.difference(&before).copied().collect();
        assert!(fresh.is_subset(&traffic.written));
        // A level that has become superfluous was written before that was known.
        assert!(traffic.written.len() <= fresh.len() + 1);
        (traffic.read.len(), traffic.written.len())
    }

    /// Each kind of edit at some keys, within bounds.
    fn check(&self, keys: &[&Key]) {
        for key in keys {
            let (read, written) = self.edit(|changes| {
                changes.put((*key).clone(), stored(key, 1_000_001));
            });
            assert_eq!(written, self.levels, "another value for {key:?}");
            assert!(read <= 2 * self.levels, "another value: {read} read");

            let (read, written) = self.edit(|changes| changes.delete((*key).clone()));
            assert!(written <= 2 * self.levels, "delete: {written} written");
            assert!(read <= 3 * self.levels, "delete: {read} read");

            let beside = key.successor();
            let (read, written) = self.edit(|changes| {
                changes.put(beside.clone(), stored(&beside, 5));
            });
            assert!(written <= 2 * self.levels, "put: {written} written");
            assert!(read <= 3 * self.levels, "put: {read} read");

            let (_, written) = self.edit(|changes| {
                changes.put((*key).clone(), stored(key, self.records[*key]));
                changes.delete(beside);
            });
            assert_eq!(written, 0, "nothing is changed");
        }
    }
}

#[test]
fn one_edit_of_a_deep_tree_costs_its_depth() {
    let universe = Universe::natural();
    let records: Records = universe.keys.iter().cloned().zip(0..).collect();
    let cost = Cost::of(&universe, records);
    assert_eq!(cost.levels, 5);
    let nodes = cost.memory.places(&cost.root).len();
    assert!(nodes > 20 * cost.levels, "only {nodes} nodes");
    let mut keys: Vec<&Key> = universe.keys.iter().step_by(17).collect();
    // Keys that end nodes of several levels are the dear ones.
    keys.extend(universe.keys.iter().filter(|key| universe.zeros(key) >= 21));
    cost.check(&keys);
}

#[test]
fn one_edit_of_a_large_tree_costs_its_depth() {
    let universe = Universe::natural();
    let number = |at: u64| Key::inode(Inode(at * 7 + 1));
    // Odd numbers: small values, so that hardly a run is cut by weight.
    let records: Records = (0..20_000).map(number).zip((1..).step_by(2)).collect();
    let cost = Cost::of(&universe, records);
    let nodes = cost.memory.places(&cost.root).len();
    assert!(nodes > 100, "only {nodes} nodes");
    let keys: Vec<Key> = (0..20_000).step_by(401).map(number).collect();
    let keys: Vec<&Key> = keys.iter().collect();
    cost.check(&keys);
}

#[test]
fn a_batch_costs_less_than_its_edits_one_by_one() {
    let universe = Universe::natural();
    let records: Records = universe.keys.iter().cloned().zip(0..).collect();
    let cost = Cost::of(&universe, records);
    let together = &universe.keys[400..460];
    let (read, written) = cost.edit(|changes| {
        for key in together {
            changes.put(key.clone(), stored(key, 1_000_001));
        }
    });
    // About four records to a leaf here.
    assert!(written <= together.len() / 3 + 3 * cost.levels, "{written}");
    assert!(read <= written + 3 * cost.levels, "{read}");
}
