//! Records of a range, in order.

use std::sync::Arc;

use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Value;

use crate::tree::Beside;
use crate::tree::Need;
use crate::tree::Resident;
use crate::tree::lookup::resolve;

/// Missing nodes that one answer names at most.
const NEED_MOST: usize = 64;

/// Up to `limit` records from `start` (inclusive) to `end` (exclusive), or all missing nodes that can be seen
/// to be needed for them.
pub fn scan(
    root: &Child,
    start: &Key,
    end: &Key,
    limit: usize,
    resident: &impl Resident,
) -> Result<Vec<(Key, Arc<Value>)>, Need> {
    let mut walk = Walk {
        start,
        end,
        limit,
        resident,
        found: Vec::new(),
        need: Need::default(),
        ahead: 0,
    };
    walk.descend(root, None);
    if walk.need.nodes.is_empty() && walk.need.spills.is_empty() {
        Ok(walk.found)
    } else {
        Err(walk.need)
    }
}

struct Walk<'a, R> {
    start: &'a Key,
    end: &'a Key,
    limit: usize,
    resident: &'a R,
    found: Vec<(Key, Arc<Value>)>,
    need: Need,
    /// Records that the missing leaves will probably hold.
    ahead: usize,
}

impl<R: Resident> Walk<'_, R> {
    /// The depth of recursion is that of the tree: at most eight. `beside` is where a leaf stands among others.
    fn descend(&mut self, child: &Child, beside: Option<(&Arc<Node>, usize)>) {
        let Some(node) = self.resident.node(child) else {
            if self.need.nodes.is_empty() {
                self.need.beside = beside.map(|(above, index)| Beside {
                    above: above.clone(),
                    index,
                });
            }
            self.need.nodes.push(*child);
            self.ahead += 64;
            return;
        };
        match &node.entries {
            Entries::Leaf(entries) => {
                let first = entries.partition_point(|(key, _)| key < self.start);
                for (key, value) in entries.iter().skip(first) {
                    if key >= self.end || self.enough() {
                        return;
                    }
                    match resolve(key, value, self.resident) {
                        Ok(value) => self.found.push((key.clone(), value)),
                        Err(need) => {
                            self.need.spills.extend(need.spills);
                            self.ahead += 1;
                        }
                    }
                }
            }
            Entries::Inner(children) => {
                let first = children.partition_point(|(last, _)| last < self.start);
                for (index, (last, child)) in children.iter().enumerate().skip(first) {
                    let beside = (node.level == 1).then_some((&node, index));
                    self.descend(child, beside);
                    if last >= self.end || self.enough() {
                        return;
                    }
                }
            }
        }
    }

    fn enough(&self) -> bool {
        self.found.len() + self.ahead >= self.limit || self.need.nodes.len() >= NEED_MOST
    }
}
