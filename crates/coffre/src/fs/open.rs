//! Opening a file system: the journal first, then the newest state the store and this device agree on.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use coffre_format::id::Digest;
use coffre_format::id::Inode;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::random;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::Edit;
use coffre_format::transaction::Transaction;

use crate::error::Error;
use crate::error::Result;
use crate::fault;
use crate::fs::core::Begin;
use crate::fs::core::Core;
use crate::fs::data_packs::DataPacks;
use crate::fs::inner::Inner;
use crate::fs::inner::Parts;
use crate::fs::inner::Writer;
use crate::fs::journal::Journal;
use crate::fs::journal::Start;
use crate::fs::journal::recover::Recovered;
use crate::fs::journal::recover::look;
use crate::fs::journal::recover::recover;
use crate::fs::namespace::entries;
use crate::fs::operations::Held;
use crate::fs::shares::Shares;
use crate::fs::types::Damage;
use crate::fs::types::Options;
use crate::store::Cache;
use crate::store::Outbox;
use crate::store::Reader;
use crate::tree::Nodes;
use crate::vault::Access;
use crate::vault::Head;
use crate::vault::Heads;
use crate::vault::Vault;

/// Builds the shared part of a file system over an open vault.
pub(crate) async fn open(vault: Vault, options: Options) -> Result<Inner> {
    let state = vault.state().path().to_owned();
    let opened = open_vault(vault, options).await;
    opened.map_err(|error| error.at_the_start(&state))
}

async fn open_vault(vault: Vault, options: Options) -> Result<Inner> {
    let mut notices = Vec::new();
    let writes = vault.access() == Access::ReadWrite;
    let outbox = match writes {
        true => Outbox::open(&vault.state().outbox())?,
        false => Outbox::look(&vault.state().outbox())?,
    };
    let cache = open_cache(&vault, &options, &mut notices);
    let ring = vault.ring();
    let store = vault.store().clone();
    let shares = match store.is_on_disk() {
        true => Shares::of(options.memory).for_a_disk(),
        false => Shares::of(options.memory),
    };
    let reader = Reader::keeping(store, cache, outbox.clone(), shares.recent);
    let heads = vault.heads();
    for head in &heads.all {
        for pack in &head.commit.clear.packs {
            reader.learn(pack.name, pack.length);
        }
    }
    let nodes = Nodes::new(reader, ring.clone(), shares.nodes);
    nodes.take_over(vault.nodes());
    let journal_dir = vault.state().journal();
    let packs_dir = vault.state().path().join("open");
    let packs = match writes {
        true => DataPacks::open(packs_dir, ring.clone(), outbox.clone(), options.workers)?,
        false => DataPacks::look(packs_dir, ring.clone(), outbox.clone())?,
    };
    let packs = Arc::new(packs.within(shares.pack, shares.freezing));
    let opens = |pointer: &Pointer| {
        packs
            .read(pointer)
            .map_or_else(|| packs.is_named(pointer), |read| read.is_ok())
    };
    let recovered = if writes {
        std::fs::create_dir_all(&journal_dir)
            .map_err(|source| Error::io("create", &journal_dir, source))?;
        recover(&journal_dir, &ring, opens)?
    } else {
        let found = look(&journal_dir, &ring, opens)?;
        match (found.damage, options.damage) {
            (Some(damage), Damage::Refuse) => return Err(damage),
            (damage, _) => notices.extend(damage.map(|damage| damage.to_string())),
        }
        found.recovered
    };
    if recovered.is_none() && !packs.is_empty() && notices.is_empty() {
        return Err(journal_gone(journal_dir));
    }
    if recovered.as_ref().is_some_and(|recovered| recovered.torn) {
        log::info!(
            "the journal ended in the middle of a write; what was synced before is complete"
        );
    }
    let start = Base::choose(&heads, recovered, &vault);
    let session = new_session(&nodes, &start.root, vault.access()).await?;
    // A slot that the tree does not list opens the vault for reading only.
    match vault.slot_listed(&nodes, &start.root).await {
        // Offline, with that part of the tree not at hand: the next session will know.
        Ok(_) | Err(Error::Unreachable { .. }) => {}
        Err(error) => return Err(error),
    }
    let device = match vault.access() {
        Access::ReadWrite => Some(vault.enrol(&device_name())?.0),
        Access::ReadOnly => vault.device(),
    };
    let mut core = Core::new(Begin {
        root: start.root,
        merged: start.merged.clone(),
        lsn: start.folded,
        published: (start.published.0, start.published.1),
        device,
        session,
        lamport: start.lamport,
    });
    let recovered_any = !start.transactions.is_empty();
    for transaction in start.transactions {
        core.replay(transaction)?;
    }
    let writer = match vault.access() {
        Access::ReadOnly => None,
        Access::ReadWrite => {
            if !recovered_any {
                // Nothing names what was left of packs that were being filled.
                packs.forget(&packs.settled_candidates());
            }
            // What was recovered may be in the kernel's memory only, and from here on counts as synced.
            for dir in [&journal_dir, &vault.state().path().join("open")] {
                sync_folder(dir)?;
            }
            let begin = Start {
                dir: journal_dir,
                segment: start.next_segment,
                session,
                previous: start.previous,
                lsn: Lsn(core.lsn.0 - start.again.len() as u64),
                unsynced_most: shares.unsynced_most,
            };
            let journal = Journal::start(begin, ring, packs.clone(), options.workers)?;
            for transaction in &start.again {
                journal.append(transaction)?;
            }
            if start.needs_checkpoint {
                let checkpoint = Checkpoint {
                    root: start.root,
                    lsn: start.folded,
                    merged: start.merged,
                };
                journal.checkpoint(checkpoint, start.next_segment).await?;
            }
            Some(Writer {
                journal,
                packs: packs.clone(),
                outbox,
                session,
                fold_turn: tokio::sync::Mutex::default(),
                begun: tokio::sync::OnceCell::new(),
                publishing: tokio::sync::Mutex::default(),
            })
        }
    };
    Ok(Inner::new(Parts {
        vault,
        options,
        shares,
        nodes,
        packs,
        writer,
        core,
        notices,
    }))
}

