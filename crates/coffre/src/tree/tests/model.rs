//! Random batches of edits: after each one the tree answers as a sorted map does.

use std::ops::Range;

use coffre_format::node::Entries;
use coffre_format::record::Child;
use coffre_format::record::Key;
use proptest::prelude::*;

use super::Memory;
use super::Records;
use super::Universe;
use super::memory::Asked;
use super::records::read;
use super::records::stored;
use super::records::sums;
use super::reference;
use crate::tree::Changes;
use crate::tree::find;
use crate::tree::scan;

/// Numbers choose keys of the universe.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    Put(usize, u32),
    Delete(usize),
    /// From one key to another, the first or the second or both left out or taken in.
    DeleteRange(usize, usize, bool, bool),
}

pub(super) fn edits(size: Range<usize>) -> impl Strategy<Value = Vec<Edit>> {
    let number = || any::<usize>();
    let narrow = (number(), 1..80_usize, any::<bool>(), any::<bool>());
    let edit = prop_oneof![
        10 => (number(), any::<u32>()).prop_map(|(key, value)| Edit::Put(key, value)),
        6 => number().prop_map(Edit::Delete),
        2 => narrow.prop_map(|(from, width, a, b)| {
            Edit::DeleteRange(from, from.wrapping_add(width), a, b)
        }),
        1 => (number(), number(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, a, b)| Edit::DeleteRange(from, to, a, b)),
    ];
    proptest::collection::vec(edit, size)
}

/// Does the same to the changes and to the model.
pub(super) fn apply(
    universe: &Universe,
    edits: &[Edit],
    changes: &mut Changes,
    model: &mut Records,
) {
    for edit in edits {
        match *edit {
            Edit::Put(key, number) => {
                let key = universe.key(key);
                changes.put(key.clone(), stored(key, number));
                model.insert(key.clone(), number);
            }
            Edit::Delete(key) => {
                changes.delete(universe.key(key).clone());
                model.remove(universe.key(key));
            }
            Edit::DeleteRange(from, to, without, with) => {
                let start = bound(universe.key(from), without);
                let end = bound(universe.key(to), with);
                model.retain(|key, _| *key < start || *key >= end);
                changes.delete_range(start, end);
            }
        }
    }
}

fn bound(key: &Key, after: bool) -> Key {
    match after {
        true => key.successor(),
        false => key.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_sorted_map(
        start in prop_oneof![Just(0), 1..4_usize],
        batches in proptest::collection::vec(edits(1..60), 1..6),
        page in 1..90_usize,
    ) {
        let universe = Universe::whole();
        let memory = Memory::new(universe.ring.clone());
        let mut model = Records::new();
        if start > 0 {
            let keys = universe.keys.iter().step_by(start).cloned();
            model.extend(keys.zip(0..));
        }
        let mut root = memory.build(&model);
        for batch in batches {
            let mut changes = Changes::default();
            apply(universe, &batch, &mut changes, &mut model);
            root = memory.edit(&root, &changes);
            compare(universe, &memory, &root, &model, page);
        }
    }
}

fn compare(universe: &Universe, memory: &Memory, root: &Child, model: &Records, page: usize) {
    let (hash, levels) = reference::root(universe, model);
    assert_eq!(root.hash, hash, "another shape than described");
    assert_eq!(memory.levels(root), levels);
    for key in &universe.keys {
        let expected = model.get(key).map(|number| read(key, *number));
        assert_eq!(find(root, key, memory).unwrap(), expected);
        assert_eq!(find(root, &key.successor(), memory).unwrap(), None);
    }
    check_pages(memory, root, model, page);
    check_windows(universe, memory, root, model, page);
    check_sums(memory, root, model);
}

/// All records in pages.
fn check_pages(memory: &Memory, root: &Child, model: &Records, page: usize) {
    let (mut from, end) = (Key::from_bytes(&[]), Key::from_bytes(&[255; 9]));
    let mut found = Vec::new();
    loop {
        let some = scan(root, &from, &end, page, memory).unwrap();
        assert!(some.len() <= page);
        let Some((last, _)) = some.last() else { break };
        from = last.successor();
        found.extend(some);
    }
    let expected: Vec<_> = model
        .iter()
        .map(|(key, number)| (key.clone(), read(key, *number)))
        .collect();
    assert!(found == expected, "pages are not the records");
}

/// Windows from the upper end downwards, of which only what was asked for is at hand.
fn check_windows(universe: &Universe, memory: &Memory, root: &Child, model: &Records, page: usize) {
    for window in universe.keys.rchunks(page * 3).step_by(3) {
        let (start, end) = (&window[0], &window[window.len() - 1]);
        let mut asked = Asked::new(memory);
        let found = asked.until_ready(|here| scan(root, start, end, page, here));
        let expected: Vec<_> = model
            .range(start.clone()..end.clone())
            .take(page)
            .map(|(key, number)| (key.clone(), read(key, *number)))
            .collect();
        assert!(found == expected, "a window is not its records");

        let mut asked = Asked::new(memory);
        let found = asked.until_ready(|here| find(root, end, here));
        assert_eq!(found, model.get(end).map(|number| read(end, *number)));
        assert!(
            asked.rounds <= memory.levels(root) + 1,
            "more rounds than levels and a spilled value"
        );
    }
}

/// Every node's sums are those of the records below it.
fn check_sums(memory: &Memory, root: &Child, model: &Records) {
    assert_eq!(root.sums, sums(model));
    for child in memory.children(root) {
        let mut below = Records::new();
        for leaf in memory.children(&child) {
            if let Entries::Leaf(entries) = &memory.at(&leaf.pointer.place).entries {
                let keys = entries.iter().map(|(key, _)| key);
                below.extend(keys.map(|key| (key.clone(), model[key])));
            }
        }
        assert_eq!(child.sums, sums(&below));
    }
}
