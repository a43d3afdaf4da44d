//! A deleted range costs its two ends: what lies inside is dropped unread.

use coffre_format::node::Entries;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Place;

use super::Memory;
use super::Records;
use super::Universe;
use crate::tree::Changes;

fn full(universe: &Universe) -> Records {
    universe.keys.iter().cloned().zip(0..).collect()
}

/// Whether all keys below a node are in the range.
fn is_inside(memory: &Memory, place: &Place, start: &Key, end: &Key) -> bool {
    match &memory.at(place).entries {
        Entries::Leaf(entries) => entries.iter().all(|(key, _)| start <= key && key < end),
        Entries::Inner(children) => children
            .iter()
            .all(|(_, child)| is_inside(memory, &child.pointer.place, start, end)),
    }
}

/// Deletes and answers how many nodes were read, and how many of them lie inside the range.
fn delete(memory: &Memory, root: &Child, records: &Records, ends: (&Key, &Key)) -> (usize, usize) {
    let (start, end) = ends;
    let mut changes = Changes::default();
    changes.delete_range(start.clone(), end.clone());
    memory.traffic();
    let after = memory.edit(root, &changes);
    let traffic = memory.traffic();
    let mut model = records.clone();
    model.retain(|key, _| key < start || end <= key);
    assert_eq!(after.hash, memory.build(&model).hash);
    let inside = traffic
        .read
        .iter()
        .filter(|place| is_inside(memory, place, start, end))
        .count();
    (traffic.read.len(), inside)
}

#[test]
fn the_inside_of_a_range_is_not_read() {
    let universe = Universe::natural();
    let memory = Memory::new(universe.ring.clone());
    let records = full(&universe);
    let root = memory.build(&records);
    let (levels, nodes) = (memory.levels(&root), memory.places(&root).len());
    let bound = 5 * levels;
    assert!(nodes > 10 * bound, "only {nodes} nodes");
    let count = universe.keys.len();
    for from in (0..count / 4).step_by(29) {
        for to in [count - 1 - from, count / 2 + from / 2] {
            let ends = (&universe.keys[from], &universe.keys[to]);
            let (read, inside) = delete(&memory, &root, &records, ends);
            assert!(read <= bound, "{from} to {to}: {read} of {nodes} read");
            // Where the range begins with the first key of a node, that is seen only by reading it.
            assert!(inside <= levels, "{from} to {to}: {inside} inside");
        }
    }
}

#[test]
fn where_runs_are_cut_by_weight_the_two_runs_are_read_as_well() {
    let universe = Universe::whole();
    let memory = Memory::new(universe.ring.clone());
    let records = full(universe);
    let root = memory.build(&records);
    let levels = memory.levels(&root);
    // Leaves that no key ends: the two stretches of heavy runs.
    let cut = memory
        .children(&root)
        .iter()
        .filter_map(|child| memory.at(&child.pointer.place).last_key().cloned())
        .filter(|key| universe.zeros(key) < 7)
        .count();
    assert!(cut > 10);
    for (from, to) in [(3, 1500), (310, 900), (330, 1300), (5, 700)] {
        let ends = (universe.key(from), universe.key(to));
        let (read, inside) = delete(&memory, &root, &records, ends);
        assert!(read <= cut + 5 * levels, "{from} to {to}: {read} read");
        assert!(inside <= levels, "{from} to {to}: {inside} inside");
    }
}

#[test]
fn deleting_everything_reads_one_path() {
    let universe = Universe::whole();
    let memory = Memory::new(universe.ring.clone());
    let records = full(universe);
    let root = memory.build(&records);
    let all = (Key::from_bytes(&[]), Key::from_bytes(&[255; 9]));
    let (read, _) = delete(&memory, &root, &records, (&all.0, &all.1));
    assert!(read <= memory.levels(&root), "{read} read");
}

#[test]
fn a_range_to_the_end_takes_everything_from_its_start_on() {
    let universe = Universe::whole();
    let memory = Memory::new(universe.ring.clone());
    let records = full(universe);
    let root = memory.build(&records);
    let end = Key::from_bytes(&[255; 9]);
    let ends_high = |key: &&Key| universe.zeros(key) >= 14;
    let high = universe.keys.iter().filter(ends_high);
    for key in high.chain(universe.keys.iter().step_by(37)) {
        delete(&memory, &root, &records, (key, &end));
        delete(&memory, &root, &records, (&key.successor(), &end));
    }
}
