//! Pieces of a block: laying over, cutting, punching, slicing.
