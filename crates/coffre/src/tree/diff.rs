//! Comparing two trees: what differs costs what differs.

use std::sync::Arc;

use coffre_format::node::Entries;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Value;

use crate::error::Result;
use crate::tree::Source;

/// A key with its value before and after.
pub type Difference = (Key, Option<Arc<Value>>, Option<Arc<Value>>);

/// Something not yet compared, in key order from the top of a stack.
enum Item {
    Node(u8, Child),
    Record(Key, Arc<Value>),
}

/// Differences in key order, at most `limit`; `None` if there are more. Equal subtrees are not read.
pub async fn diff(
    old: &Child,
    new: &Child,
    source: &impl Source,
    limit: usize,
) -> Result<Option<Vec<Difference>>> {
    let mut differences = Vec::new();
    if old.hash == new.hash {
        return Ok(Some(differences));
    }
    let mut left = vec![Item::Node(source.fetch(old).await?.level, *old)];
    let mut right = vec![Item::Node(source.fetch(new).await?.level, *new)];
    while differences.len() <= limit {
        match (left.pop(), right.pop()) {
            (None, None) => return Ok(Some(differences)),
            (Some(Item::Node(a, x)), Some(Item::Node(b, y))) if a == b && x.hash == y.hash => {}
            (Some(Item::Node(a, x)), Some(Item::Node(b, y))) if a > b => {
                right.push(Item::Node(b, y));
                expand(a, &x, source, &mut left).await?;
            }
            (Some(Item::Node(a, x)), Some(Item::Node(b, y))) if a < b => {
                left.push(Item::Node(a, x));
                expand(b, &y, source, &mut right).await?;
            }
            (Some(Item::Node(a, x)), other) => {
                right.extend(other);
                expand(a, &x, source, &mut left).await?;
            }
            (other, Some(Item::Node(b, y))) => {
                left.extend(other);
                expand(b, &y, source, &mut right).await?;
            }
            (Some(Item::Record(key, value)), None) => differences.push((key, Some(value), None)),
            (None, Some(Item::Record(key, value))) => differences.push((key, None, Some(value))),
            (Some(Item::Record(a, x)), Some(Item::Record(b, y))) => match a.cmp(&b) {
                std::cmp::Ordering::Less => {
                    right.push(Item::Record(b, y));
                    differences.push((a, Some(x), None));
                }
                std::cmp::Ordering::Greater => {
                    left.push(Item::Record(a, x));
                    differences.push((b, None, Some(y)));
                }
                std::cmp::Ordering::Equal if x.logical() == y.logical() => {}
                std::cmp::Ordering::Equal => differences.push((a, Some(x), Some(y))),
            },
        }
    }
    Ok(None)
}

async fn expand(
    level: u8,
    child: &Child,
    source: &impl Source,
    stack: &mut Vec<Item>,
) -> Result<()> {
    match &source.fetch(child).await?.entries {
        Entries::Leaf(entries) => {
            stack.extend(
                entries
                    .iter()
                    .rev()
                    .map(|(key, value)| Item::Record(key.clone(), value.clone())),
            );
        }
        Entries::Inner(children) => {
            stack.extend(
                children
                    .iter()
                    .rev()
                    .map(|(_, child)| Item::Node(level.saturating_sub(1), *child)),
            );
        }
    }
    Ok(())
}
