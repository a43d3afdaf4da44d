//! The tree against a sorted map, against its own description, and against what it may read and write.

mod changes;
mod damage;
mod deletion;
mod difference;
mod history;
mod memory;
mod model;
mod records;
mod reference;
mod reuse;
mod universe;

use memory::Memory;
use records::Records;
use universe::Universe;
