//! What the promises are tested with: vaults in temporary folders, mounts, and real programs run on them.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod client;
pub mod command;
pub mod compare;
pub mod daemon;
pub mod dice;
pub mod gate;
pub mod mounted;
pub mod programs;
pub mod recorder;
pub mod s3;
pub mod sequence;
pub mod weather;
pub mod world;

pub use mounted::Mounted;
pub use world::World;
