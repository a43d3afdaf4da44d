//! Publishing: what the folded root reaches goes to the store, then the commit that names it.
//!
//! Packs first, the commit last; a crash in between leaves only objects that nothing names. Full data packs
//! go up as soon as they are frozen. What a commit made unreachable before it was sent is never sent.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coffre_format::commit::AddedPack;
use coffre_format::commit::PACKS_MAX;
use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::id::ObjectHash;
use coffre_format::id::PackName;
use coffre_format::name::ObjectName;
use coffre_format::node::Entries;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::PackRecord;
use coffre_format::record::PackState;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;
use futures::StreamExt;
use futures::TryStreamExt;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::inner::Inner;
use crate::fs::inner::Writer;
use crate::fs::operations::Held;
use crate::store::Outbox;
use crate::store::Rank;
use crate::tree::Source;
use crate::vault::Draft;

/// After the last change.
const QUIET_LONGEST: Duration = Duration::from_secs(300);
/// After the first change, while changes go on.
const LOAD_LONGEST: Duration = Duration::from_secs(30);
/// Uploaded bytes that no commit names yet, at which one is due: until then they lie in the outbox as well.
const UNNAMED_MOST: u64 = 512 * 1024 * 1024;
/// A publish that carries less makes the next one wait longer, in bytes.
const SMALL: u64 = 1024 * 1024;

/// What the publisher remembers between its rounds.
#[derive(Default)]
pub(crate) struct Publishing {
    /// In the store already, not named by a commit yet.
    uploaded: BTreeMap<PackName, AddedPack>,
    /// Packs of own commits that the vault's accounting does not list yet.
    unrecorded: Vec<(u64, Vec<AddedPack>)>,
    /// Named by a commit, and still in the outbox because the journal knows them by what they were called there;
    /// with what they hold.
    held: BTreeMap<PackName, Rank>,
    /// Wait after the last change; zero until the first publish.
    quiet: Duration,
}

impl Publishing {
    /// When the next publish is due, for changes since `since` of which the last was at `changed`.
    pub(crate) fn due(&self, base: Duration, since: Instant, changed: Instant) -> Instant {
        let unnamed: u64 = self.uploaded.values().map(|pack| pack.length).sum();
        if unnamed >= UNNAMED_MOST {
            return since;
        }
        let quiet = self.quiet.max(base);
        let longest = LOAD_LONGEST.max(quiet);
        (changed + quiet).min(since + longest)
    }

    /// A pack that will never be sent.
    pub(crate) fn forget(&mut self, name: PackName) {
        self.uploaded.remove(&name);
        self.held.remove(&name);
    }

    fn carried(&mut self, base: Duration, bytes: u64) {
        self.quiet = if bytes < SMALL {
            (self.quiet.max(base) * 2).min(QUIET_LONGEST)
        } else {
            base
        };
    }
}

/// What a root reaches that the store lacks.
#[derive(Default)]
pub(crate) struct Reach {
    pub(crate) packs: BTreeSet<PackName>,
    /// Those of them that hold nodes.
    nodes: BTreeSet<PackName>,
}

impl Inner {
    /// Folds, uploads, commits. Returns when the store has everything accepted before the call.
    pub(crate) async fn publish(&self) -> Result<()> {
        let result = self.publish_if_there().await;
        let result = match result {
            // A copy of this state folder publishes on the same chain: go on under another name.
            Err(Error::DeviceCloned { device }) => {
                log::warn!("device {device} exists twice; this one goes on as a new device");
                self.become_new_device().await?;
                self.publish_once().await
            }
            result => result,
        };
        self.note_failure(result.as_ref().err());
        result
    }

    /// Who asks for it may know that the store is back before the next probe does.
    async fn publish_if_there(&self) -> Result<()> {
        let store = self.vault.store();
        if store.outage().is_some() {
            store.look().await?;
        }
        self.begin_session().await?;
        self.publish_once().await
    }

