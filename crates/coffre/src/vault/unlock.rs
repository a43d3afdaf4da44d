//! Opening a vault: secret → key slot → keyring → anchor → heads. `open` never creates or enrols.

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use coffre_format::anchor::Anchor;
use coffre_format::anchor::AnchorHeader;
use coffre_format::commit::Vector;
use coffre_format::crypto::key::Keyring;
use coffre_format::error::FormatError;
use coffre_format::header::VaultHeader;
use coffre_format::id::Epoch;
use coffre_format::id::Lsn;
use coffre_format::id::ObjectHash;
use coffre_format::id::SessionPrefix;
use coffre_format::id::SlotId;
use coffre_format::id::VaultId;
use coffre_format::keyslot;
use coffre_format::keyslot::Ceiling;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::SLOT_LENGTH;
use coffre_format::keyslot::Secret;
use coffre_format::keyslot::SlotHeader;
use coffre_format::name::ObjectName;
use futures::StreamExt;

use crate::error::Error;
use crate::error::Result;
use crate::store::ATTEMPTS;
use crate::store::Outbox;
use crate::store::Prefix;
use crate::store::Reader;
use crate::store::Store;
use crate::tree::Nodes;
use crate::vault::Access;
use crate::vault::Inner;
use crate::vault::Memory;
use crate::vault::Vault;
use crate::vault::anchor;
use crate::vault::heads;
use crate::vault::heads::Lookout;
use crate::vault::state::StateDir;

/// Slots that are tried at most: each costs a key derivation.
const SLOTS_MAX: usize = 64;
/// Memory for the few nodes that lead to a device record, in bytes.
const NODE_MEMORY: u64 = 8 * 1024 * 1024;

/// Slots as found, under their ids.
pub(super) type Slots = Vec<(SlotId, Vec<u8>)>;

/// What a secret opened.
pub(super) struct Unlocked {
    pub(super) ring: Keyring,
    pub(super) slot: SlotId,
    pub(super) anchor: Anchor,
    pub(super) basis: Option<ObjectHash>,
    /// The store was not reachable.
    pub(super) offline: Option<Error>,
    pub(super) notices: Vec<String>,
}

#[doc(hidden)]
impl Vault {
    /// Unlocks, checks the anchor, lists and verifies the heads. Enrols nothing. With an anchor and no network it opens offline.
    pub async fn unlock(
        store: Store,
        state: StateDir,
        secret: &Secret,
        access: Access,
    ) -> Result<Self> {
        if access == Access::ReadWrite && state.access() == Access::ReadOnly {
            let what = "the state folder is locked for reading only".to_owned();
            return Err(Error::Usage(what));
        }
        let path = state.path().to_owned();
        let opened = Self::open_locked(store, state, secret, access).await;
        opened.map_err(|error| error.at_the_start(&path))
    }

    async fn open_locked(
        store: Store,
        state: StateDir,
        secret: &Secret,
        access: Access,
    ) -> Result<Self> {
        let unlocked = match anchor::load(&state)? {
            Some(bytes) => unlock_known(&store, &state, secret, bytes).await?,
            None => unlock_unknown(&store, &state, secret).await?,
        };
        Self::assemble(store, state, access, unlocked).await
    }

    /// Finds the heads with what was unlocked, and writes down what was learned.
    pub(super) async fn assemble(
        store: Store,
        state: StateDir,
        access: Access,
        unlocked: Unlocked,
    ) -> Result<Self> {
        let ring = Arc::new(unlocked.ring);
        let nodes = Nodes::new(
            Reader::new(store.clone(), None, Outbox::look(&state.no_outbox())?),
            ring.clone(),
            NODE_MEMORY,
        );
        let mut anchor = unlocked.anchor;
        let mut notices = unlocked.notices;
        let lookout = Lookout {
            store: &store,
            state: &state,
            nodes: &nodes,
            anchor: &anchor,
        };
        let before = heads::kept_survey(&lookout).map_or_else(Vec::new, |kept| kept.heads);
        let surveyed = match unlocked.offline {
            Some(error) => Err(error),
            None => heads::survey(&lookout).await,
        };
        let (survey, offline) = match surveyed {
            Ok(survey) => (survey, false),
            Err(error @ Error::Unreachable { .. }) => {
                let survey = heads::kept_survey(&lookout).ok_or_else(|| error.clone())?;
                notices.push(format!("offline, with the last known state: {error}"));
                (survey, true)
            }
            Err(error) => return Err(error),
        };
        anchor.minimum_epoch = anchor.minimum_epoch.max(ring.current().epoch);
        let id = ring.vault();
        let placeholder = heads::gather(survey.heads.clone(), None, Vec::new());
        let mut memory = Memory {
            ring,
            anchor,
            basis: unlocked.basis,
            heads: placeholder.ok_or_else(heads::no_commits)?,
            before,
            slot: unlocked.slot,
            listed: None,
            rollback: None,
            offline,
            notices,
        };
        memory.take_up(id, access, survey)?;
        store.expect_vault();
        let vault = Self {
            inner: Arc::new(Inner {
                store,
                state,
                access,
                id,
                nodes,
                turn: tokio::sync::Mutex::new(()),
                memory: Mutex::new(memory),
            }),
        };
        {
            let mut memory = vault.memory();
            vault.save(&mut memory)?;
        }
        Ok(vault)
    }
}

