//! The only place that reads the clock of the machine; nothing's correctness depends on it.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use coffre_format::record::Timestamp;

/// The wall clock.
pub fn now() -> Timestamp {
    let mut now = read();
    now.seconds += stepped();
    now
}

/// Steps the clock of this process, by so many seconds from what the machine's says.
#[cfg(feature = "faults")]
pub fn step(seconds: i64) {
    STEP.store(seconds, std::sync::atomic::Ordering::SeqCst);
}

#[cfg(feature = "faults")]
static STEP: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

#[cfg(feature = "faults")]
fn stepped() -> i64 {
    STEP.load(std::sync::atomic::Ordering::SeqCst)
}

#[cfg(not(feature = "faults"))]
fn stepped() -> i64 {
    0
}

#[allow(clippy::disallowed_methods)] // the one place where it is allowed
fn read() -> Timestamp {
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