/// Every file of a folder and its names are on the disk.
fn sync_folder(dir: &Path) -> Result<()> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    let failed = |source| Error::io("list", dir, source);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        sync(&path).map_err(|source| Error::io("sync", &path, source))?;
    }
    sync(dir).map_err(|source| Error::io("sync", dir, source))
}

/// A cache that cannot be used makes reading slower, and nothing else.
fn open_cache(vault: &Vault, options: &Options, notices: &mut Vec<String>) -> Option<Cache> {
    if options.cache == 0 || vault.store().uri().local_path().is_some() {
        return None;
    }
    let opened = Cache::open(&options.cache_dir, options.cache);
    let failed = |error: &Error| {
        let told = format!("there is no cache, all that is read comes from the store: {error}");
        log::warn!("{told}");
        notices.push(told);
    };
    opened.inspect_err(failed).ok()
}

/// Packs are begun by a journal's transactions and named by its checkpoints: without it they are unreadable work.
fn journal_gone(dir: PathBuf) -> Error {
    Error::Damaged {
        file: dir,
        offset: 0,
        why: "the journal is gone, but packs of it are in the folders open and outbox beside it; put it back, or \
              move these two out of the state folder (keep them) to go on with what is in the store"
            .into(),
    }
}

/// Where this session begins.
struct Base {
    root: Child,
    merged: coffre_format::commit::Vector,
    folded: Lsn,
    published: (Lsn, Child),
    transactions: Vec<Transaction>,
    /// The last of them, which the journal must hold again before what follows.
    again: Vec<Transaction>,
    previous: Digest,
    next_segment: u64,
    lamport: u64,
    /// Whether the journal must begin with this state.
    needs_checkpoint: bool,
}

impl Base {
    /// What is not in the store goes first; otherwise the newest head that contains this device's own.
    fn choose(heads: &Heads, recovered: Option<Recovered>, vault: &Vault) -> Self {
        let base = &heads.base;
        let mut merged = base.commit.body.merged.clone();
        merged.insert(base.device, base.point);
        let head_root = base.commit.body.root;
        let own = vault
            .device()
            .and_then(|device| heads.all.iter().find(|head| head.device == device));
        let own_root = own.map_or(head_root, |head| head.commit.body.root);
        let lamport = merged.values().map(|point| point.seq.0).sum::<u64>() << 20;
        let Some(recovered) = recovered else {
            return Self {
                root: head_root,
                merged,
                folded: Lsn(0),
                published: (Lsn(0), head_root),
                transactions: Vec::new(),
                again: Vec::new(),
                previous: Digest::NONE,
                next_segment: 1,
                lamport,
                needs_checkpoint: true,
            };
        };
        let Checkpoint {
            root,
            lsn,
            merged: contained,
        } = recovered.checkpoint;
        // The head whose tree this is, if it is published; and whether the newest head contains it. Its device may
        // have gone on since: it is then one of those that were known before.
        let same = |head: &&Head| head.commit.body.root.hash == root.hash;
        let before = vault.heads_before();
        let mine = heads.all.iter().find(same);
        let known = mine.is_some();
        let contained_by_base = mine
            .or_else(|| before.iter().find(same))
            .is_some_and(|mine| contains(base, mine));
        let keeps = !recovered.transactions.is_empty() || !contained_by_base;
        let clean = Self {
            root: head_root,
            merged: merged.clone(),
            folded: recovered.lsn,
            published: (recovered.lsn, head_root),
            transactions: Vec::new(),
            again: Vec::new(),
            previous: recovered.previous,
            next_segment: recovered.next_segment,
            lamport,
            needs_checkpoint: true,
        };
        if !keeps {
            return clean;
        }
        let mut merged = contained;
        if let Some(mine) = mine {
            merged.insert(mine.device, mine.point);
        }
        if let (Some(device), Some(last)) = (vault.device(), vault.last()) {
            merged.insert(device, last);
        }
        let own_root = mine.map_or(own_root, |mine| mine.commit.body.root);
        Self {
            root,
            merged,
            folded: lsn,
            published: (if known { lsn } else { Lsn(0) }, own_root),
            transactions: recovered.transactions,
            again: recovered.again,
            needs_checkpoint: false,
            ..clean
        }
    }
}

