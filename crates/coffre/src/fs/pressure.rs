//! Back-pressure: how long an operation waits while much is not uploaded yet, and when it is refused.
//!
//! ```text
//!  used / budget   0 ─────── 50 % ──────────── 95 % ─────────▶
//!  growing         at once  │ waits, by its size │ waits for room, 30 s at most, then ENOSPC
//!  giving back     at once ────────────────────────── up to a reserve above 100 %, then the same
//! ```
//! What is used are the bytes on this disk that no commit in the store contains: outbox, open packs, journal. Both
//! numbers are sampled, not asked for with every write.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::clock::Instant;
use crate::error::Refusal;
use crate::error::Result;
use crate::fs::inner::Inner;
use crate::fs::inner::Writer;
use crate::fs::types::Queue;

/// Room is waited for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_millis(20);
/// Just below the end, a MiB waits this long.
const SLOWEST: Duration = Duration::from_secs(1);
/// What an operation without content counts as, in bytes.
const RECORD: u64 = 4096;
/// No single operation waits longer while there is room.
const DELAY_MOST: Duration = Duration::from_secs(5);
/// Removing, cutting, renaming and setting times go on until this much above the budget, in bytes.
const RESERVE: u64 = 64 << 20;
/// A smaller budget could not hold a journal and the packs of one fold.
const BUDGET_LEAST: u64 = 64 << 20;
/// How long a sample of what is used holds, in time and in bytes admitted since.
const USED_HOLDS: Duration = Duration::from_millis(100);
const USED_HOLDS_FOR: u64 = 4 << 20;
/// How long a sample of the disk holds.
const DISK_HOLDS: Duration = Duration::from_secs(1);
/// A queue shorter than this is not worth hurrying for, in bytes.
const HURRY_FROM: u64 = 16 << 20;

/// A store on a disk of this machine gets packs before their time when the queue is this long, in bytes.
const DISK_EARLY_FROM: u64 = 1 << 30;

/// What an operation does to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Adds these bytes.
    Grow(u64),
    /// Removes, cuts, moves or sets times: only a record is written, and space is given back where there is any.
    GiveBack,
}

impl Demand {
    /// Adds records only.
    pub(crate) const RECORD: Self = Self::Grow(0);
}

/// How full the queue is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) used: u64,
    pub(crate) budget: u64,
}

/// Whether an operation may go on.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Now,
    After(Duration),
    WhenThereIsRoom,
}

impl Level {
    /// Where delays begin.
    fn half(self) -> u64 {
        self.budget / 2
    }

    /// Where they end and room is waited for.
    fn brim(self) -> u64 {
        self.budget - self.budget / 20
    }

    /// Whether it is worth publishing and folding before their time.
    fn is_pressed(self) -> bool {
        self.used >= self.half()
    }

    fn verdict(self, demand: Demand) -> Verdict {
        match demand {
            Demand::GiveBack if self.used < self.budget.saturating_add(RESERVE) => Verdict::Now,
            Demand::GiveBack => Verdict::WhenThereIsRoom,
            Demand::Grow(_) if self.used >= self.brim() => Verdict::WhenThereIsRoom,
            Demand::Grow(_) if self.used <= self.half() => Verdict::Now,
            Demand::Grow(bytes) => {
                let share =
                    (self.used - self.half()) as f64 / (self.brim() - self.half()).max(1) as f64;
                let mebibytes = bytes.max(RECORD) as f64 / f64::from(1 << 20);
                let most = DELAY_MOST.as_secs_f64();
                let seconds = (SLOWEST.as_secs_f64() * share * mebibytes).min(most);
                Verdict::After(Duration::from_secs_f64(seconds))
            }
        }
    }
}

/// What a disk has, in bytes.
#[derive(Debug, Clone, Copy)]
struct Disk {
    total: u64,
    free: u64,
}

