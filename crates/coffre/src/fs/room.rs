//! Making room without the store: what is deleted before it was sent need not wait to be sent.
//!
//! A fold tells what the tree still reaches; packs of the outbox that it does not reach go, unless an operation that
//! is under way may still name them. A write seals its blocks before it names them, so only packs that were closed
//! when the last fold began are candidates: that fold has waited for the writes that sealed into them.

use std::collections::HashSet;

use coffre_format::id::PackName;

use crate::error::Result;
use crate::fs::inner::Inner;

impl Inner {
    /// Folds, and drops the packs that nothing needs.
    pub(crate) async fn make_room(&self) -> Result<()> {
        let writer = self.writer()?;
        self.fold().await?;
        // A publish that is under way makes room itself.
        let Ok(mut publishing) = writer.publishing.try_lock() else {
            return Ok(());
        };
        let closed = writer.fold_turn.lock().await;
        let (root, in_use) = {
            let core = self.core();
            if core.frozen.is_some() {
                return Ok(());
            }
            (core.root, core.named.clone())
        };
        let reached = self.reach(&root, &writer.outbox).await?;
        let settled: HashSet<PackName> = closed
            .retired()
            .iter()
            .filter(|salt| !in_use.salts.contains(salt))
            .filter_map(|salt| writer.packs.frozen(*salt))
            .map(|frozen| frozen.pack.name)
            .collect();
        let known = writer.packs.names();
        let mut dropped = 0;
        for (name, length) in writer.outbox.packs() {
            let needed = reached.packs.contains(&name)
                || in_use.packs.contains(&name)
                || (known.contains(&name) && !settled.contains(&name));
            if !needed {
                writer.outbox.remove(name)?;
                publishing.forget(name);
                dropped += length;
            }
        }
        drop(closed);
        if dropped > 0 {
            log::info!("{dropped} bytes that were deleted before their upload are dropped");
        }
        self.room.notify_waiters();
        Ok(())
    }
}