/// Whether a head is another one, or was merged into it.
fn contains(head: &Head, other: &Head) -> bool {
    if (head.device, head.point) == (other.device, other.point) {
        return true;
    }
    // Two commits of one device under one number contain neither each other.
    let merged = head.commit.body.merged.get(&other.device);
    merged.is_some_and(|point| *point == other.point || point.seq > other.point.seq)
}

/// A session prefix that the tree does not know.
async fn new_session(nodes: &Nodes, root: &Child, access: Access) -> Result<SessionPrefix> {
    loop {
        let mut bytes = [0; 4];
        random::fill(&mut bytes).map_err(Error::Secret)?;
        let prefix = SessionPrefix(u32::from_be_bytes(bytes) & 0x7fff_ffff);
        if prefix.0 == 0 {
            continue;
        }
        if access == Access::ReadOnly {
            return Ok(prefix);
        }
        let key = Key::new(Inode::VAULT, tag::SESSION, &prefix.0.to_be_bytes());
        match nodes.get(root, &key).await {
            // Offline, a number that is taken with a chance of one in two thousand million is taken on trust.
            Ok(None) | Err(Error::Unreachable { .. }) => return Ok(prefix),
            Ok(Some(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What people call this machine.
fn device_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

impl Inner {
    /// After a clone was found: a new key and its record, so that nothing that is unpublished is lost. What is open without a
    /// name comes along.
    pub(crate) async fn become_new_device(&self) -> Result<()> {
        let writer = self.writer()?;
        let mut unnamed: BTreeSet<Inode> = self.unnamed().await?.into_iter().collect();
        let (device, record) = self.vault.enrol(&device_name())?;
        let key = Key::new(Inode::VAULT, tag::DEVICE, &device.0);
        let mut edits = vec![Edit::Put(key, Value::Record(Record::Device(record)))];
        let mut core = self.core();
        let clone = core.device()?;
        unnamed.extend(core.handles.unnamed());
        let handed_over = |inode| entries::hand_over(inode, clone, device);
        edits.extend(unnamed.into_iter().flat_map(handed_over));
        core.set_device(device);
        core.commit(edits, &writer.journal)?;
        Ok(())
    }

    /// What a session owes before it publishes anything, once: its device's record, without which nobody accepts
    /// its commits, and the end of files that were unlinked but open when the last one ended.
    pub(crate) async fn begin_session(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer
                .begun
                .get_or_try_init(|| self.begin(writer))
                .await
                .copied(),
            None => Ok(()),
        }
    }

    async fn begin(&self, writer: &Writer) -> Result<()> {
        let (device, record) = self.vault.enrol(&device_name())?;
        let key = Key::new(Inode::VAULT, tag::DEVICE, &device.0);
        let known = self.query(|view, _| view.get(&key)).await?.is_some();
        if !known {
            let edit = Edit::Put(key, Value::Record(Record::Device(record)));
            self.core().commit(vec![edit], &writer.journal)?;
            self.wake.notify_one();
        }
        fault::point("session.begun");
        self.recall_unrecorded(writer).await?;
        self.remove_unnamed(Held::Spared).await
    }

    /// Removes the files of this device that have no name. One that is damaged keeps nothing else from being published.
    pub(crate) async fn remove_unnamed(&self, held: Held) -> Result<()> {
        for inode in self.unnamed().await? {
            match self.reap(inode, held).await {
                Err(error) if error.is_loss() => {
                    log::warn!("a file without a name stays: {}", error.without_path());
                }
                removed => removed?,
            }
        }
        Ok(())
    }

    /// Files of this device that have no name.
    async fn unnamed(&self) -> Result<Vec<Inode>> {
        let device = self.core().device()?;
        self.query(|view, _| entries::orphans(view, device, usize::MAX))
            .await
    }
}
