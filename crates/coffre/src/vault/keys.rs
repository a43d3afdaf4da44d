//! Key slots as objects and as records: what is there, one more, one less.
//!
//! A change is safe in this order: `add_slot` (up and read back) → a commit with its record →
//! `delete_slot_object` of the old one. The caller makes the commit.

use coffre_format::id::Inode;
use coffre_format::id::ObjectHash;
use coffre_format::id::SlotId;
use coffre_format::keyslot;
use coffre_format::keyslot::Ceiling;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Secret;
use coffre_format::keyslot::SlotHeader;
use coffre_format::name::ObjectName;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::SlotRecord;
use coffre_format::record::tag;

use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::store::Prefix;
use crate::tree::Nodes;
use crate::vault::Access;
use crate::vault::Vault;
use crate::vault::create::slot_record;
use crate::vault::publish::put_and_compare;
use crate::vault::unlock::read_slot;

/// A key slot, as the tree and the store know it.
#[derive(Debug, Clone)]
pub struct SlotInfo {
    /// Its id.
    pub id: SlotId,
    /// What the tree says of it; `None`: the tree does not list it, and it should not be trusted.
    pub record: Option<SlotRecord>,
    /// Its clear part, if the object is there, and the one that the tree lists.
    pub header: Option<SlotHeader>,
    /// Whether it opened this session.
    pub current: bool,
}

#[doc(hidden)]
impl Vault {
    /// All slots that the tree lists or the store holds.
    pub async fn slots(&self, nodes: &Nodes, root: &Child) -> Result<Vec<SlotInfo>> {
        let opened = self.memory().slot;
        let mut slots: Vec<SlotInfo> = listed(nodes, root)
            .await?
            .into_iter()
            .map(|(id, record)| SlotInfo {
                id,
                record: Some(record),
                header: None,
                current: id == opened,
            })
            .collect();
        for object in self.store().list(Prefix::Slots).await?.objects {
            let ObjectName::Slot(id) = object.name else {
                continue;
            };
            let bytes = match read_slot(self.store(), id).await {
                Ok(bytes) => bytes,
                Err(Error::Missing { .. } | Error::Truncated { .. }) => continue,
                Err(error) => return Err(error),
            };
            let header = SlotHeader::decode(&bytes, Ceiling::Lifted).ok();
            match slots.iter_mut().find(|slot| slot.id == id) {
                Some(slot) => {
                    let hash = ObjectHash::of(&bytes).0;
                    let same = slot.record.as_ref().is_some_and(|r| r.hash == hash);
                    slot.header = header.filter(|_| same);
                }
                None => slots.push(SlotInfo {
                    id,
                    record: None,
                    header,
                    current: id == opened,
                }),
            }
        }
        Ok(slots)
    }

    /// Puts a new slot into the store and reads it back. Returns the record for the tree and its
    /// key; the slot counts once a commit contains them.
    pub async fn add_slot(
        &self,
        secret: &Secret,
        label: &str,
        kdf: KdfParams,
    ) -> Result<(SlotRecord, Key)> {
        self.may_change_slots()?;
        let (id, slot) = keyslot::seal_slot(&self.ring(), secret, kdf).map_err(Error::Secret)?;
        let record = slot_record(&slot, secret.kind() as u8, label);
        put_and_compare(self.store(), &ObjectName::Slot(id), &slot.clone().into()).await?;
        let mut memory = self.memory();
        memory.anchor.header.slots.push((id, slot));
        self.save(&mut memory)?;
        Ok((record, Key::new(Inode::VAULT, tag::SLOT, &id.0)))
    }

    /// Deletes a slot's object, after a commit without its record. The local copy goes first, so
    /// that the old secret stops working here whatever the store does.
    pub async fn delete_slot_object(&self, id: SlotId) -> Result<()> {
        self.may_change_slots()?;
        {
            let mut memory = self.memory();
            memory.anchor.header.slots.retain(|(slot, _)| *slot != id);
            self.save(&mut memory)?;
        }
        self.store().delete(&ObjectName::Slot(id)).await
    }

    /// Whether the tree lists the slot that opened this session. If not, the session is read-only
    /// from now on, and a warning says so: the owner never made that slot, or removed it.
    pub async fn slot_listed(&self, nodes: &Nodes, root: &Child) -> Result<bool> {
        let records = listed(nodes, root).await?;
        let mut memory = self.memory();
        let kept = memory.anchor.header.slots.len();
        let opened = memory.slot;
        let is_listed = |id: SlotId, slot: &[u8]| {
            let hash = ObjectHash::of(slot).0;
            records
                .iter()
                .any(|(other, record)| *other == id && record.hash == hash)
        };
        let listed = memory
            .anchor
            .header
            .slots
            .iter()
            .any(|(id, slot)| *id == opened && is_listed(*id, slot));
        if !listed && memory.listed != Some(false) {
            memory.notices.push(format!(
                "key slot {opened} is not listed in the vault: it was removed, or never made by its owner; \
                 this session is read-only"
            ));
        }
        memory.listed = Some(listed);
        // Copies of removed slots must not open the vault here any more.
        let slots = &mut memory.anchor.header.slots;
        slots.retain(|(id, slot)| *id == opened || is_listed(*id, slot));
        if slots.len() != kept {
            self.save(&mut memory)?;
        }
        Ok(listed)
    }

    fn may_change_slots(&self) -> Result<()> {
        match self.access() {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Refusal::ReadOnly.into()),
        }
    }
}

/// Slots that the tree lists.
pub(super) async fn listed(nodes: &Nodes, root: &Child) -> Result<Vec<(SlotId, SlotRecord)>> {
    let (start, end) = Key::tagged(Inode::VAULT, tag::SLOT);
    let records = nodes.range(root, &start, &end).await?;
    let slots = records
        .into_iter()
        .filter_map(|(key, record)| match record {
            Record::Slot(record) => Some((SlotId::from_slice(key.rest()).ok()?, record)),
            _ => None,
        });
    Ok(slots.collect())
}
