//! Bounded readers and writers, and the canonical form of postcard values.
