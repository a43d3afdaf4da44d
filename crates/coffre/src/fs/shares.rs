//! How the one bound of memory is shared out among all that keeps bytes.
//!
//! ```text
//!  bound ── the program itself: code, stacks, request buffers, what the allocator cannot give back
//!    └──── rest ─┬─ changes: waiting in the overlay, being folded, queued for or unsynced in the journal
//!                ├─ packs: being filled, being frozen, being uploaded
//!                ├─ what was read: nodes, frames, spans
//!                └─ requests that wait for any of these
//! ```
//! All of them together are within the bound, so that no part has to ask another.

use coffre_format::pack::PACK_FULL;

/// What the program takes with nothing to do, and buffers that are kept for whoever writes next, in bytes.
const OWN: u64 = 40 * MIB;
/// Where the bound is smaller than can be kept, parts still need this to work at all, in bytes.
const REST_LEAST: u64 = 32 * MIB;
const MIB: u64 = 1024 * 1024;
/// The kernel's largest request, in bytes.
const REQUEST: u64 = MIB;

/// What each part may keep in memory, in bytes where nothing else is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    /// Changes at which a fold begins.
    pub(crate) fold_at: usize,
    /// Changes, waiting and being folded, beyond which writers wait.
    pub(crate) changes_most: usize,
    /// What deletions may take beyond the bounds of all else: they are the way out of a full disk.
    pub(crate) reserve: usize,
    /// Bytes queued for the journal beyond which writers wait.
    pub(crate) backlog_most: usize,
    /// Bytes written to the journal that are kept until they are synced.
    pub(crate) unsynced_most: usize,
    /// Length of a full pack: smaller ones where memory is short.
    pub(crate) pack: u32,
    /// Packs being frozen at a time.
    pub(crate) freezing: usize,
    /// Packs being uploaded at a time.
    pub(crate) uploads: usize,
    /// Decoded nodes and content frames that were read.
    pub(crate) nodes: u64,
    /// Nodes that a fold has made and hands over once their pack has a name.
    pub(crate) made: usize,
    /// Spans as they came from the store.
    pub(crate) recent: u64,
    /// What is fetched ahead of one sequential reader.
    pub(crate) window: u64,
    /// Requests of the kernel that may wait at a time.
    pub(crate) requests: usize,
}

impl Shares {
    pub(crate) fn of(bound: u64) -> Self {
        let rest = bound.saturating_sub(OWN).max(REST_LEAST);
        let bytes = |part: u64| usize::try_from(rest / part).unwrap_or(usize::MAX);
        let fold_at = bytes(22);
        let pack = (rest / 13).min(u64::from(PACK_FULL)) as u32;
        let packs = |part: u64| rest / part / u64::from(pack);
        Self {
            fold_at,
            changes_most: fold_at * 3,
            reserve: bytes(40).min(16 << 20),
            backlog_most: bytes(40).min(16 << 20),
            unsynced_most: bytes(20).min(64 << 20),
            pack,
            freezing: packs(7).clamp(1, 4) as usize,
            uploads: packs(7).clamp(1, 4) as usize,
            nodes: rest / 5,
            made: bytes(32),
            recent: (rest / 32).min(32 << 20),
            window: (rest / 64).clamp(512 << 10, 8 << 20),
            requests: (rest / 11 / REQUEST).clamp(8, 128) as usize,
        }
    }

    /// The same where the store is a disk of this machine. The system keeps what comes from it, as it came, and it takes
    /// nothing faster from many at a time: what that spares is for what was opened.
    pub(crate) fn for_a_disk(self) -> Self {
        let uploads = self.uploads.min(2);
        let spared = (self.uploads - uploads) as u64 * u64::from(self.pack);
        Self {
            uploads,
            recent: 0,
            nodes: self.nodes + self.recent + spared,
            ..self
        }
    }

    /// Bytes that may wait in memory for a disk that takes nothing; then not even deletions are accepted.
    pub(crate) fn held_most(&self) -> usize {
        self.unsynced_most + self.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::types::Options;

    /// Everything a busy writer keeps at its worst, as the parts are made.
    fn written(shares: &Shares) -> u64 {
        let changes = shares.changes_most + shares.fold_at + shares.reserve;
        let journal = 2 * shares.backlog_most + shares.unsynced_most;
        let packs = (1 + shares.freezing + shares.uploads + 1) * shares.pack as usize;
        (changes + journal + packs) as u64 + shares.requests as u64 * REQUEST
    }

    #[test]
    fn all_that_is_kept_at_once_is_within_the_bound_whatever_it_is() {
        for bound in [96, 128, 256, 512, 1024, 4096] {
            let bound = bound * MIB;
            assert!(bound >= Options::MEMORY_LEAST);
            for shares in [Shares::of(bound), Shares::of(bound).for_a_disk()] {
                let most = OWN + written(&shares) + shares.nodes + shares.recent;
                assert!(most <= bound, "{bound}: {most} {shares:?}");
                assert!(shares.pack > 4 << 20 && shares.fold_at > 2 << 20);
            }
        }
    }

    #[test]
    fn packs_are_full_where_memory_allows() {
        assert_eq!(Shares::of(512 * MIB).pack, PACK_FULL);
        assert!(Shares::of(128 * MIB).pack < PACK_FULL);
    }
}
