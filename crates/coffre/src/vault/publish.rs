//! Publishing: intent into the anchor → PUT → read back → the anchor's `last`.
//!
//! A crash between any two of these leaves an intent whose bytes are put again or confirmed. Only
//! those bytes may ever stand under that sequence number, so a chain has no second commit in one
//! place unless its folder was copied.

use bytes::Bytes;
use coffre_format::anchor::Anchor;
use coffre_format::anchor::Intent;
use coffre_format::commit::AddedPack;
use coffre_format::commit::Body;
use coffre_format::commit::COMMIT_MAX;
use coffre_format::commit::Clear;
use coffre_format::commit::Commit;
use coffre_format::commit::Features;
use coffre_format::commit::PACKS_MAX;
use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::commit::Verified;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::CommitHash;
use coffre_format::id::DeviceId;
use coffre_format::id::Seq;
use coffre_format::id::VaultId;
use coffre_format::name::ObjectName;

use crate::clock;
use crate::error::Error;
use crate::error::Refusal;
use crate::error::Result;
use crate::fault;
use crate::store::Store;
use crate::vault::Access;
use crate::vault::Draft;
use crate::vault::Head;
use crate::vault::Memory;
use crate::vault::Vault;
use crate::vault::base;
use crate::vault::commits::forged;
use crate::vault::heads;
use crate::vault::kept;

#[doc(hidden)]
impl Vault {
    /// Intent → PUT → read back → anchor. The packs are in the store already.
    ///
    /// An intent left by an earlier failure is settled first; the draft then comes after it.
    pub async fn publish(&self, draft: Draft) -> Result<Point> {
        let _turn = self.inner.turn.lock().await;
        self.may_publish()?;
        self.settle().await?;
        {
            let mut memory = self.memory();
            let own = memory.own_head(self.inner.id).map(|head| &head.commit);
            let (session, lsn) = (draft.session, draft.lsn);
            let intent = sign(&memory.anchor, &memory.ring, own, draft)?;
            memory.anchor.intent = Some(intent);
            memory.anchor.session = session;
            memory.anchor.lsn = lsn;
            self.save(&mut memory)?;
        }
        fault::point("publish.intent-recorded");
        let settled = self.settle().await?;
        Ok(settled.expect("an intent was just recorded"))
    }

    /// Re-PUTs or confirms an intent of an earlier process.
    pub async fn settle_intent(&self) -> Result<Option<Point>> {
        let _turn = self.inner.turn.lock().await;
        if self.memory().anchor.intent.is_none() {
            return Ok(None);
        }
        self.may_publish()?;
        self.settle().await
    }

    fn may_publish(&self) -> Result<()> {
        if self.access() == Access::ReadOnly {
            return Err(Refusal::ReadOnly.into());
        }
        let memory = self.memory();
        match (&memory.rollback, &memory.anchor.device_key) {
            (Some(rollback), _) => Err(rollback.clone()),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(match memory.anchor.retired.last() {
                Some(device) => Error::DeviceCloned {
                    device: device.to_string(),
                },
                None => Error::Usage("this folder is not enrolled as a device yet".to_owned()),
            }),
        }
    }

    /// Brings the intent, if there is one, into the store and makes it `last`. The turn is ours.
    async fn settle(&self) -> Result<Option<Point>> {
        let (device, intent) = {
            let memory = self.memory();
            match (memory.device(self.inner.id), memory.anchor.intent.clone()) {
                (Some(device), Some(intent)) => (device, intent),
                _ => return Ok(None),
            }
        };
        // A disk that did not take the intent when it was made must have it now: a commit that the anchor
        // does not know looks like a clone's after a crash.
        {
            let mut memory = self.memory();
            self.save(&mut memory)?;
        }
        let name = kept::commit_name(device, &intent.point);
        let bytes = Bytes::from(intent.bytes);
        put_and_compare(self.store(), &name, &bytes).await?;
        fault::point("publish.commit-confirmed");
        let mut memory = self.memory();
        memory.landed(device, intent.point, &name, bytes)?;
        self.save(&mut memory)?;
        fault::point("publish.recorded");
        Ok(Some(intent.point))
    }
}

