//! The only place that reads the clock of the machine; nothing's correctness depends on it.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use coffre_format::record::Timestamp;

/// What time spans are measured with: the runtime's, which tests can stop and move on.
pub use tokio::time::Instant;

/// The wall clock.
pub fn now() -> Timestamp {
    #[cfg(feature = "faults")]
    return planted::now();
    #[cfg(not(feature = "faults"))]
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

/// Clocks that tests plant: one that is wrong, or one that goes with the runtime's time.
#[cfg(feature = "faults")]
pub mod planted {
    use std::cell::Cell;
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering;

    use super::Instant;
    use super::Timestamp;
    use super::of_machine;

    static STEP: AtomicI64 = AtomicI64::new(0);

    thread_local! {
        static BEGAN: Cell<Option<(Timestamp, Instant)>> = const { Cell::new(None) };
    }

    /// Steps the clock of this process, by so many seconds from what the machine's says.
    pub fn step(seconds: i64) {
        STEP.store(seconds, Ordering::SeqCst);
    }

    /// For this thread it is `now` at this moment, and later as the runtime's time passes; `None` ends that.
    pub fn set(now: Option<Timestamp>) {
        BEGAN.set(now.map(|now| (now, Instant::now())));
    }

    pub(super) fn now() -> Timestamp {
        let Some((base, began)) = BEGAN.get() else {
            let mut now = of_machine();
            now.seconds += STEP.load(Ordering::SeqCst);
            return now;
        };
        let passed = began.elapsed();
        let nanos = base.nanos + passed.subsec_nanos();
        Timestamp {
            seconds: base.seconds + passed.as_secs() as i64 + i64::from(nanos / 1_000_000_000),
            nanos: nanos % 1_000_000_000,
        }
    }
}
