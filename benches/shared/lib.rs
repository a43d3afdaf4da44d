//! What several benchmarks of whole file systems share.

pub mod device;
pub mod plot;
