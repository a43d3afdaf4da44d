//! The only place that reads the clock of the machine; nothing's correctness depends on it.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use coffre_format::record::Timestamp;

/// What time spans are measured with: the runtime's, which tests can stop and move on.
pub use tokio::time::Instant;

/// The wall clock.
pub fn now() -> Timestamp {
    #[cfg(feature = "faults")]
    if let Some(simulated) = simulated::now() {
        return simulated;
    }
    of_machine()
}

#[allow(clippy::disallowed_methods)] // the one place where it is allowed
fn of_machine() -> Timestamp {
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

/// A wall clock that goes with the runtime's time, for tests that must be able to happen again exactly.
#[cfg(feature = "faults")]
pub mod simulated {
    use std::cell::Cell;

    use super::Instant;
    use super::Timestamp;

    thread_local! {
        static BEGAN: Cell<Option<(Timestamp, Instant)>> = const { Cell::new(None) };
    }

    /// For this thread it is `now` at this moment; `None` ends that.
    pub fn set(now: Option<Timestamp>) {
        BEGAN.set(now.map(|now| (now, Instant::now())));
    }

    pub(super) fn now() -> Option<Timestamp> {
        let (base, began) = BEGAN.get()?;
        let passed = began.elapsed();
        let nanos = base.nanos + passed.subsec_nanos();
        Some(Timestamp {
            seconds: base.seconds + passed.as_secs() as i64 + i64::from(nanos / 1_000_000_000),
            nanos: nanos % 1_000_000_000,
        })
    }
}
