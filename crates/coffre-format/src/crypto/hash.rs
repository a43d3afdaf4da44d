//! (in work) hash
