//! The only place that reads the clock of the machine; nothing's correctness depends on it.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use coffre_format::record::Timestamp;

/// What time spans are measured with: the runtime's, which tests can stop and move on.
pub use tokio::time::Instant;

/// The wall clock.
#[allow(clippy::disallowed_methods)] // the one place where it is allowed
pub fn now() -> Timestamp {
    let seconds =
        |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            seconds: seconds(after),
            nanos: after.subsec_nanos(),
        },
        Err(before) => Timestamp {
            seconds: -seconds(before.duration()) - 1,
            nanos: 0,
        },
    }
}
