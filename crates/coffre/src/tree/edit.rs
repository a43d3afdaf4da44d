//! Editing: the same records give the same tree, and only what a change touches is read or written.
//!
//! Level by level, from the leaves up. A *natural run* is the stretch between two keys that end nodes of a
//! level; where it is too long it is cut, from its start, by weight alone. So what a change can move lies
//! within its natural run, or reaches into the next one if it removed the key between them:
//!
//! ```text
//!  old   …──●──────┊──────●────────●──…      ● ends a run     ┊ a cut by weight
//!  edit             x                         read from the start of the run,
//!  new   …──●────┊────┊───●────────●──…       write until a ● that both trees have
//!           └─ replaced ──┘
//! ```
//! What was replaced at one level is a deleted range and some new entries at the level above.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use coffre_format::FormatError;
use coffre_format::crypto::key::StructureKeys;
use coffre_format::id::LogicalHash;
use coffre_format::node::Entries;
use coffre_format::node::LEVELS;
use coffre_format::node::Node;
use coffre_format::node::RUN_MAX;
use coffre_format::node::ends_node;
use coffre_format::node::inner_weight;
use coffre_format::node::leaf_weight;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Place;
use coffre_format::record::Value;

use crate::error::Error;
use crate::error::Result;
use crate::tree::Changes;
use crate::tree::Sink;
use crate::tree::Source;
use crate::tree::old::Old;

/// What stands under a key at some level.
trait Slot: Clone + Send + Sync {
    fn weight(key: &Key, slot: &Self) -> usize;
    fn of(node: &Node) -> &[(Key, Self)];
    fn node(level: u8, entries: Vec<(Key, Self)>) -> Node;
}

impl Slot for Arc<Value> {
    fn weight(key: &Key, slot: &Self) -> usize {
        leaf_weight(key, slot)
    }

    fn of(node: &Node) -> &[(Key, Self)] {
        match &node.entries {
            Entries::Leaf(entries) => entries,
            Entries::Inner(_) => &[],
        }
    }

    fn node(level: u8, entries: Vec<(Key, Self)>) -> Node {
        Node {
            level,
            entries: Entries::Leaf(entries),
        }
    }
}

impl Slot for Child {
    fn weight(key: &Key, _: &Self) -> usize {
        inner_weight(key)
    }

    fn of(node: &Node) -> &[(Key, Self)] {
        match &node.entries {
            Entries::Leaf(_) => &[],
            Entries::Inner(children) => children,
        }
    }

    fn node(level: u8, entries: Vec<(Key, Self)>) -> Node {
        Node {
            level,
            entries: Entries::Inner(entries),
        }
    }
}

/// Changes of one level: deleted ranges (an end of `None` is the end of all), then puts and tombstones over them.
struct LevelChanges<V> {
    ranges: Vec<(Key, Option<Key>)>,
    puts: Vec<(Key, Option<V>)>,
}

/// Nodes of one stretch that took the place of old ones.
struct Replaced {
    after: Option<Key>,
    until: Option<Key>,
    nodes: Vec<(Key, Child)>,
}

/// Applies changes to a tree. Values must be settled. Nodes go to the sink in key order, level by level.
pub async fn edit(
    root: &Child,
    changes: &Changes,
    keys: &StructureKeys,
    source: &impl Source,
    sink: &mut impl Sink,
) -> Result<Child> {
    if changes.is_empty() {
        return Ok(*root);
    }
    let old = Old::open(root, source).await?;
    let mut edit = Edit {
        old,
        keys,
        sink,
        only: HashMap::new(),
    };
    let leaves = LevelChanges {
        ranges: changes
            .ranges()
            .map(|(start, end)| (start.clone(), Some(end.clone())))
            .collect(),
        puts: changes
            .iter()
            .map(|(key, value)| (key.clone(), value.cloned()))
            .collect(),
    };
    let mut replaced = edit.level(0, leaves).await?;
    for level in 1..=edit.old.top.level {
        replaced = edit.level(level, above(replaced)).await?;
    }
    if replaced.is_empty() {
        return Ok(*root);
    }
    edit.crown(replaced).await
}