    /// Takes the files without a name out of what is published: nobody might come back to this device's. Also those that
    /// are being released at this moment, or were while the last commit was made.
    pub(crate) async fn publish_without_unnamed(&self) -> Result<()> {
        self.remove_unnamed(Held::Removed).await?;
        let is_dirty = self.core().is_dirty();
        match is_dirty {
            true => self.publish().await,
            false => Ok(()),
        }
    }

    fn note_failure(&self, failure: Option<&Error>) {
        let mut last = self
            .counters
            .last_error
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = failure.cloned();
    }

    async fn publish_once(&self) -> Result<()> {
        let writer = self.writer()?;
        let mut publishing = writer.publishing.lock().await;
        self.vault.settle_intent().await?;
        self.record_packs(writer, &mut publishing)?;
        self.fold().await?;
        let (root, lsn, merged, published) = {
            let core = self.core();
            (core.root, core.folded, core.merged.clone(), core.published)
        };
        if root.hash == published.1.hash && self.vault.last().is_some() {
            self.clean_if_idle(lsn);
            return Ok(());
        }
        fault::point("publish.begun");
        let begin = Instant::now();
        let reach = self.reach(&root, &writer.outbox).await?;
        let fresh = reach.packs.iter().copied();
        let fresh = fresh
            .filter(|name| !publishing.held.contains_key(name))
            .collect();
        let packs = self.upload_all(writer, &mut publishing, &fresh).await?;
        if packs.len() > PACKS_MAX {
            return Err(Error::Usage("more packs than one commit can name".into()));
        }
        fault::point("publish.packs-sent");
        let sent: u64 = packs.iter().map(|pack| pack.length).sum();
        let mut node_packs: Vec<PackName> = reach.nodes.iter().copied().collect();
        node_packs.truncate(64);
        let draft = Draft {
            root,
            merged,
            packs: packs.clone(),
            node_packs,
            session: writer.session,
            lsn,
            label: String::new(),
        };
        let point = self.vault.publish(draft).await?;
        {
            let mut core = self.core();
            core.published = (lsn, root);
            if let Some(device) = self.vault.device() {
                core.merged.insert(device, point);
            }
        }
        self.clean_if_idle(lsn);
        let seconds = begin.elapsed().as_secs_f64().max(0.001);
        self.counters
            .speed
            .store((sent as f64 / seconds) as u64, Ordering::Relaxed);
        publishing.carried(self.options.publish_after, sent);
        publishing.unrecorded.push((point.seq.0, packs));
        fault::point("publish.retiring");
        self.retire(writer, &mut publishing, &reach).await;
        self.room.notify_waiters();
        Ok(())
    }

    /// Uploads full packs before any commit needs them: some of them, so that a commit comes in between, after which
    /// those that were written over meanwhile are never sent.
    pub(crate) async fn upload_early(&self) -> Result<()> {
        let writer = self.writer()?;
        let Ok(mut publishing) = writer.publishing.try_lock() else {
            return Ok(());
        };
        let named = writer.packs.named().into_iter();
        // What a commit names has been sent, wherever it lies now.
        let waits = |name: &PackName| {
            writer.outbox.contains(*name)
                && !publishing.held.contains_key(name)
                && !publishing.uploaded.contains_key(name)
        };
        let most = (UNNAMED_MOST / u64::from(self.shares.pack)) as usize;
        let frozen = named
            .filter(|frozen| frozen.fresh)
            .map(|frozen| frozen.pack.name)
            .filter(waits)
            .take(most)
            .collect();
        let uploaded = self.upload_all(writer, &mut publishing, &frozen).await;
        if let Err(error) = &uploaded {
            self.note_failure(Some(error));
        }
        uploaded.map(drop)
    }

    fn clean_if_idle(&self, lsn: coffre_format::id::Lsn) {
        let mut core = self.core();
        core.published.0 = lsn;
        if !core.is_dirty() {
            core.dirty_since = None;
            core.changed = None;
        } else {
            core.dirty_since = core.changed;
        }
    }

