//! Keys and what is done with them: derivation, hashing, sealing, signing.

pub mod hash;
pub mod kdf;
pub mod key;
pub mod seal;
pub mod sign;
