//! The tree as FORMAT describes it, built from all records at once and without any thought of speed.

use coffre_format::id::Digest;
use coffre_format::id::LogicalHash;
use coffre_format::id::Salt;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Place;
use coffre_format::record::Pointer;

use super::Records;
use super::Universe;
use super::records::stored;

/// Bytes that a run may weigh.
const RUN: usize = 48 * 1024;

/// The logical hash of the root, and how many levels there are.
pub(super) fn root(universe: &Universe, records: &Records) -> (LogicalHash, usize) {
    let keys = universe.ring.structure();
    let entries = records.iter().map(|(key, number)| {
        let value = stored(key, *number);
        let weight = 8 + key.as_bytes().len() + value.logical().len();
        (key.clone(), weight, value)
    });
    let mut nodes: Vec<(Key, LogicalHash)> = Vec::new();
    for run in cut(universe, 0, entries.collect()) {
        let last = run[run.len() - 1].0.clone();
        let entries = Entries::Leaf(run);
        nodes.push((last, Node { level: 0, entries }.logical_hash(keys)));
    }
    let mut level = 0;
    while nodes.len() > 1 {
        level += 1;
        let below = nodes.drain(..).map(|(key, hash)| {
            let weight = 8 + key.as_bytes().len() + 96;
            (key, weight, child(hash))
        });
        let runs = cut(universe, level, below.collect());
        for run in runs {
            let last = run[run.len() - 1].0.clone();
            let entries = Entries::Inner(run);
            nodes.push((last, Node { level, entries }.logical_hash(keys)));
        }
    }
    let nothing = Node {
        level: 0,
        entries: Entries::Leaf(Vec::new()),
    };
    let hash = nodes.pop().map(|(_, hash)| hash);
    let levels = usize::from(level) + 1;
    (hash.unwrap_or_else(|| nothing.logical_hash(keys)), levels)
}

/// After each key that ends a node of the level, and before each entry that would make a node too heavy.
fn cut<T>(universe: &Universe, level: u8, entries: Vec<(Key, usize, T)>) -> Vec<Vec<(Key, T)>> {
    let mut runs = vec![Vec::new()];
    let mut sum = 0;
    for (key, weight, what) in entries {
        if sum > 0 && sum + weight > RUN {
            runs.push(Vec::new());
            sum = 0;
        }
        let ends = universe.zeros(&key) >= 7 * (u32::from(level) + 1);
        sum += weight;
        runs.last_mut().unwrap().push((key, what));
        if ends {
            runs.push(Vec::new());
            sum = 0;
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// A child of which only the hash matters.
fn child(hash: LogicalHash) -> Child {
    let pointer = Pointer {
        place: Place::Open {
            salt: Salt([0; 16]),
            offset: 0,
        },
        stored: 0,
        digest: Digest([0; 32]),
    };
    Child {
        pointer,
        hash,
        sums: Default::default(),
    }
}
