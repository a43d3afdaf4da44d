//! What `status` tells: what is not in the store yet, since when, and how the devices stand.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::tag;

use crate::error::Error;
use crate::error::Result;
use crate::fs::Volume;
use crate::fs::inner::Inner;
use crate::fs::inner::Writer;
use crate::fs::types::DeviceStatus;
use crate::fs::types::Status;
use crate::vault;
use crate::vault::Stored;

impl Volume {
    /// Reads what the vault calls its devices, for the next [`Volume::status`].
    pub async fn learn_names(&self) -> Result<()> {
        let inner = &self.inner;
        let (start, end) = Key::tagged(Inode::VAULT, tag::DEVICE);
        let root = inner.core().root;
        for (key, record) in inner.nodes.range(&root, &start, &end).await? {
            if let (Record::Device(device), Ok(id)) = (record, DeviceId::from_slice(key.rest())) {
                let mut names = inner.names.lock().unwrap_or_else(PoisonError::into_inner);
                names.insert(id, device.name);
            }
        }
        Ok(())
    }

    /// How much the store holds and how much of it is in use. Reads the whole tree; what is not folded yet
    /// still counts as it was.
    pub async fn stored(&self) -> Result<Stored> {
        let root = self.inner.core().published.1;
        vault::stored(&self.inner.vault, &self.inner.nodes, &root).await
    }

    /// Whether the store refuses the credentials: for everything, or for the last publish.
    pub fn is_refused(&self) -> bool {
        let inner = &self.inner;
        let last = inner
            .counters
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let outage = inner.vault.store().outage();
        let met = outage.as_ref().map(|outage| &outage.error);
        matches!(met.or(last.as_ref()), Some(Error::Denied { .. }))
    }

    /// State of the queue, the cache and the devices. Never waits for the store.
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let heads = inner.vault.heads();
        let own = inner.vault.device();
        let own_head = heads.all.iter().find(|head| Some(head.device) == own);
        let devices = heads
            .all
            .iter()
            .map(|head| DeviceStatus {
                id: head.device.to_string(),
                name: inner
                    .names
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&head.device)
                    .cloned()
                    .unwrap_or_default(),
                this: Some(head.device) == own,
                seq: head.point.seq.0,
                time: head.commit.body.time.seconds,
            })
            .collect();
        let (unpublished_operations, unpublished_seconds, used_bytes, pending) = {
            let core = inner.core();
            let seconds = core
                .dirty_since
                .map_or(0, |since| since.elapsed().as_secs());
            let operations = core.lsn.0.saturating_sub(core.published.0.0);
            (
                operations,
                seconds,
                core.root.sums.bytes,
                if core.is_dirty() {
                    core.overlay() as u64
                } else {
                    0
                },
            )
        };
        let writer = inner.writer.as_ref();
        let outbox = writer.map_or(0, |writer| writer.outbox.bytes());
        let open = writer.map_or(0, |writer| writer.packs.memory() as u64);
        let level = inner.writer.as_ref().map(|writer| inner.level(writer));
        let last_error = inner
            .counters
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let outage = inner.vault.store().outage();
        let mut warnings = heads.warnings;
        warnings.extend(inner.refused_lately());
        Status {
            unpublished_bytes: if unpublished_operations == 0 {
                0
            } else {
                pending + outbox + open
            },
            unpublished_operations,
            unpublished_seconds,
            queue: inner.counters.queue.load(Ordering::Relaxed),
            speed: inner.counters.speed.load(Ordering::Relaxed),
            last_commit: inner.vault.last().map_or(0, |point| point.seq.0),
            last_commit_time: own_head.map_or(0, |head| head.commit.body.time.seconds),
            cache_bytes: inner
                .nodes
                .reader()
                .cache()
                .map_or(0, crate::store::Cache::used),
            used_bytes,
            devices,
            local_bytes: level.map_or(0, |level| level.used),
            local_limit: level.map_or(0, |level| level.budget),
            advice: advice(
                outage
                    .as_ref()
                    .map(|outage| &outage.error)
                    .or(last_error.as_ref()),
            ),
            away_seconds: outage
                .as_ref()
                .map(|outage| outage.since.elapsed().as_secs()),
            away_error: outage.map(|outage| outage.error.to_string()),
            last_error: last_error.map(|error| error.to_string()),
            diverged: heads.diverged.iter().map(ToString::to_string).collect(),
            warnings: [inner.local_warnings(), warnings].concat(),
        }
    }
}

impl Inner {
    /// What is wrong on this machine.
    fn local_warnings(&self) -> Vec<String> {
        let mut warnings = self.notices.clone();
        let trouble = self.writer.as_ref().and_then(Writer::trouble);
        warnings.extend(trouble.map(|error| error.refusing_changes().to_string()));
        let unfolded = self.counters.unfolded.lock();
        let unfolded = unfolded.unwrap_or_else(PoisonError::into_inner).clone();
        warnings.extend(unfolded.map(|error| {
            format!("what is written stays in the journal, and cannot be uploaded yet: {error}")
        }));
        let cache = self.nodes.reader().cache();
        warnings.extend(cache.and_then(crate::store::Cache::trouble));
        warnings
    }
}

/// What the user can do about a store that does not take what it is sent.
fn advice(error: Option<&Error>) -> Option<String> {
    let advice = match error? {
        Error::Denied { .. } => {
            "check the credentials and their rights; uploads go on by themselves when the store accepts them again"
        }
        Error::Full { .. } => {
            "make room there or raise the quota; uploads go on by themselves, reads go on meanwhile"
        }
        Error::Unreachable { .. } => {
            "nothing is lost; uploads go on by themselves when the store is back"
        }
        _ => return None,
    };
    Some(advice.into())
}
