//! Named points at which a test can stop the process, as a crash would. Without the feature `faults`, nothing.
//!
//! `COFFRE_FAULT=fold.swapped@2` kills the process when it comes to that point for the second time. A test of one
//! process can `hold` whoever comes to a point instead, as a slow disk would.

/// All points, in the order in which a change meets them.
pub const POINTS: [&str; 40] = [
    "write.sealed",
    "write.accepted",
    "pack.created",
    "pack.appended",
    "pack.synced",
    "pack.closed",
    "pack.frozen",
    "journal.taken",
    "journal.written",
    "journal.data-synced",
    "journal.synced",
    "journal.rolled",
    "journal.checkpoint-written",
    "journal.checkpoint-synced",
    "journal.segment-freed",
    "outbox.written",
    "outbox.renamed",
    "outbox.synced",
    "fold.begun",
    "fold.settled",
    "fold.edited",
    "fold.stored",
    "fold.swapped",
    "fold.ended",
    "publish.begun",
    "publish.pack-sent",
    "publish.packs-sent",
    "publish.intent-recorded",
    "publish.commit-sent",
    "publish.commit-confirmed",
    "publish.recorded",
    "publish.retiring",
    "anchor.written",
    "anchor.renamed",
    "cache.adopted",
    "cache.evicted",
    "heads.forwarded",
    "key.slot-sent",
    "key.unlisted",
    "session.begun",
];

/// Kills the process if a test wants it to stop here.
#[cfg(feature = "faults")]
pub(crate) fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    held::wait(name);
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var("COFFRE_FAULT").ok()?;
        let (name, count) = wanted.split_once('@')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = wanted
        && wanted == name
        && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(feature = "faults")]
pub use held::hold;
#[cfg(feature = "faults")]
pub use held::is_reached;
#[cfg(feature = "faults")]
pub use held::release;

#[cfg(feature = "faults")]
mod held {
    use std::collections::BTreeMap;
    use std::sync::Condvar;
    use std::sync::Mutex;
    use std::sync::MutexGuard;
    use std::sync::PoisonError;

    /// Points, and how many wait there.
    static HELD: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());
    static RELEASED: Condvar = Condvar::new();

    fn held() -> MutexGuard<'static, BTreeMap<&'static str, usize>> {
        HELD.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on whoever comes to this point waits there.
    pub fn hold(point: &'static str) {
        held().entry(point).or_default();
    }

    /// Whether somebody waits there.
    pub fn is_reached(point: &'static str) -> bool {
        held().get(point).is_some_and(|waiting| *waiting > 0)
    }

    /// All who wait there go on.
    pub fn release(point: &'static str) {
        held().remove(point);
        RELEASED.notify_all();
    }

    pub(super) fn wait(name: &'static str) {
        let mut points = held();
        if let Some(waiting) = points.get_mut(name) {
            *waiting += 1;
            while points.contains_key(name) {
                points = RELEASED
                    .wait(points)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Nothing.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn point(_: &'static str) {}
