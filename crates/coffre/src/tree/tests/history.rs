//! The same records make the same tree, whatever happened before.

use proptest::prelude::*;
use proptest::sample::Index;

use super::Memory;
use super::Records;
use super::Universe;
use super::model::Edit;
use super::model::apply;
use super::model::edits;
use super::records::stored;
use crate::tree::Changes;

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_batches_give_the_same_root(
        (step, order, cuts) in (1..5_usize).prop_flat_map(|step| {
            let order = Just((0..3000_usize).collect::<Vec<_>>()).prop_shuffle();
            (Just(step), order, proptest::collection::vec(any::<Index>(), 0..12))
        }),
        // A history that leaves no trace.
        detour in edits(1..40),
    ) {
        let universe = Universe::whole();
        let memory = Memory::new(universe.ring.clone());
        let records: Records = universe.keys.iter().cloned().step_by(step).zip(7..).collect();
        let at_once = memory.build(&records);
        let in_order: Vec<_> = records.iter().collect();
        prop_assert!(in_order.len() <= order.len());

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(order.len())).collect();
        cuts.extend([0, order.len()]);
        cuts.sort_unstable();
        let mut root = memory.empty();
        for ends in cuts.windows(2) {
            let mut changes = Changes::default();
            for number in &order[ends[0]..ends[1]] {
                if let Some((key, value)) = in_order.get(*number) {
                    changes.put((*key).clone(), stored(key, **value));
                }
            }
            root = memory.edit(&root, &changes);
        }
        prop_assert_eq!(root.hash, at_once.hash);
        prop_assert_eq!(root.sums, at_once.sums);

        let mut model = records.clone();
        let mut there = Changes::default();
        apply(universe, &detour, &mut there, &mut model);
        let elsewhere = memory.edit(&root, &there);
        let back = memory.edit(&elsewhere, &way_back(&model, &records));
        prop_assert_eq!(back.hash, at_once.hash);
    }

    #[test]
    fn records_may_go_in_any_order(
        first in edits(1..40),
        second in edits(1..40),
    ) {
        let universe = Universe::whole();
        let memory = Memory::new(universe.ring.clone());
        let full: Records = universe.keys.iter().cloned().zip(1..).collect();
        let root = memory.build(&full);
        let mut model = full.clone();
        let (mut one, mut other, mut both) = Default::default();
        apply(universe, &first, &mut one, &mut model);
        apply(universe, &second, &mut other, &mut model);
        let together: Vec<Edit> = first.into_iter().chain(second).collect();
        apply(universe, &together, &mut both, &mut Records::new());
        let in_two = memory.edit(&memory.edit(&root, &one), &other);
        let in_one = memory.edit(&root, &both);
        prop_assert_eq!(in_two.hash, in_one.hash);
        prop_assert_eq!(in_one.hash, memory.build(&model).hash);
    }
}

/// The changes that lead from one set of records to another.
fn way_back(from: &Records, to: &Records) -> Changes {
    let mut changes = Changes::default();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        changes.delete(key.clone());
    }
    for (key, number) in to {
        if from.get(key) != Some(number) {
            changes.put(key.clone(), stored(key, *number));
        }
    }
    changes
}
