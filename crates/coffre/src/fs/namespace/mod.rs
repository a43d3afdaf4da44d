//! POSIX operations as synchronous functions over resident records: they return edits, a refusal, or what they need.