    /// Packs of the outbox that hold what the root reaches. Nodes point back in time only, so a node that the
    /// store has names nothing that it lacks.
    pub(crate) async fn reach(&self, root: &Child, outbox: &Outbox) -> Result<Reach> {
        let mut reach = Reach::default();
        let mut seen = HashSet::new();
        let mut stack = vec![*root];
        while let Some(child) = stack.pop() {
            let Place::Pack { pack, offset } = child.pointer.place else {
                continue;
            };
            if !outbox.contains(pack.name) || !seen.insert((pack.name, offset)) {
                continue;
            }
            reach.packs.insert(pack.name);
            reach.nodes.insert(pack.name);
            match &self.nodes.fetch(&child).await?.entries {
                Entries::Inner(children) => stack.extend(children.iter().map(|(_, child)| *child)),
                Entries::Leaf(entries) => {
                    for (_, value) in entries {
                        reach
                            .packs
                            .extend(packs_of(value).filter(|name| outbox.contains(*name)));
                    }
                }
            }
        }
        Ok(reach)
    }

    async fn upload_all(
        &self,
        writer: &Writer,
        publishing: &mut Publishing,
        names: &BTreeSet<PackName>,
    ) -> Result<Vec<AddedPack>> {
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !publishing.uploaded.contains_key(name))
            .copied()
            .collect();
        let store = self.vault.store();
        self.counters
            .queue
            .store(missing.len() as u64, Ordering::Relaxed);
        let mut uploads = futures::stream::iter(missing.into_iter().map(|name| async move {
            let bytes = read_whole(&writer.outbox, name)?;
            let hash = ObjectHash::of(&bytes);
            if PackName::of(&hash) != name {
                let why = "it is not what was sealed".into();
                return Err(Error::Damaged {
                    file: writer.outbox.path(name),
                    offset: 0,
                    why,
                });
            }
            let length = bytes.len() as u64;
            let object = ObjectName::Pack(name);
            let file = writer.outbox.path(name);
            store.put_file(&object, &file, bytes).await?;
            store.confirm(&object, length).await?;
            fault::point("publish.pack-sent");
            Ok(AddedPack { name, hash, length })
        }))
        .buffer_unordered(self.shares.uploads);
        while let Some(pack) = uploads.try_next().await? {
            publishing.uploaded.insert(pack.name, pack);
            self.counters.queue.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(names
            .iter()
            .filter_map(|name| publishing.uploaded.get(name).copied())
            .collect())
    }

    /// The packs of the last commit of an earlier session are in no record yet, unless a later change took them along.
    pub(crate) async fn recall_unrecorded(&self, writer: &Writer) -> Result<()> {
        let Some(device) = self.vault.device() else {
            return Ok(());
        };
        let heads = self.vault.heads();
        let Some(own) = heads.all.iter().find(|head| head.device == device) else {
            return Ok(());
        };
        let (seq, packs) = (own.point.seq.0, own.commit.clear.packs.clone());
        let key = pack_key(device, seq, 0);
        let recorded = self.query(|view, _| view.get(&key)).await?.is_some();
        let mut publishing = writer.publishing.lock().await;
        let known = publishing.unrecorded.iter().any(|(known, _)| *known == seq);
        if !packs.is_empty() && !recorded && !known {
            publishing.unrecorded.push((seq, packs));
        }
        Ok(())
    }

    /// The accounting of packs that earlier own commits added rides along with the next one.
    fn record_packs(&self, writer: &Writer, publishing: &mut Publishing) -> Result<()> {
        if publishing.unrecorded.is_empty() || !self.core().is_dirty() {
            return Ok(());
        }
        let epoch = self.ring().current().epoch;
        let mut core = self.core();
        let device = core.device()?;
        let mut edits = Vec::new();
        for (seq, packs) in publishing.unrecorded.drain(..) {
            for (n, pack) in packs.iter().enumerate() {
                let record = PackRecord {
                    name: pack.name,
                    length: pack.length,
                    epoch,
                    state: PackState::Live,
                };
                let key = pack_key(device, seq, n);
                edits.push(Edit::Put(key, Value::Record(Record::Pack(record))));
            }
        }
        core.commit(edits, &writer.journal)?;
        Ok(())
    }

