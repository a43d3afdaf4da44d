//! (in work) kdf
