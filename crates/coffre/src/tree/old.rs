//! The tree before an edit: finding nodes of one level by key, reading only what lies above them.

use std::sync::Arc;

use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Key;

use crate::error::Result;
use crate::tree::Source;

/// A tree that is being edited.
pub(super) struct Old<'a, S> {
    pub(super) root: Child,
    pub(super) top: Arc<Node>,
    source: &'a S,
}

impl<'a, S: Source> Old<'a, S> {
    pub(super) async fn open(root: &Child, source: &'a S) -> Result<Self> {
        Ok(Self {
            root: *root,
            top: source.fetch(root).await?,
            source,
        })
    }

    pub(super) async fn read(&self, child: &Child) -> Result<Arc<Node>> {
        if *child == self.root {
            Ok(self.top.clone())
        } else {
            self.source.fetch(child).await
        }
    }

    /// The first node of `level` whose last key is not less than `key`.
    pub(super) async fn at(&self, level: u8, key: &Key) -> Result<Option<(Key, Child)>> {
        let Some(last) = self.top.last_key().filter(|last| *last >= key) else {
            return Ok(None);
        };
        let mut found = (last.clone(), self.root);
        let mut node = self.top.clone();
        while node.level > level {
            let Entries::Inner(children) = &node.entries else {
                break;
            };
            let index = children.partition_point(|(last, _)| last < key);
            let Some(next) = children.get(index).cloned() else {
                return Ok(None);
            };
            found = next;
            if node.level == level + 1 {
                break;
            }
            node = self.read(&found.1).await?;
        }
        Ok(Some(found))
    }

    /// The last node of `level` whose last key is less than `key`.
    pub(super) async fn before(&self, level: u8, key: &Key) -> Result<Option<(Key, Child)>> {
        if self.top.level == level {
            let last = self.top.last_key().filter(|last| *last < key);
            return Ok(last.map(|last| (last.clone(), self.root)));
        }
        let mut fallback = None;
        let mut node = self.top.clone();
        loop {
            let Entries::Inner(children) = &node.entries else {
                return Ok(None);
            };
            let index = children.partition_point(|(last, _)| last < key);
            let left = index
                .checked_sub(1)
                .and_then(|index| children.get(index))
                .cloned();
            if node.level == level + 1 {
                return match (left, fallback) {
                    (Some(left), _) => Ok(Some(left)),
                    (None, Some((fallback_level, child))) => {
                        self.rightmost(level, fallback_level, child).await
                    }
                    (None, None) => Ok(None),
                };
            }
            let below = node.level - 1;
            fallback = left.map(|(_, child)| (below, child)).or(fallback);
            let Some((_, next)) = children.get(index) else {
                // Everything is less: the rightmost path.
                return match fallback {
                    Some((fallback_level, child)) => {
                        self.rightmost(level, fallback_level, child).await
                    }
                    None => Ok(None),
                };
            };
            node = self.read(next).await?;
        }
    }

    /// The last node of `level`.
    pub(super) async fn last(&self, level: u8) -> Result<Option<(Key, Child)>> {
        match self.top.last_key() {
            Some(last) => self.before(level, &last.successor()).await,
            None => Ok(None),
        }
    }

    /// The last node of `level` below `child`, which is of `child_level` > `level`.
    async fn rightmost(
        &self,
        level: u8,
        child_level: u8,
        child: Child,
    ) -> Result<Option<(Key, Child)>> {
        debug_assert!(child_level > level);
        let mut node = self.read(&child).await?;
        loop {
            let Entries::Inner(children) = &node.entries else {
                return Ok(None);
            };
            let Some(last) = children.last().cloned() else {
                return Ok(None);
            };
            if node.level == level + 1 {
                return Ok(Some(last));
            }
            node = self.read(&last.1).await?;
        }
    }
}
