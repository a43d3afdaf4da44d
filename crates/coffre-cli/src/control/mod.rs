//! The socket in a mounted vault's state folder, by which other commands reach the process that has it.
//!
//! One JSON object a line: the client sends one `Call` for each connection, the daemon answers with `Line`s up
//! to `Done` or `Failed`. A client that closes its end takes the call back.

pub mod client;
pub mod server;

use serde::Deserialize;
use serde::Serialize;

use crate::requests::Item;
use crate::requests::Request;

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Something about the file system.
    Request(Request),
    /// Publish, and answer when the store has everything.
    Sync,
    /// Upload everything, unmount, end.
    Unmount {
        /// Leave the rest in the journal.
        now: bool,
    },
}

/// A line of the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A piece of the answer.
    Item(Item),
    /// Bytes that are not uploaded yet.
    Waiting(u64),
    /// Done; bytes that are not uploaded yet.
    Done(u64),
    /// It failed.
    Failed {
        /// Why.
        message: String,
        /// The exit code.
        code: u8,
    },
}

/// Longest line of a call, in bytes: two paths and a little.
const CALL_MAX: u64 = 64 * 1024;
