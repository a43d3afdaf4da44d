//! The ordered, copy-on-write tree of records: finding, ranging, editing, comparing.
//!
//! A Merkle search tree: whether a key ends a node depends on a keyed hash of that key alone, so equal
//! records make an equal tree, whatever the order of edits. Finding and ranging are synchronous over what is
//! resident and answer a [`Need`] where something is not; editing and comparing are asynchronous.

mod changes;
mod diff;
mod edit;
mod lookup;
mod nodes;
mod old;
mod pins;
mod range;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Pointer;
use coffre_format::record::Value;

use crate::error::Result;

pub use changes::Changes;
pub use diff::Difference;
pub use diff::diff;
pub use edit::edit;
pub use edit::empty;
pub use lookup::find;
pub use nodes::Nodes;
pub(crate) use nodes::weight;
pub use pins::Pinned;
pub use pins::Pins;
pub use pins::Recent;
pub use range::scan;

/// What must be fetched before a synchronous function can go on.
#[derive(Debug, Clone, Default)]
pub struct Need {
    /// Nodes that are missing.
    pub nodes: Vec<Child>,
    /// Spilled values that are missing, with the tags of their records.
    pub spills: Vec<(u8, Pointer)>,
    /// Where the first missing leaf stands, if it is known: those beside it are worth fetching with the same request.
    pub beside: Option<Beside>,
}

/// A child in the node above it.
#[derive(Debug, Clone)]
pub struct Beside {
    above: Arc<Node>,
    index: usize,
}

/// What is at hand without waiting.
pub trait Resident {
    /// A node.
    fn node(&self, child: &Child) -> Option<Arc<Node>>;
    /// A spilled value, decoded for the record tag.
    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>>;
}

/// Where nodes come from, waiting if need be.
pub trait Source: Send + Sync {
    /// A node, verified.
    fn fetch(&self, child: &Child) -> impl Future<Output = Result<Arc<Node>>> + Send;
}

/// Where new nodes go: children before parents, the root last.
pub trait Sink: Send {
    /// Takes a node and answers how its parent knows it.
    fn put(&mut self, node: Node) -> Result<Child>;
}
