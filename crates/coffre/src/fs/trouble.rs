//! A local disk that takes nothing: why, and when it is tried again.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::Error;

/// A disk that has just failed is not asked again before this time, whoever waits.
const REST: Duration = Duration::from_secs(1);
/// The longest time after which it is tried without anybody asking.
const LONGEST: Duration = Duration::from_secs(16);

/// Why nothing reaches the disk.
pub(crate) struct Trouble {
    error: Error,
    tried: Instant,
    wait: Duration,
}

impl Trouble {
    /// After an attempt that failed or not, and the ones before. The log hears of the beginning, of another
    /// reason, and of the end.
    pub(crate) fn after(before: Option<Self>, error: Option<Error>) -> Option<Self> {
        let Some(error) = error else {
            if let Some(before) = before {
                // With the reason: on a full disk this may be the first line that the log could take.
                log::warn!(
                    "the local disk takes changes again, what waited in memory is on it; before: {}",
                    before.error
                );
            }
            return None;
        };
        let known = before.as_ref();
        if !known.is_some_and(|before| before.error.is_same_failure(&error)) {
            log::error!(
                "{error}; new changes are refused until this disk takes them, those accepted wait in memory"
            );
        }
        let wait = before.map_or(REST, |before| (before.wait * 2).min(LONGEST));
        Some(Self {
            error,
            tried: Instant::now(),
            wait,
        })
    }

    /// What failed last.
    pub(crate) fn error(&self) -> Error {
        self.error.clone()
    }

    /// Time until it is tried again by itself.
    pub(crate) fn pause(&self) -> Duration {
        self.wait.saturating_sub(self.tried.elapsed())
    }

    /// Whether it is too early to ask again.
    pub(crate) fn was_just_tried(&self) -> bool {
        self.tried.elapsed() < REST
    }
}
