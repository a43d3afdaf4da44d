//! Making a vault: slots, the first pack, the first commit, the `vault` object, and a second look.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::FORMAT;
use coffre_format::anchor::Anchor;
use coffre_format::commit::Vector;
use coffre_format::crypto::key::Keyring;
use coffre_format::crypto::key::RootKey;
use coffre_format::crypto::key::StructureKey;
use coffre_format::crypto::sign::DeviceKey;
use coffre_format::header::VaultHeader;
use coffre_format::id::DeviceId;
use coffre_format::id::Epoch;
use coffre_format::id::Inode;
use coffre_format::id::Lsn;
use coffre_format::id::ObjectHash;
use coffre_format::id::SessionPrefix;
use coffre_format::id::SlotId;
use coffre_format::id::VaultId;
use coffre_format::keyslot;
use coffre_format::name::ObjectName;
use coffre_format::node::Entries;
use coffre_format::node::Node;
use coffre_format::record::Child;
use coffre_format::record::DeviceRecord;
use coffre_format::record::DeviceState;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::SlotRecord;
use coffre_format::record::Stamp;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::clock;
use crate::error::Error;
use crate::error::Result;
use crate::store::Listing;
use crate::store::Prefix;
use crate::store::Store;
use crate::tree;
use crate::tree::Changes;
use crate::tree::Source;
use crate::vault::Access;
use crate::vault::Draft;
use crate::vault::Setup;
use crate::vault::Vault;
use crate::vault::anchor;
use crate::vault::kept;
use crate::vault::pack_sink::FrozenPack;
use crate::vault::pack_sink::PackSink;
use crate::vault::pack_sink::Sealed;
use crate::vault::publish::put_and_compare;
use crate::vault::publish::sign;
use crate::vault::state::StateDir;
use crate::vault::unlock;
use crate::vault::unlock::Slots;
use crate::vault::unlock::Unlocked;

/// What the buffer of the first pack reserves, in bytes.
const FIRST_PACK: usize = 64 * 1024;

#[doc(hidden)]
impl Vault {
    /// Makes a vault in an empty store, with this state folder as its first device.
    pub async fn make(store: Store, state: StateDir, setup: Setup) -> Result<Self> {
        if state.access() == Access::ReadOnly || setup.secrets.is_empty() {
            let what = "a new vault needs a locked state folder and at least one secret".to_owned();
            return Err(Error::Usage(what));
        }
        let path = state.path().to_owned();
        let made = Self::create_locked(store, state, setup).await;
        made.map_err(|error| error.at_the_start(&path))
    }

    async fn create_locked(store: Store, state: StateDir, setup: Setup) -> Result<Self> {
        refuse_used(&store, &state).await?;
        let plan = Plan::new(&setup).await?;
        let mut names = Vec::new();
        let made = plan.put_all(&store, &state, &mut names).await;
        let alone = match made {
            Ok(()) => look_again(&store, plan.ring.vault(), &names).await,
            Err(error) => Err(error),
        };
        if let Err(error) = alone {
            undo(&store, &state, plan.ring.vault(), &names).await;
            return Err(error);
        }
        let anchor = anchor::load(&state)?.ok_or_else(|| Error::Damaged {
            file: state.anchor(),
            offset: 0,
            why: "it was removed while the vault was being made".to_owned(),
        })?;
        let unlocked = Unlocked {
            anchor: anchor::open(&state, &anchor, &plan.ring)?,
            basis: Some(ObjectHash::of(&anchor)),
            slot: plan.first_slot(),
            ring: plan.ring,
            offline: None,
            notices: Vec::new(),
        };
        Self::assemble(store, state, Access::ReadWrite, unlocked).await
    }
}

/// All that is random or derived, before anything is written.
struct Plan {
    ring: Keyring,
    anchor: Anchor,
    slots: Slots,
    sealed: Sealed,
}

