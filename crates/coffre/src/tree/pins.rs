//! What one operation holds on to, so that it ends even where the shared memory is full.

use std::collections::HashMap;
use std::sync::Arc;

use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Value;

use crate::tree::Nodes;
use crate::tree::Resident;

/// Nodes and spilled values of one operation.
#[derive(Default)]
pub struct Pins {
    pub(super) nodes: HashMap<Place, Arc<Node>>,
    pub(super) spills: HashMap<(u8, Place), Arc<Value>>,
}

/// Pins first, then the shared memory.
pub struct Pinned<'a> {
    /// Held by this operation.
    pub pins: &'a Pins,
    /// Shared.
    pub nodes: &'a Nodes,
}

impl Resident for Pinned<'_> {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        self.pins
            .nodes
            .get(&child.pointer.place)
            .cloned()
            .or_else(|| self.nodes.node(child))
    }

    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        self.pins
            .spills
            .get(&(tag, pointer.place))
            .cloned()
            .or_else(|| self.nodes.spill(tag, pointer))
    }
}
