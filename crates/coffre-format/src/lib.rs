//! The bytes of a Coffre vault: encoding, sealing and checking, without I/O.
//!
//! Everything that leaves the machine or outlives a process is made and read here;
//! `docs/FORMAT.md` has one section for each module. Decoders are bounded, canonical
//! and answer any bytes with a value or a [`FormatError`], never with a panic.

pub mod anchor;
pub mod checkpoint;
pub mod codec;
pub mod commit;
pub mod crypto;
pub mod error;
pub mod frame;
pub mod header;
pub mod id;
pub mod keyslot;
pub mod name;
pub mod node;
pub mod pack;
pub mod random;
pub mod record;
pub mod transaction;
pub mod value;

pub use error::FormatError;

/// The format this crate writes, and the newest that it reads.
pub const FORMAT: u16 = 1;
