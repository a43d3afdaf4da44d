//! The namespace core: every POSIX operation as a synchronous function over resident records.
//!
//! An operation looks at a [`View`] (changes over the tree) and answers with an [`Outcome`]: a value
//! and the edits that make it so. What it cannot see yet it names in [`Stop::Need`]; the caller fetches
//! that and runs the same function again. So an operation is atomic under one short lock:
//!
//! ```text
//! lock ── view ── operation ──▶ Need ── unlock, fetch, again
//!                     └───────▶ edits ── apply to the active changes, journal ── unlock
//! ```
//!
//! Permissions and locks are the kernel's; there is no clock, no randomness and no I/O here.

pub mod acl;
pub mod apply;
pub mod attributes;
mod checks;
pub mod content;
pub mod directory;
mod draft;
pub mod entries;
pub mod privileges;
pub mod ranges;
pub mod rename;
#[cfg(test)]
mod tests;
pub mod unnamed;
pub mod view;
pub mod whole;
pub mod xattr;

pub use apply::Misapplied;
pub use apply::apply;
pub use attributes::attributes;
pub use attributes::set_attributes;
pub use content::Times;
pub use content::map;
pub use content::seek;
pub use content::write_blocks;
pub use directory::list;
pub use directory::parent_of;
pub use directory::path_of;
pub use entries::Fate;
pub use entries::InodeOpen;
pub use entries::Removed;
pub use entries::link;
pub use entries::lookup;
pub use entries::make;
pub use entries::orphans;
pub use entries::read_link;
pub use entries::reap;
pub use entries::remove_directory;
pub use entries::unlink;
pub use privileges::Privileges;
pub use ranges::allocate;
pub use ranges::copy_range;
pub use rename::Opened;
pub use rename::rename;
pub use unnamed::make_unnamed;
pub use unnamed::put_in_place;
pub use view::Context;
pub use view::Outcome;
pub use view::Step;
pub use view::Stop;
pub use view::View;
pub use whole::Whole;
pub use whole::make_whole;
pub use xattr::list_xattrs;
pub use xattr::remove_xattr;
pub use xattr::set_xattr;
pub use xattr::xattr;

/// Bit of an inode's flags: the file may have holes, so its allocation must be counted.
pub const SPARSE: u32 = 1;
/// Names a file may have.
pub const LINKS: usize = 65_000;
/// The greatest size of a file, in bytes.
pub const SIZE_MAX: u64 = i64::MAX as u64;