impl Plan {
    async fn new(setup: &Setup) -> Result<Self> {
        let vault = VaultId::random().map_err(Error::Secret)?;
        let root = RootKey::random().map_err(Error::Secret)?;
        let structure = StructureKey::random().map_err(Error::Secret)?;
        let ring = Keyring::new(vault, Epoch(1), root, structure);
        let mut slots = Slots::new();
        let mut records = Vec::new();
        for (secret, label) in &setup.secrets {
            let (id, slot) = keyslot::seal_slot(&ring, secret, setup.kdf).map_err(Error::Secret)?;
            records.push((id, slot_record(&slot, secret.kind() as u8, label)));
            slots.push((id, slot));
        }
        let mut anchor = unlock::new_anchor(&ring, slots.clone());
        let device = DeviceKey::generate().map_err(Error::Secret)?;
        let sealed = first_tree(&ring, &device, setup, records).await?;
        anchor.device_key = Some(device);
        Ok(Self {
            ring,
            anchor,
            slots,
            sealed,
        })
    }

    fn first_slot(&self) -> SlotId {
        self.slots
            .first()
            .map(|(id, _)| *id)
            .expect("there is a slot for each secret, and one secret at least")
    }

    /// Everything in the order that leaves, after a crash, a prefix without a commit or a whole vault.
    async fn put_all(
        &self,
        store: &Store,
        state: &StateDir,
        names: &mut Vec<ObjectName>,
    ) -> Result<()> {
        for (id, slot) in &self.slots {
            names.push(ObjectName::Slot(*id));
            let bytes = Bytes::copy_from_slice(slot);
            put_and_compare(store, &ObjectName::Slot(*id), &bytes).await?;
        }
        for pack in &self.sealed.packs {
            names.push(ObjectName::Pack(pack.name()));
            put_and_compare(store, &ObjectName::Pack(pack.name()), &pack.bytes).await?;
        }
        let mut anchor = self.anchor.clone();
        let intent = sign(&anchor, &self.ring, None, self.draft()?)?;
        anchor.intent = Some(intent.clone());
        anchor::save(state, &anchor, &self.ring)?;
        let device = self.device();
        let commit = kept::commit_name(device, &intent.point);
        names.push(commit);
        put_and_compare(store, &commit, &Bytes::from(intent.bytes)).await?;
        anchor.last = Some(intent.point);
        anchor.intent = None;
        anchor.accepted = Vector::from([(device, intent.point)]);
        anchor::save(state, &anchor, &self.ring)?;
        let header = VaultHeader {
            format: FORMAT,
            vault: self.ring.vault(),
        };
        names.push(ObjectName::Vault);
        store.put(&ObjectName::Vault, header.encode().into()).await
    }

    fn device(&self) -> DeviceId {
        let key = self.anchor.device_key.as_ref();
        key.expect("a plan has a device key")
            .device(self.ring.vault())
    }

    fn draft(&self) -> Result<Draft> {
        let (root, _) = self.sealed.nodes.last().expect("a tree has a root");
        Ok(Draft {
            root: *root,
            merged: Vector::new(),
            packs: self.sealed.packs.iter().map(FrozenPack::added).collect(),
            node_packs: self.sealed.packs.iter().map(FrozenPack::name).collect(),
            session: SessionPrefix(0),
            lsn: Lsn(0),
            label: "init".to_owned(),
        })
    }
}

/// What the tree says of a slot.
pub(super) fn slot_record(slot: &[u8], kind: u8, label: &str) -> SlotRecord {
    SlotRecord {
        hash: ObjectHash::of(slot).0,
        kind,
        label: label.to_owned(),
        created: clock::now(),
    }
}

