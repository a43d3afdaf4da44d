//! A drive that its storage provider cannot read, alter, roll back or hold hostage.
//!
//! A [`Vault`](vault::Vault) is an unlocked set of sealed objects in a [`Store`](store::Store);
//! a [`Filesystem`](fs::Filesystem) is the tree of files in it, durable in a local journal first
//! and published to the store in the background.

pub mod clock;
pub mod error;
#[cfg_attr(not(feature = "faults"), doc(hidden))]
pub mod fault;
pub mod fs;
pub mod store;
pub mod tree;
pub mod vault;

pub use error::Error;
pub use error::Result;
