//! What one operation holds on to, so that it ends even where the shared memory is full, and what was found last.

use std::cell::RefCell;
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

/// Where the nodes lie that operations found last: most of them ask for the same few, and a look here costs much less than
/// one into the shared memory, which counts who is asked for how often. It keeps sixteen nodes at most.
#[derive(Default)]
pub struct Recent(RefCell<[Slot; SLOTS]>);

type Slot = Option<(Place, Arc<Node>)>;

const SLOTS: usize = 16;

/// What was found last first, then pins, then the shared memory.
pub struct Pinned<'a> {
    /// Found last.
    pub recent: &'a Recent,
    /// Held by this operation.
    pub pins: &'a Pins,
    /// Shared.
    pub nodes: &'a Nodes,
}

impl Resident for Pinned<'_> {
    fn node(&self, child: &Child) -> Option<Arc<Node>> {
        let place = &child.pointer.place;
        let mut recent = self.recent.0.borrow_mut();
        let slot = recent.get_mut(slot(place))?;
        if let Some((known, node)) = slot
            && known == place
        {
            return Some(Arc::clone(node));
        }
        let pinned = self.pins.nodes.get(place).cloned();
        let node = pinned.or_else(|| self.nodes.node(child))?;
        *slot = Some((*place, Arc::clone(&node)));
        Some(node)
    }

    fn spill(&self, tag: u8, pointer: &Pointer) -> Option<Arc<Value>> {
        self.pins
            .spills
            .get(&(tag, pointer.place))
            .cloned()
            .or_else(|| self.nodes.spill(tag, pointer))
    }
}

/// Offsets of nodes are spread over all slots.
fn slot(place: &Place) -> usize {
    let (Place::Open { offset, .. } | Place::Pack { offset, .. }) = place;
    (offset.wrapping_mul(0x9e37_79b1) >> 16) as usize % SLOTS
}