/// The tree of no records.
pub fn empty(sink: &mut impl Sink) -> Result<Child> {
    sink.put(Node {
        level: 0,
        entries: Entries::Leaf(Vec::new()),
    })
}

/// What one level's replacements mean for the level above.
fn above(replaced: Vec<Replaced>) -> LevelChanges<Child> {
    let mut changes = LevelChanges {
        ranges: Vec::new(),
        puts: Vec::new(),
    };
    for Replaced {
        after,
        until,
        nodes,
    } in replaced
    {
        let start = after.map_or_else(|| Key::from_bytes(&[]), |key| key.successor());
        changes
            .ranges
            .push((start, until.map(|key| key.successor())));
        changes
            .puts
            .extend(nodes.into_iter().map(|(key, child)| (key, Some(child))));
    }
    changes
}

struct Edit<'a, S, K> {
    old: Old<'a, S>,
    keys: &'a StructureKeys,
    sink: &'a mut K,
    /// New nodes that have a single child: no root may be one.
    only: HashMap<Place, Child>,
}

impl<S: Source, K: Sink> Edit<'_, S, K> {
    async fn level<V: Slot>(
        &mut self,
        level: u8,
        changes: LevelChanges<V>,
    ) -> Result<Vec<Replaced>> {
        let mut replaced = Vec::new();
        let mut cursor = Cursor {
            changes: &changes,
            put: 0,
            range: 0,
            done: None,
        };
        while let Some(position) = cursor.position() {
            let stretch = self.stretch(level, &position, &mut cursor).await?;
            replaced.extend(stretch);
        }
        Ok(replaced)
    }

    /// Rewrites from the start of the natural run around `position` to the next key that ends a run in both
    /// trees. `None` where nothing came out differently.
    async fn stretch<V: Slot>(
        &mut self,
        level: u8,
        position: &Key,
        cursor: &mut Cursor<'_, V>,
    ) -> Result<Option<Replaced>> {
        let (after, mut queue) = self.run_start(level, position).await?;
        let mut writer = Writer::new(level, self.keys);
        let mut low = after
            .clone()
            .map_or_else(|| Key::from_bytes(&[]), |key| key.successor());
        // Where the next node is looked for: behind `low` after a deleted range, whose end may lie inside a node.
        let mut seek = low.clone();
        let mut until = None;
        loop {
            let next = match queue.pop_front() {
                Some(next) => Some(next),
                None => self.old.at(level, &seek).await?,
            };
            let Some((last, child)) = next else {
                cursor.merge(None, &[], &mut writer, self.sink)?;
                cursor.done = Some(None);
                break;
            };
            if let Some(end) = cursor.swallows(&low, &last) {
                // Dropped unread, with all that follows in the range.
                writer.changed = true;
                low = last.successor();
                match end {
                    Some(end) => seek = end,
                    None => {
                        cursor.merge(None, &[], &mut writer, self.sink)?;
                        cursor.done = Some(None);
                        break;
                    }
                }
                queue.clear();
                continue;
            }
            let node = self.old.read(&child).await?;
            writer.reusable.insert(child.hash, child);
            writer.consumed.push(child.hash);
            cursor.merge(Some(&last), V::of(&node), &mut writer, self.sink)?;
            low = last.successor();
            seek = low.clone();
            if writer.is_at_end_of_run() && ends_node(self.keys, level, &last) {
                cursor.done = Some(Some(last.clone()));
                until = Some(last);
                break;
            }
        }
        let nodes = writer.finish(self.sink, &mut self.only)?;
        let same = !nodes.changed
            && nodes
                .list
                .iter()
                .map(|(_, child)| child.hash)
                .eq(nodes.consumed);
        Ok((!same).then_some(Replaced {
            after,
            until,
            nodes: nodes.list,
        }))
    }

    /// The nodes of the natural run before and around `position`, and the key that ends the run before it.
    async fn run_start(
        &self,
        level: u8,
        position: &Key,
    ) -> Result<(Option<Key>, VecDeque<(Key, Child)>)> {
        let mut queue = VecDeque::new();
        let mut before = match self.old.at(level, position).await? {
            Some(node) => {
                let before = self.old.before(level, &node.0).await?;
                queue.push_front(node);
                before
            }
            None => self.old.last(level).await?,
        };
        while let Some((key, child)) = before {
            if ends_node(self.keys, level, &key) {
                return Ok((Some(key), queue));
            }
            before = self.old.before(level, &key).await?;
            queue.push_front((key, child));
        }
        Ok((None, queue))
    }

    /// Builds levels until one node is left, and finds the lowest level that has only one.
    async fn crown(&mut self, replaced: Vec<Replaced>) -> Result<Child> {
        let mut level = self.old.top.level;
        // The old top level was one node: it was replaced, or something came after it.
        let kept = replaced.first().is_some_and(|first| first.after.is_some());
        let top = self
            .old
            .top
            .last_key()
            .filter(|_| kept)
            .map(|last| (last.clone(), self.old.root));
        let mut nodes: Vec<(Key, Child)> = top
            .into_iter()
            .chain(replaced.into_iter().flat_map(|replaced| replaced.nodes))
            .collect();
        while nodes.len() > 1 {
            level += 1;
            if level >= LEVELS {
                let error = FormatError::TooLarge {
                    what: "tree",
                    limit: u64::from(LEVELS),
                };
                return Err(Error::of_object("tree", error));
            }
            let mut writer = Writer::new(level, self.keys);
            for (key, child) in nodes {
                writer.push(key, child, self.sink)?;
            }
            nodes = writer.finish(self.sink, &mut self.only)?.list;
        }
        let Some((_, mut root)) = nodes.pop() else {
            return empty(self.sink);
        };
        loop {
            if let Some(child) = self.only.get(&root.pointer.place) {
                root = *child;
                continue;
            }
            if matches!(root.pointer.place, Place::Open { .. }) {
                return Ok(root);
            }
            // A node of the old tree may have become the top.
            match self.old.read(&root).await?.entries {
                Entries::Inner(ref children) if children.len() == 1 => root = children[0].1,
                _ => return Ok(root),
            }
        }
    }
}