/// This device knows the vault: its own copies of the slots do, and the store must hold the same vault.
async fn unlock_known(
    store: &Store,
    state: &StateDir,
    secret: &Secret,
    bytes: Vec<u8>,
) -> Result<Unlocked> {
    store.expect_vault();
    let header = anchor::peek(state, &bytes)?;
    if header
        .slots
        .iter()
        .any(|(_, slot)| vault_of(slot) != Some(header.vault))
    {
        return Err(anchor::spoilt(state, "its key slots are not of its vault"));
    }
    let mut notices = Vec::new();
    let offline = match expected_hint(store, header.vault).await {
        Ok(()) => None,
        Err(error @ Error::WrongVault { .. }) => return Err(error),
        Err(error @ Error::Unreachable { .. }) => Some(error),
        Err(error @ Error::Denied { .. }) => return Err(error),
        Err(error) => {
            notices.push(error.to_string());
            None
        }
    };
    let mut slots = header.slots.clone();
    let mut opened = try_slots(&slots, secret, header.kdf_floor);
    if opened.is_err() && offline.is_none() {
        // A slot made elsewhere since, or one whose copy here is spoilt; slots of another vault are not worth a
        // derivation.
        let (mut listed, _) = fetch_slots(store).await?;
        listed.retain(|slot| !header.slots.contains(slot));
        let foreign = listed
            .iter()
            .find_map(|(_, slot)| vault_of(slot).filter(|vault| *vault != header.vault));
        slots = listed;
        slots.retain(|(_, slot)| vault_of(slot) == Some(header.vault));
        if let (true, Some(found)) = (slots.is_empty(), foreign) {
            return Err(wrong_vault(header.vault, found));
        }
        if !slots.is_empty() {
            opened = try_slots(&slots, secret, header.kdf_floor);
        }
    }
    let (ring, slot) = opened?;
    if ring.vault() != header.vault {
        return Err(wrong_vault(header.vault, ring.vault()));
    }
    let mut anchor = anchor::open(state, &bytes, &ring)?;
    if ring.current().epoch < anchor.minimum_epoch {
        let what = format!("key slot {slot} is older than the last rotation of keys");
        return Err(Error::Rollback { what });
    }
    for found in slots {
        if found.0 == slot && !anchor.header.slots.iter().any(|(id, _)| *id == slot) {
            anchor.header.slots.push(found);
        }
    }
    Ok(Unlocked {
        ring,
        slot,
        anchor,
        basis: Some(ObjectHash::of(&bytes)),
        offline,
        notices,
    })
}

/// The store names this vault, or none at all. Nothing authenticates the hint, so it is asked for again before
/// it is taken at its word.
async fn expected_hint(store: &Store, expected: VaultId) -> Result<()> {
    let mut hint = vault_hint(store).await;
    for _ in 1..ATTEMPTS {
        match hint {
            Ok(Some(found)) if found != expected => hint = vault_hint(store).await,
            _ => break,
        }
    }
    match hint? {
        Some(found) if found != expected => Err(wrong_vault(expected, found)),
        _ => Ok(()),
    }
}

/// First contact: everything comes from the store.
async fn unlock_unknown(store: &Store, state: &StateDir, secret: &Secret) -> Result<Unlocked> {
    if state.holds_work()? {
        let why = "it is gone, but its folder holds a journal or an outbox with work that may not be in the store";
        return Err(anchor::spoilt(state, why));
    }
    if store.is_no_folder() {
        return Err(no_vault(store));
    }
    let (slots, mut notices) = fetch_slots(store).await?;
    if slots.is_empty() {
        return Err(no_slots(store).await?);
    }
    let (slots, opened) = try_again(store, slots, secret).await?;
    let (ring, slot) = opened?;
    let vault = ring.vault();
    notices.push(format!(
        "first contact with vault {vault} on this device: what the store offers is taken as its newest state"
    ));
    let copies = slots
        .into_iter()
        .filter(|(_, slot)| vault_of(slot) == Some(vault));
    let anchor = new_anchor(&ring, copies.collect());
    Ok(Unlocked {
        ring,
        slot,
        anchor,
        basis: None,
        offline: None,
        notices,
    })
}

