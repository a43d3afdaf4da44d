//! Ctrl-C: work stops between two pieces, so that nothing is left half; the third one ends the process.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use crate::exit;
use crate::exit::Failure;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Counts Ctrl-C from now on.
pub fn listen() {
    tokio::spawn(async {
        while tokio::signal::ctrl_c().await.is_ok() {
            if COUNT.fetch_add(1, Ordering::Relaxed) >= 2 {
                // What was accepted is in the journal, as after a crash.
                std::process::exit(130);
            }
        }
    });
}

/// How often Ctrl-C was pressed.
pub fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// An error once Ctrl-C was pressed.
pub fn check() -> anyhow::Result<()> {
    match count() {
        0 => Ok(()),
        _ => Err(Failure::error(exit::FAILED, "interrupted")),
    }
}
