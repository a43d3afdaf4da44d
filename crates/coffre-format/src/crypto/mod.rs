//! Keys and what is done with them: derivation, hashing, sealing, signing.

pub(crate) mod hash;
pub mod key;
pub(crate) mod locked;
pub mod seal;
pub mod sign;