/// How far the changes of a level have been applied.
struct Cursor<'a, V> {
    changes: &'a LevelChanges<V>,
    put: usize,
    range: usize,
    /// Everything up to this key is done; `Some(None)`: everything.
    done: Option<Option<Key>>,
}

impl<V: Slot> Cursor<'_, V> {
    /// Where the next change is.
    fn position(&mut self) -> Option<Key> {
        let begin = match &self.done {
            None => Key::from_bytes(&[]),
            Some(Some(done)) => done.successor(),
            Some(None) => return None,
        };
        while let Some((_, Some(end))) = self.changes.ranges.get(self.range)
            && *end <= begin
        {
            self.range += 1;
        }
        let range = self
            .changes
            .ranges
            .get(self.range)
            .map(|(start, _)| start.clone().max(begin));
        let put = self.changes.puts.get(self.put).map(|(key, _)| key.clone());
        match (range, put) {
            (Some(range), Some(put)) => Some(range.min(put)),
            (range, put) => range.or(put),
        }
    }

    /// If one deleted range covers all keys from `low` to `last` and nothing is put there: where it ends.
    fn swallows(&mut self, low: &Key, last: &Key) -> Option<Option<Key>> {
        self.skip_ranges_before(low);
        let (start, end) = self.changes.ranges.get(self.range)?;
        let covered = start <= low && end.as_ref().is_none_or(|end| end > last);
        let untouched = self
            .changes
            .puts
            .get(self.put)
            .is_none_or(|(key, _)| key > last);
        (covered && untouched).then(|| end.clone())
    }

    fn skip_ranges_before(&mut self, key: &Key) {
        while let Some((_, Some(end))) = self.changes.ranges.get(self.range)
            && end <= key
        {
            self.range += 1;
        }
    }

    fn is_deleted(&mut self, key: &Key) -> bool {
        self.skip_ranges_before(key);
        self.changes
            .ranges
            .get(self.range)
            .is_some_and(|(start, _)| start <= key)
    }

    /// Writes old entries and changes up to `last` in order (all changes that are left, where it is `None`).
    fn merge<K: Sink>(
        &mut self,
        last: Option<&Key>,
        entries: &[(Key, V)],
        writer: &mut Writer<'_, V>,
        sink: &mut K,
    ) -> Result<()> {
        for (key, slot) in entries {
            self.put_before(Some(key), false, writer, sink)?;
            match self.changes.puts.get(self.put) {
                Some((put, value)) if put == key => {
                    self.put += 1;
                    if let Some(value) = value {
                        writer.push(key.clone(), value.clone(), sink)?;
                    }
                }
                _ if self.is_deleted(key) => {}
                _ => writer.push(key.clone(), slot.clone(), sink)?,
            }
        }
        self.put_before(last, true, writer, sink)
    }

    /// Writes what is put below `bound` (or up to it).
    fn put_before<K: Sink>(
        &mut self,
        bound: Option<&Key>,
        inclusive: bool,
        writer: &mut Writer<'_, V>,
        sink: &mut K,
    ) -> Result<()> {
        while let Some((key, value)) = self.changes.puts.get(self.put) {
            let within = bound.is_none_or(|bound| key < bound || (inclusive && key == bound));
            if !within {
                break;
            }
            self.put += 1;
            if let Some(value) = value {
                writer.push(key.clone(), value.clone(), sink)?;
            }
        }
        Ok(())
    }
}