/// Makes a commit of a draft, with what only the vault knows. `own` is the chain's last commit.
pub(super) fn sign(
    anchor: &Anchor,
    ring: &Keyring,
    own: Option<&Commit>,
    mut draft: Draft,
) -> Result<Intent> {
    let key = anchor.device_key.as_ref().ok_or(Refusal::ReadOnly)?;
    let vectors = vectors(anchor, key.device(ring.vault()), own, draft.merged);
    if let Some(own) = own {
        // A draft made before an intent was settled repeats its packs.
        let named = |pack: &AddedPack| own.clear.packs.contains(pack);
        draft.packs.retain(|pack| !named(pack));
    }
    if draft.packs.len() > PACKS_MAX {
        let packs = draft.packs.len();
        return Err(Error::Usage(format!(
            "one commit names at most {PACKS_MAX} packs, not {packs}"
        )));
    }
    let current = ring.current().epoch;
    let older = ring.older().filter(|(epoch, _)| *epoch < current);
    let commit = Commit {
        clear: Clear {
            features: Features::default(),
            vault: ring.vault(),
            epoch: current,
            device: key.device(ring.vault()),
            public_key: key.public(),
            seq: Seq(anchor.last.map_or(0, |last| last.seq.0) + 1),
            previous: anchor.last.map_or(CommitHash::NONE, |last| last.hash),
            inventory: None,
            packs: draft.packs,
        },
        body: Body {
            root: draft.root,
            merged: vectors.0,
            seen: vectors.1,
            floor: Seq(1),
            keyring: older.map(|(epoch, root)| (epoch, root.clone())).collect(),
            node_packs: draft.node_packs,
            session: draft.session,
            lsn: draft.lsn,
            acknowledged: Vec::new(),
            time: clock::now(),
            label: draft.label,
        },
    };
    let sealed = commit
        .seal(ring, key)
        .map_err(|error| Error::of_object("a new commit", error))?;
    if sealed.bytes.len() as u64 > COMMIT_MAX {
        let what = "the commit would be too large; publish fewer packs at once".to_owned();
        return Err(Error::Usage(what));
    }
    Ok(Intent {
        point: Point {
            seq: commit.clear.seq,
            hash: sealed.hash,
        },
        bytes: sealed.bytes,
    })
}

/// `merged` and `seen`. A commit contains its predecessor (of itself it cannot name a hash) and
/// all that it contained; along a chain neither vector ever falls.
fn vectors(
    anchor: &Anchor,
    device: DeviceId,
    own: Option<&Commit>,
    drafted: Vector,
) -> (Vector, Vector) {
    let mut merged = drafted;
    merged.remove(&device);
    let mut seen = anchor.accepted.clone();
    if let Some(own) = own {
        for (other, point) in &own.body.merged {
            base::raise(&mut merged, *other, *point);
        }
        for (other, point) in &own.body.seen {
            base::raise(&mut seen, *other, *point);
        }
    }
    if let Some(last) = anchor.last {
        merged.insert(device, last);
        seen.insert(device, last);
    }
    for (other, point) in &merged {
        base::raise(&mut seen, *other, *point);
    }
    (merged, seen)
}

impl Memory {
    /// The own last commit, if there is one.
    pub(super) fn own_head(&self, vault: VaultId) -> Option<&Head> {
        let device = self.device(vault)?;
        let last = self.anchor.last?;
        let heads = self.heads.all.iter();
        let mut own = heads.filter(|head| head.device == device && head.point == last);
        own.next()
    }

    /// The commit is in the store: the anchor's `last`, and the head to work on.
    fn landed(
        &mut self,
        device: DeviceId,
        point: Point,
        name: &ObjectName,
        bytes: Bytes,
    ) -> Result<()> {
        let commit = Verified::check(&bytes, name)
            .and_then(|verified| verified.open(&self.ring))
            .map_err(|error| Error::of_object(name, error))?;
        let head = Head {
            device,
            point,
            commit,
            sealed: bytes,
        };
        let mut all: Vec<Head> = self.heads.all.clone();
        all.retain(|other| other.device != device);
        all.push(head);
        all.sort_by_key(|head| (head.device, head.point));
        let warnings = std::mem::take(&mut self.heads.warnings);
        self.heads = heads::gather(all, Some((device, point)), warnings)
            .expect("there is at least the commit just made");
        self.anchor.last = Some(point);
        self.anchor.intent = None;
        base::raise(&mut self.anchor.accepted, device, point);
        Ok(())
    }
}

/// PUTs an object and reads it back. If the same bytes are there already nothing is lost: a name
/// that carries a hash never gets others.
pub(super) async fn put_and_compare(store: &Store, name: &ObjectName, bytes: &Bytes) -> Result<()> {
    store.put(name, bytes.clone()).await?;
    fault::point("publish.commit-sent");
    let length = bytes.len() as u64;
    let there = store.read(name, 0..length).await?;
    if there == *bytes {
        Ok(())
    } else {
        Err(forged(
            name,
            "the store gives back other bytes than were put",
        ))
    }
}
