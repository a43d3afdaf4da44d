//! Key slots through the file system, because a change of them is a commit of the tree.

use coffre_format::id::Inode;
use coffre_format::id::SlotId;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Secret;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;

use crate::error::Result;
use crate::fault;
use crate::fs::Volume;
use crate::vault::SlotInfo;

impl Volume {
    /// All key slots that the tree lists or the store holds.
    pub async fn slots(&self) -> Result<Vec<SlotInfo>> {
        self.vault().slots(self.nodes(), &self.root()).await
    }

    /// Adds a slot that `secret` opens: up and read back, then a commit that lists it. A guess at its secret costs as much as
    /// one at the costliest slot that the tree lists.
    pub async fn add_slot(&self, secret: &Secret, label: &str) -> Result<SlotId> {
        let cost = costliest(&self.slots().await?);
        let (record, key) = self.vault().add_slot(secret, label, cost).await?;
        fault::point("key.slot-sent");
        let id = SlotId::from_slice(key.rest()).map_err(crate::Error::Secret)?;
        self.change(
            key.clone(),
            Edit::Put(key, Value::Record(Record::Slot(record))),
        )
        .await?;
        Ok(id)
    }

    /// Removes a slot: a commit without it, then its object.
    pub async fn remove_slot(&self, id: SlotId) -> Result<()> {
        let key = Key::new(Inode::VAULT, tag::SLOT, &id.0);
        self.change(key.clone(), Edit::Delete(key)).await?;
        fault::point("key.unlisted");
        self.vault().delete_slot_object(id).await
    }

    async fn change(&self, key: Key, edit: Edit) -> Result<()> {
        let writer = self.inner.writer()?;
        // The leaf it goes into must be here before the edit is accepted.
        self.inner.query(|view, _| view.get(&key)).await?;
        self.inner.core().commit(vec![edit], &writer.journal)?;
        self.publish().await
    }
}

/// What the tree does not list may be anybody's, and says nothing.
fn costliest(slots: &[SlotInfo]) -> KdfParams {
    let listed = slots.iter().filter(|slot| slot.record.is_some());
    listed
        .filter_map(|slot| slot.header)
        .map(|header| header.params)
        .reduce(|a, b| KdfParams {
            m: a.m.max(b.m),
            t: a.t.max(b.t),
            p: a.p.max(b.p),
        })
        .unwrap_or(KdfParams::DEFAULT)
}