/// Cuts a stream of entries into nodes.
struct Writer<'a, V> {
    level: u8,
    keys: &'a StructureKeys,
    run: Vec<(Key, V)>,
    weight: usize,
    /// Nodes so far, with the only child of those that have one.
    list: Vec<(Key, Child, Option<Child>)>,
    /// Old nodes that need not be written again.
    reusable: HashMap<LogicalHash, Child>,
    /// Hashes of the old nodes in order, to see whether anything changed.
    consumed: Vec<LogicalHash>,
    /// Something was dropped unread.
    changed: bool,
}

/// What a writer made.
struct Written {
    list: Vec<(Key, Child)>,
    consumed: Vec<LogicalHash>,
    changed: bool,
}

impl<'a, V: Slot> Writer<'a, V> {
    fn new(level: u8, keys: &'a StructureKeys) -> Self {
        Self {
            level,
            keys,
            run: Vec::new(),
            weight: 0,
            list: Vec::new(),
            reusable: HashMap::new(),
            consumed: Vec::new(),
            changed: false,
        }
    }

    fn push<K: Sink>(&mut self, key: Key, slot: V, sink: &mut K) -> Result<()> {
        let weight = V::weight(&key, &slot);
        if !self.run.is_empty() && self.weight + weight > RUN_MAX {
            self.flush(sink)?;
        }
        let ends = ends_node(self.keys, self.level, &key);
        self.weight += weight;
        self.run.push((key, slot));
        if ends {
            self.flush(sink)?;
            // The next node begins a natural run.
        }
        Ok(())
    }

    /// Whether the last entry ended a natural run (or there was none).
    fn is_at_end_of_run(&self) -> bool {
        let ended = self
            .list
            .last()
            .is_none_or(|(key, _, _)| ends_node(self.keys, self.level, key));
        self.run.is_empty() && ended
    }

    fn flush<K: Sink>(&mut self, sink: &mut K) -> Result<()> {
        self.weight = 0;
        let entries = std::mem::take(&mut self.run);
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        let last = last.clone();
        let node = V::node(self.level, entries);
        let only = match &node.entries {
            Entries::Inner(children) if children.len() == 1 => {
                children.first().map(|(_, child)| *child)
            }
            _ => None,
        };
        let reused = match self.reusable.is_empty() {
            true => None,
            false => self.reusable.get(&node.logical_hash(self.keys)).copied(),
        };
        let child = match reused {
            Some(child) => child,
            None => sink.put(node)?,
        };
        self.list.push((last, child, only));
        Ok(())
    }

    fn finish<K: Sink>(
        mut self,
        sink: &mut K,
        only: &mut HashMap<Place, Child>,
    ) -> Result<Written> {
        self.flush(sink)?;
        let mut list = Vec::with_capacity(self.list.len());
        for (key, child, single) in self.list {
            if let Some(single) = single {
                only.insert(child.pointer.place, single);
            }
            list.push((key, child));
        }
        Ok(Written {
            list,
            consumed: self.consumed,
            changed: self.changed,
        })
    }
}
