//! Names and attributes of the whole vault, fetched in the background: `ls` works without a network.

use coffre_format::node::Entries;
use coffre_format::record::Child;

use crate::error::Result;
use crate::fs::inner::Inner;
use crate::tree::Need;
use crate::tree::Pins;
use crate::tree::Source;

/// Share of the cache that metadata may fill: a quarter.
const SHARE: u64 = 4;
/// Nodes that are fetched together.
const TOGETHER: usize = 16;

impl Inner {
    /// Walks the tree from its root, level by level, until all of it or its share of the cache is here. What is
    /// here already costs no request.
    pub(crate) async fn fetch_metadata(&self, root: &Child) -> Result<()> {
        if self.nodes.reader().cache().is_none() {
            return Ok(());
        }
        let limit = self.options.cache / SHARE;
        let mut fetched = 0;
        let mut level = vec![*root];
        while !level.is_empty() {
            let mut below = Vec::new();
            for run in level.chunks(TOGETHER) {
                fetched += run
                    .iter()
                    .map(|child| u64::from(child.pointer.stored))
                    .sum::<u64>();
                if fetched > limit {
                    return Ok(());
                }
                let need = Need {
                    nodes: run.to_vec(),
                    ..Need::default()
                };
                self.nodes.fetch_all(&need, &mut Pins::default()).await?;
                for child in run {
                    if let Entries::Inner(children) = &self.nodes.fetch(child).await?.entries {
                        below.extend(children.iter().map(|(_, child)| *child));
                    }
                }
            }
            level = below;
        }
        Ok(())
    }
}
