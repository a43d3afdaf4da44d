//! (in work) seal