/// The first tree: root directory, this device, the slots. A pack's own record is put by a later
/// fold, when the pack has a name.
async fn first_tree(
    ring: &Keyring,
    device: &DeviceKey,
    setup: &Setup,
    slots: Vec<(SlotId, SlotRecord)>,
) -> Result<Sealed> {
    let id = device.device(ring.vault());
    let mut changes = Changes::default();
    let mut put = |key, record| changes.put(key, Arc::new(Value::Record(record)));
    for (slot, record) in slots {
        let key = Key::new(Inode::VAULT, tag::SLOT, &slot.0);
        put(key, Record::Slot(record));
    }
    let record = DeviceRecord {
        public_key: device.public(),
        epoch: ring.current().epoch,
        name: setup.device_name.clone(),
        state: DeviceState::Active,
    };
    let key = Key::new(Inode::VAULT, tag::DEVICE, &id.0);
    put(key, Record::Device(record));
    put(
        Key::inode(Inode::ROOT),
        Record::Inode(root_directory(id, setup)),
    );
    let ring = Arc::new(super::copy_ring(ring));
    let nothing = tree::empty(&mut PackSink::new(ring.clone(), FIRST_PACK)?)?;
    let mut sink = PackSink::new(ring.clone(), FIRST_PACK)?;
    tree::edit(&nothing, &changes, ring.structure(), &Nothing, &mut sink).await?;
    sink.finish()
}

/// The empty tree, from which the first one is edited.
struct Nothing;

impl Source for Nothing {
    async fn fetch(&self, _: &Child) -> Result<Arc<Node>> {
        Ok(Arc::new(Node {
            level: 0,
            entries: Entries::Leaf(Vec::new()),
        }))
    }
}

fn root_directory(device: DeviceId, setup: &Setup) -> InodeRecord {
    let now = clock::now();
    InodeRecord {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: setup.uid,
        gid: setup.gid,
        size: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        rdev: 0,
        flags: 0,
        target: None,
        subdirectories: 0,
        stamp: Stamp { lamport: 1, device },
    }
}

async fn refuse_used(store: &Store, state: &StateDir) -> Result<()> {
    let used = |found: String| Error::NotEmpty {
        location: state.path().display().to_string(),
        found,
    };
    if anchor::load(state)?.is_some() {
        return Err(used("the state of a vault at this address".to_owned()));
    }
    if state.holds_work()? {
        return Err(used("a journal or outbox with unpublished work".to_owned()));
    }
    match anything(&store.list(Prefix::All).await?) {
        None => Ok(()),
        Some(found) => Err(Error::NotEmpty {
            location: store.uri().canonical().to_owned(),
            found,
        }),
    }
}

fn anything(listing: &Listing) -> Option<String> {
    let ours = listing
        .objects
        .first()
        .map(|object| object.name.to_string());
    ours.or_else(|| listing.foreign.first().cloned())
}

/// Somebody else may have made a vault here at the same moment.
async fn look_again(store: &Store, vault: VaultId, names: &[ObjectName]) -> Result<()> {
    let ours: BTreeSet<ObjectName> = names.iter().copied().collect();
    let listing = store.list(Prefix::All).await?;
    let others = listing
        .objects
        .iter()
        .find(|object| !ours.contains(&object.name));
    let hint = unlock::vault_hint(store).await?;
    let found = match (others, hint) {
        (Some(object), _) => object.name.to_string(),
        (None, Some(found)) if found != vault => format!("vault {found}"),
        _ => return Ok(()),
    };
    Err(Error::NotEmpty {
        location: store.uri().canonical().to_owned(),
        found,
    })
}

/// Takes back what was put; another vault's `vault` object stays.
async fn undo(store: &Store, state: &StateDir, vault: VaultId, names: &[ObjectName]) {
    let hint = unlock::vault_hint(store).await;
    let foreign = matches!(hint, Ok(Some(found)) if found != vault);
    for name in names
        .iter()
        .filter(|name| !(foreign && **name == ObjectName::Vault))
    {
        if let Err(error) = store.delete(name).await {
            log::warn!("{name} of a vault that was not made is left in the store: {error}");
        }
    }
    let _ = std::fs::remove_file(state.anchor());
}