    /// Published packs move into the cache; packs that nothing reaches any more are removed. Nothing leaves the
    /// outbox that the root, the overlay, or the journal above its checkpoint names.
    async fn retire(&self, writer: &Writer, publishing: &mut Publishing, reach: &Reach) {
        // No fold may add packs between listing and removing.
        let _folding = writer.fold_turn.lock().await;
        let root = self.core().root;
        let Ok(still) = self.reach_after(&root, writer, reach).await else {
            return;
        };
        // In this order: a pack that comes after the look at the outbox is not looked at.
        let here = writer.outbox.packs();
        let known = writer.packs.names();
        let (by_salt, by_name) = self.named_packs(writer);
        for (name, length) in here {
            let rank = match publishing.held.get(&name) {
                Some(rank) => Some(*rank),
                None if reach.nodes.contains(&name) => Some(Rank::Node),
                None if reach.packs.contains(&name) => Some(Rank::Data),
                None => None,
            };
            match rank {
                Some(rank) if by_salt.contains(&name) => {
                    publishing.held.insert(name, rank);
                }
                Some(rank) => {
                    publishing.held.remove(&name);
                    self.nodes.reader().learn(name, length);
                    match self.nodes.reader().cache() {
                        Some(cache) => {
                            cache.adopt(name, &writer.outbox.path(name), rank);
                            writer.outbox.forget(name);
                        }
                        None => warn_of(writer.outbox.remove(name)),
                    }
                }
                None if still.packs.contains(&name)
                    || known.contains(&name)
                    || by_name.contains(&name) =>
                {
                    continue;
                }
                None => warn_of(writer.outbox.remove(name)),
            }
            publishing.uploaded.remove(&name);
        }
    }

    /// Packs that transactions since the checkpoint name: by the salt they were open under, and by name.
    fn named_packs(&self, writer: &Writer) -> (BTreeSet<PackName>, BTreeSet<PackName>) {
        let named = {
            let core = self.core();
            let mut named = core.named.clone();
            named.append(core.named_frozen.clone());
            named
        };
        let frozen = named
            .salts
            .iter()
            .filter_map(|salt| writer.packs.frozen(*salt));
        (frozen.map(|frozen| frozen.pack.name).collect(), named.packs)
    }

    /// What the newest root reaches, knowing that `published` is about to leave the outbox.
    async fn reach_after(&self, root: &Child, writer: &Writer, published: &Reach) -> Result<Reach> {
        let mut reach = self.reach(root, &writer.outbox).await?;
        reach.packs.retain(|name| !published.packs.contains(name));
        Ok(reach)
    }
}

/// Where the accounting of the `n`th pack of a commit stands.
fn pack_key(device: DeviceId, seq: u64, n: usize) -> Key {
    let mut rest = device.0.to_vec();
    rest.extend_from_slice(&seq.to_be_bytes());
    rest.extend_from_slice(&(n as u32).to_be_bytes());
    Key::new(Inode::VAULT, tag::PACK, &rest)
}

fn packs_of(value: &Value) -> impl Iterator<Item = PackName> + '_ {
    let pointers: Vec<&Pointer> = match value {
        Value::Spilled { pointer, .. } => vec![pointer],
        Value::Record(Record::Block(block)) => block
            .pieces
            .iter()
            .filter_map(|piece| match &piece.content {
                Content::Frame(pointer) => Some(pointer),
                Content::Bytes(_) => None,
            })
            .collect(),
        Value::Record(_) => Vec::new(),
    };
    pointers
        .into_iter()
        .filter_map(|pointer| match pointer.place {
            Place::Pack { pack, .. } => Some(pack.name),
            Place::Open { .. } => None,
        })
}

fn read_whole(outbox: &Outbox, name: PackName) -> Result<Bytes> {
    let path = outbox.path(name);
    std::fs::read(&path)
        .map(Bytes::from)
        .map_err(|source| Error::io("read", &path, source))
}

fn warn_of(result: Result<()>) {
    if let Err(error) = result {
        log::warn!("{error}");
    }
}