/// An anchor that remembers nothing yet.
pub(super) fn new_anchor(ring: &Keyring, slots: Slots) -> Anchor {
    Anchor {
        header: AnchorHeader {
            vault: ring.vault(),
            epoch: ring.current().epoch,
            kdf_floor: KdfParams::FLOOR,
            slots,
        },
        accepted: Vector::new(),
        last: None,
        intent: None,
        device_key: None,
        retired: Vec::new(),
        minimum_epoch: Epoch(ring.current().epoch.0),
        session: SessionPrefix(0),
        lsn: Lsn(0),
    }
}

/// Opens the first slot that the secret fits. Before a secret is called wrong, the slots are fetched again: one
/// that came garbled looks just like it. Only what comes differently is worth another derivation.
async fn try_again(
    store: &Store,
    mut slots: Slots,
    secret: &Secret,
) -> Result<(Slots, Result<(Keyring, SlotId)>)> {
    for _ in 1..ATTEMPTS {
        let opened = try_slots(&slots, secret, KdfParams::FLOOR);
        if opened.is_ok() {
            return Ok((slots, opened));
        }
        let (again, _) = fetch_slots(store).await?;
        if again == slots {
            return Ok((slots, opened));
        }
        slots = again;
    }
    let opened = try_slots(&slots, secret, KdfParams::FLOOR);
    Ok((slots, opened))
}

/// Opens the first slot that the secret fits. Slots of other kinds cannot be opened by it.
fn try_slots(slots: &Slots, secret: &Secret, floor: KdfParams) -> Result<(Keyring, SlotId)> {
    let mut refused = None;
    for (id, slot) in slots.iter().take(SLOTS_MAX) {
        let opened = SlotHeader::decode(slot, Ceiling::Enforced).and_then(|header| {
            if header.slot != *id {
                return Err(FormatError::Forged { what: "key slot" });
            }
            if header.kind != secret.kind() {
                return Err(FormatError::WrongSecret);
            }
            if header.params.m < floor.m || header.params.t < floor.t {
                let why = "weaker than this device has accepted";
                return Err(FormatError::KdfPolicy { why });
            }
            keyslot::open_slot(slot, secret, Ceiling::Enforced)
        });
        match opened {
            Ok(ring) => return Ok((ring, *id)),
            Err(FormatError::WrongSecret) => {}
            Err(error) => refused = Some(Error::of_object(ObjectName::Slot(*id), error)),
        }
    }
    Err(refused.unwrap_or(Error::WrongSecret))
}

/// The slots in the store.
async fn fetch_slots(store: &Store) -> Result<(Slots, Vec<String>)> {
    let listing = store.list(Prefix::Slots).await?;
    let ids = listing
        .objects
        .iter()
        .filter_map(|object| match object.name {
            ObjectName::Slot(id) => Some(id),
            _ => None,
        });
    let ids: Vec<SlotId> = ids.collect();
    let mut warnings = Vec::new();
    if ids.len() > SLOTS_MAX {
        warnings.push(format!(
            "{} key slots are listed; {SLOTS_MAX} are tried",
            ids.len()
        ));
    }
    let reads = futures::stream::iter(ids.into_iter().take(SLOTS_MAX))
        .map(|id| async move { (id, read_slot(store, id).await) })
        .buffered(8);
    let mut slots = Slots::new();
    for (id, read) in reads.collect::<Vec<_>>().await {
        match read {
            Ok(bytes) => slots.push((id, bytes.to_vec())),
            Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) => return Err(error),
            Err(error) => warnings.push(error.to_string()),
        }
    }
    Ok((slots, warnings))
}

/// One slot object.
pub(super) async fn read_slot(store: &Store, id: SlotId) -> Result<Bytes> {
    store
        .read(&ObjectName::Slot(id), 0..SLOT_LENGTH as u64)
        .await
}

/// Vault of a slot, as it says itself.
fn vault_of(slot: &[u8]) -> Option<VaultId> {
    let header = SlotHeader::decode(slot, Ceiling::Lifted).ok()?;
    Some(header.vault)
}

/// The vault that the `vault` object names, if there is one.
pub(super) async fn vault_hint(store: &Store) -> Result<Option<VaultId>> {
    let form = VaultHeader {
        format: coffre_format::FORMAT,
        vault: VaultId([0; 16]),
    };
    let length = form.encode().len() as u64;
    match store.read(&ObjectName::Vault, 0..length).await {
        Ok(bytes) => VaultHeader::decode(&bytes)
            .map(|header| Some(header.vault))
            .map_err(|error| Error::of_object(ObjectName::Vault, error)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn no_slots(store: &Store) -> Result<Error> {
    let commits = store.list(Prefix::Commits).await?;
    Ok(if commits.objects.is_empty() {
        no_vault(store)
    } else {
        Error::Missing {
            object: "keys/".to_owned(),
            path: None,
        }
    })
}

fn no_vault(store: &Store) -> Error {
    Error::NoVault {
        location: store.uri().canonical().to_owned(),
    }
}

fn wrong_vault(expected: VaultId, found: VaultId) -> Error {
    Error::WrongVault {
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