impl Disk {
    /// Of what is free, what the queue may take. A gibibyte or a twentieth of the disk stays for everything else on
    /// it; of a disk that is nearly full already, half of what is left, but never the last gibibyte.
    fn for_queue(self) -> u64 {
        let least = (1 << 30).min(self.total / 8);
        let keep = (self.total / 20).max(least);
        self.free.saturating_sub(keep.min(least.max(self.free / 2)))
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    used: u64,
    used_at: Instant,
    /// Bytes let in since.
    admitted: u64,
    budget: u64,
    budget_at: Instant,
}

/// Samples how full the queue is.
pub(crate) struct Gauge {
    queue: Queue,
    /// The state folder.
    folder: PathBuf,
    sample: Mutex<Option<Sample>>,
    refused: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gauge {
    pub(crate) fn new(queue: Queue, folder: PathBuf) -> Self {
        Self {
            queue,
            folder,
            sample: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// As of now, or of a moment ago; `measure` tells the bytes in use.
    fn level(&self, measure: impl FnOnce() -> u64) -> Level {
        let mut sample = lock(&self.sample);
        let now = Instant::now();
        let old = sample.filter(|sample| {
            now.duration_since(sample.used_at) < USED_HOLDS && sample.admitted < USED_HOLDS_FOR
        });
        let fresh = old.unwrap_or_else(|| {
            let used = measure();
            let held = sample.filter(|old| now.duration_since(old.budget_at) < DISK_HOLDS);
            let (budget, budget_at) = match held {
                // What the queue took since, the disk has lost: their sum is the same.
                Some(old) => (old.budget, old.budget_at),
                None => (self.budget(used), now),
            };
            Sample {
                used,
                used_at: now,
                admitted: 0,
                budget,
                budget_at,
            }
        });
        *sample = Some(fresh);
        Level {
            used: fresh.used + fresh.admitted,
            budget: fresh.budget,
        }
    }

    fn admitted(&self, bytes: u64) {
        if let Some(sample) = &mut *lock(&self.sample) {
            sample.admitted += bytes;
        }
    }

    fn budget(&self, used: u64) -> u64 {
        let unknown = Disk {
            total: u64::MAX,
            free: u64::MAX / 2,
        };
        let disk = match rustix::fs::statvfs(&self.folder) {
            // Some file systems do not tell.
            Ok(stat) if stat.f_blocks == 0 => unknown,
            Ok(stat) => Disk {
                total: stat.f_blocks.saturating_mul(stat.f_frsize),
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
            },
            Err(error) => {
                log::warn!("cannot tell how full the local disk is: {error}");
                unknown
            }
        };
        let of_disk = used.saturating_add(disk.for_queue());
        match self.queue {
            Queue::Disk => of_disk,
            Queue::Bytes(most) => of_disk.min(most.max(BUDGET_LEAST)),
        }
    }

    /// Says so once in a while, not with every refused write.
    fn refuse(&self, level: Level) {
        let mut refused = lock(&self.refused);
        if refused.is_none_or(|last| last.elapsed() >= PATIENCE) {
            log::warn!("{}", refusal(level));
        }
        *refused = Some(Instant::now());
    }
}

/// What people are told of an ENOSPC.
fn refusal(level: Level) -> String {
    let mebibytes = |bytes: u64| bytes >> 20;
    format!(
        "no room for new content: {} MiB wait for upload and {} MiB may; it goes on when the store takes them, or with \
         more room on the local disk or a larger --queue-size",
        mebibytes(level.used),
        mebibytes(level.budget)
    )
}

impl Inner {
    /// Lets an operation go on, at once or after a while; refuses it where there is no room in time, and while the
    /// disk takes nothing. What holds it
    /// back may also be the journal or the fold, if the local disk is slow.
    pub(crate) async fn admit(&self, writer: &Writer, demand: Demand) -> Result<()> {
        if demand != Demand::GiveBack {
            writer.packs.admit().await;
        }
        let begin = Instant::now();
        let delay = loop {
            if let Some(error) = writer.trouble() {
                writer.journal.nudge();
                if demand != Demand::GiveBack || writer.journal.held() > self.shares.held_most() {
                    return Err(error.refusing_changes());
                }
            }
            let level = self.level(writer);
            if !self.is_behind(writer, demand) {
                match level.verdict(demand) {
                    Verdict::Now => break None,
                    Verdict::After(delay) => break Some(delay),
                    Verdict::WhenThereIsRoom => {}
                }
            }
            if begin.elapsed() >= PATIENCE {
                self.gauge.refuse(level);
                return Err(Refusal::NoSpace.into());
            }
            self.wake.notify_one();
            let room = self.room.notified();
            drop(tokio::time::timeout(LOOK, room).await);
        };
        // Before the delay: whoever comes meanwhile shall not count on the same room.
        if let Demand::Grow(bytes) = demand {
            self.gauge.admitted(bytes);
        }
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    /// How full the queue is.
    pub(crate) fn level(&self, writer: &Writer) -> Level {
        self.gauge.level(|| {
            let journal = writer.journal.size() + writer.journal.backlog() as u64;
            writer.outbox.bytes() + writer.packs.memory() as u64 + journal
        })
    }

    /// Whether a publish is worth it before its time, because there is something to make room with.
    pub(crate) fn should_hurry(&self, writer: &Writer) -> bool {
        let level = self.level(writer);
        level.is_pressed() && level.used >= HURRY_FROM
    }

    /// Whether full packs are sent before a commit is due. A line is slow, and used from the first byte on; a disk is fast,
    /// and to write everything to it twice while somebody waits only makes him wait twice as long.
    pub(crate) fn sends_early(&self, writer: &Writer) -> bool {
        let level = self.level(writer);
        !self.vault.store().is_on_disk() || level.used >= DISK_EARLY_FROM.min(level.budget / 8)
    }

    /// Whether writes wait for room that a fold could make.
    pub(crate) fn is_brimful(&self) -> bool {
        let level = self.writer.as_ref().map(|writer| self.level(writer));
        level.is_some_and(|level| level.used >= level.brim())
    }

    /// Why writes were refused lately, for `status`.
    pub(crate) fn refused_lately(&self) -> Option<String> {
        let writer = self.writer.as_ref()?;
        let lately = lock(&self.gauge.refused).is_some_and(|last| last.elapsed() < 2 * PATIENCE);
        let level = self.level(writer);
        (lately && level.used >= level.brim()).then(|| refusal(level))
    }

    fn is_behind(&self, writer: &Writer, demand: Demand) -> bool {
        let reserve = match demand {
            Demand::GiveBack => self.shares.reserve,
            Demand::Grow(_) => 0,
        };
        writer.journal.backlog() > self.shares.backlog_most + reserve
            || self.core().overlay() > self.shares.changes_most + reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(percent: u64) -> Level {
        Level {
            used: GIB / 100 * percent,
            budget: GIB,
        }
    }

    fn delay(level: Level, bytes: u64) -> Duration {
        match level.verdict(Demand::Grow(bytes)) {
            Verdict::Now => Duration::ZERO,
            Verdict::After(delay) => delay,
            Verdict::WhenThereIsRoom => Duration::MAX,
        }
    }

    #[test]
    fn delays_begin_at_half_grow_linearly_with_fill_and_size_and_end_in_waiting() {
        assert_eq!(delay(at(49), 1 << 20), Duration::ZERO);
        let near = |delay: Duration, millis: u64| {
            delay.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(30)
        };
        assert!(near(delay(at(61), 1 << 20), 244));
        assert!(near(delay(at(72), 1 << 20), 489));
        assert!(near(delay(at(94), 1 << 20), 978));
        assert!(near(delay(at(72), 1 << 18), 122));
        assert!(near(delay(at(94), 0), 4), "a record counts as one page");
        assert_eq!(delay(at(94), GIB), DELAY_MOST);
        assert_eq!(delay(at(96), 1), Duration::MAX);
    }

    #[test]
    fn giving_back_goes_on_up_to_a_reserve_above_the_budget() {
        let level = |used| Level { used, budget: GIB };
        assert_eq!(at(100).verdict(Demand::GiveBack), Verdict::Now);
        let last = level(GIB + RESERVE - 1);
        assert_eq!(last.verdict(Demand::GiveBack), Verdict::Now);
        let none = level(GIB + RESERVE);
        assert_eq!(none.verdict(Demand::GiveBack), Verdict::WhenThereIsRoom);
    }

    #[test]
    fn the_disk_keeps_room_for_others() {
        let queue = |total: u64, free: u64| Disk { total, free }.for_queue();
        assert_eq!(queue(1000 * GIB, 500 * GIB), 450 * GIB, "a twentieth stays");
        assert_eq!(queue(10 * GIB, 8 * GIB), 7 * GIB, "at least a gibibyte");
        assert_eq!(queue(1000 * GIB, 30 * GIB), 15 * GIB, "half of the rest");
        assert_eq!(queue(1000 * GIB, GIB), 0, "never the last gibibyte");
        assert_eq!(queue(0, 0), 0);
    }

    #[test]
    fn what_is_admitted_counts_before_it_is_measured() {
        let gauge = Gauge::new(Queue::Bytes(GIB), std::env::temp_dir());
        assert_eq!(gauge.level(|| 7).used, 7);
        gauge.admitted(1000);
        assert_eq!(gauge.level(|| 0).used, 1007, "the sample still holds");
        gauge.admitted(USED_HOLDS_FOR);
        assert_eq!(gauge.level(|| 9).used, 9, "and is taken anew after that");
    }
}
