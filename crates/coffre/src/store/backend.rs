//! The store behind OpenDAL: put, get a range, list, stat, delete, and nothing else.
//!
//! No capability that a service declares is relied on, and nothing that it answers is trusted: reads name
//! their range, listings are bounded, and what comes back is checked by whoever asked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coffre_format::id::DeviceId;
use coffre_format::name::ObjectName;
use futures::TryStreamExt;
use opendal::ErrorKind;
use opendal::HttpTransporter;
use opendal::Operator;
use opendal::layers::ConcurrentLimitLayer;
use opendal::layers::RetryLayer;
use opendal::layers::TimeoutLayer;

use crate::error::Error;
use crate::error::Result;
use crate::store::failure::failed;
use crate::store::failure::plain;
use crate::store::health::Health;
use crate::store::health::Outage;
use crate::store::http::Patient;
use crate::store::probe;
use crate::store::uri::StoreUri;

/// Where a local store writes before it renames; never part of a listing.
const TEMPORARY: &str = ".coffre-tmp/";
/// Objects of a listing that are taken.
const LISTED_MOST: usize = 8_000_000;
/// Names that are none of ours and are reported.
const FOREIGN_MOST: usize = 1000;
/// Folders of a vault are at most this deep; a hostile server may offer deeper ones.
const FOLDERS_DEEP: usize = 3;
const FOLDERS_MOST: usize = 100_000;
/// One attempt at one object: 16 MiB on a line of 1 Mbit/s.
const TRANSFER: Duration = Duration::from_secs(150);
const CONTROL: Duration = Duration::from_secs(30);
const CONCURRENT: usize = 64;
/// A line or a server that garbles an answer now and then is no forger: an answer that cannot be right is asked
/// for again, this often in all, before it counts.
pub(crate) const ATTEMPTS: usize = 3;
/// Pauses before an object that must be there is looked for again: some stores show writes late.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

/// What a listing is restricted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Everything.
    All,
    /// Key slots.
    Slots,
    /// Packs.
    Packs,
    /// Commits of all devices.
    Commits,
    /// Commits of one device.
    CommitsOf(DeviceId),
    /// Inventories.
    Inventories,
    /// What probes have left behind.
    Probes,
}

/// An object of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes, where the listing tells it.
    pub length: Option<u64>,
}

/// A listing, bounded.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Objects of a vault.
    pub objects: Vec<Object>,
    /// Names that are none of ours.
    pub foreign: Vec<String>,
    /// Names that a probe has left behind.
    pub probes: Vec<String>,
    /// Whether more was offered than is taken.
    pub cut: bool,
}

/// Requests and bytes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects written.
    pub puts: u64,
    /// Ranges read.
    pub gets: u64,
    /// Lengths asked.
    pub stats: u64,
    /// Listings.
    pub lists: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Bytes written.
    pub sent: u64,
    /// Bytes read.
    pub received: u64,
}

impl Counts {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.puts + self.gets + self.stats + self.lists + self.deletes
    }
}

#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    gets: AtomicU64,
    stats: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A store that OpenDAL reaches. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    /// Replaced when there are new credentials.
    operator: Arc<RwLock<Operator>>,
    /// A local folder: for writing, with a temporary name first. Made with the first write.
    writing: Arc<OnceLock<Operator>>,
    uri: StoreUri,
    counters: Arc<Counters>,
    health: Arc<Health>,
}

/// Memory stores by name: opening one twice reaches the same objects.
static MEMORIES: OnceLock<Mutex<BTreeMap<String, Operator>>> = OnceLock::new();

impl Store {
    /// Opens the service behind an address. Nothing is sent yet.
    pub fn open(uri: &StoreUri) -> Result<Self> {
        Self::open_through(uri, |operator| operator)
    }

    /// The same with what tests lay directly over the service: below timeouts and retries, where a network is.
    pub fn open_through(
        uri: &StoreUri,
        network: impl FnOnce(Operator) -> Operator,
    ) -> Result<Self> {
        let service = match uri.scheme() {
            "memory" => {
                let memories = MEMORIES.get_or_init(Mutex::default);
                let mut memories = memories.lock().unwrap_or_else(PoisonError::into_inner);
                match memories.get(uri.canonical()) {
                    Some(service) => service.clone(),
                    None => {
                        let service = service(uri)?;
                        memories.insert(uri.canonical().to_owned(), service.clone());
                        service
                    }
                }
            }
            _ => service(uri)?,
        };
        Ok(Self {
            operator: Arc::new(RwLock::new(patient(network(service)))),
            writing: Arc::default(),
            uri: uri.clone(),
            counters: Arc::default(),
            health: Arc::new(Health::new()),
        })
    }

    /// A store in memory that nobody else reaches.
    pub fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("memory://private-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let uri = StoreUri::parse(&name).expect("the address is well-formed");
        Self::open(&uri).expect("memory needs nothing from outside")
    }

    /// Goes on with the options of `uri`, which names the same place: new credentials. All clones do.
    pub fn renew(&self, uri: &StoreUri) -> Result<()> {
        if uri.canonical() != self.uri.canonical() {
            return Err(Error::Usage(format!(
                "{} is another place than {}; unmount and mount to change it",
                uri.canonical(),
                self.uri.canonical()
            )));
        }
        let renewed = patient(service(uri)?);
        *self
            .operator
            .write()
            .unwrap_or_else(PoisonError::into_inner) = renewed;
        self.health.begin_anew();
        Ok(())
    }

    pub(super) fn operator(&self) -> Operator {
        self.operator
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Since when the store does not answer or refuses, if it does.
    pub fn outage(&self) -> Option<Outage> {
        self.health.outage()
    }

    /// Whether it is known not to answer or to refuse: who asks again and again leaves that to the probe.
    pub fn is_away(&self) -> bool {
        self.outage().is_some_and(|outage| outage.confirmed)
    }

    /// How often it has come back.
    pub fn returns(&self) -> u64 {
        self.health.returns()
    }

    /// Something suggests that it is away: a probe will tell.
    pub fn doubt(&self, why: &Error) {
        drop(self.note::<()>(Err(why.clone())));
    }

    /// Takes notice of how a request ended.
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        let operator = self.operator.clone();
        let probe = move || {
            let operator = operator
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            async move {
                let path = ObjectName::Vault.to_string();
                match operator.stat(&path).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(failed("look at", &path, &error)),
                }
            }
        };
        self.health.note(&result, probe);
        result
    }

    /// Its address.
    pub fn uri(&self) -> &StoreUri {
        &self.uri
    }

    /// One PUT of the whole object.
    pub async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<()> {
        self.count(&self.counters.puts, &self.counters.sent, bytes.len());
        let path = name.to_string();
        let operator = self.writing()?;
        let written = operator
            .write(&path, bytes)
            .await
            .map_err(|error| failed("write", &path, &error));
        self.note(written)?;
        match self.uri.local_path() {
            Some(root) => make_durable(&root.join(&path)),
            None => Ok(()),
        }
    }

    /// As [`Store::read`], but fails at once while the store is known to be away.
    pub async fn read_if_there(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        if let Err(outage) = self.health.may_read().await {
            let why = match outage.error {
                Error::Unreachable { why, .. } => why,
                other => other.to_string(),
            };
            let seconds = outage.since.elapsed().as_secs();
            return Err(Error::Unreachable {
                operation: "read",
                object: name.to_string(),
                why: format!("away for {seconds} s; {why}"),
            });
        }
        self.read(name, range).await
    }

    /// Whether an object that was put is there with its whole length. A server that says so of itself is not
    /// believed; one that shows it late is waited for.
    pub async fn confirm(&self, name: &ObjectName, length: u64) -> Result<()> {
        let object = || name.to_string();
        match self.length_in_time(name, |found| found == length).await? {
            Some(found) if found == length => Ok(()),
            Some(_) => Err(Error::Truncated {
                object: object(),
                path: None,
            }),
            None => Err(Error::Missing {
                object: object(),
                path: None,
            }),
        }
    }

    /// The length of an object that must be there: asked for several times, until one fits.
    pub(crate) async fn length_in_time(
        &self,
        name: &ObjectName,
        fits: impl Fn(u64) -> bool,
    ) -> Result<Option<u64>> {
        for pause in PAUSES {
            if let Some(length) = self.length(name).await?.filter(|length| fits(*length)) {
                return Ok(Some(length));
            }
            tokio::time::sleep(pause).await;
        }
        self.length(name).await
    }

    /// Exactly this range, or `Missing` or `Truncated`.
    pub async fn read(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        let read = self.read_again(name, range).await;
        self.note(read)
    }

    async fn read_again(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        for _ in 0..ATTEMPTS {
            let bytes = self.answer(name, range.clone()).await?;
            if bytes.len() as u64 == wanted {
                return Ok(bytes);
            }
        }
        Err(Error::Truncated {
            object: name.to_string(),
            path: None,
        })
    }

    /// What the service answers to one request for a range, of whatever length.
    async fn answer(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        let path = name.to_string();
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        self.count(&self.counters.gets, &self.counters.received, wanted);
        let end = range.end;
        let buffer = match self.operator().read_with(&path).range(range).await {
            Ok(buffer) => buffer,
            // Services disagree about a range past the end; the length tells.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::RangeNotSatisfied | ErrorKind::Unexpected
                ) =>
            {
                return match self.length(name).await? {
                    None => Err(Error::Missing {
                        object: path,
                        path: None,
                    }),
                    Some(length) if length < end => Err(Error::Truncated {
                        object: path,
                        path: None,
                    }),
                    Some(_) => Err(failed("read", &path, &error)),
                };
            }
            Err(error) => return Err(failed("read", &path, &error)),
        };
        Ok(buffer.to_bytes())
    }

    /// The whole object of `length` bytes, or after one stat where that is unknown; `limit` bounds it.
    pub async fn read_whole(
        &self,
        name: &ObjectName,
        length: Option<u64>,
        limit: u64,
    ) -> Result<Bytes> {
        let missing = || Error::Missing {
            object: name.to_string(),
            path: None,
        };
        let length = match length {
            Some(length) => length,
            None => self.length(name).await?.ok_or_else(missing)?,
        };
        if length > limit {
            let why = format!("it has {length} bytes, more than {limit}");
            return Err(Error::Forged {
                object: name.to_string(),
                path: None,
                why,
            });
        }
        self.read(name, 0..length).await
    }

    /// Its length, or `None` where it does not exist.
    pub async fn length(&self, name: &ObjectName) -> Result<Option<u64>> {
        let path = name.to_string();
        self.counters.stats.fetch_add(1, Ordering::Relaxed);
        let told = match self.operator().stat(&path).await {
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look at", &path, &error)),
        };
        self.note(told)
    }

    /// What is there. An absent prefix is an empty listing; order means nothing.
    pub async fn list(&self, prefix: Prefix) -> Result<Listing> {
        let path = match prefix {
            Prefix::All => String::new(),
            Prefix::Slots => "keys/".into(),
            Prefix::Packs => "packs/".into(),
            Prefix::Commits => "commits/".into(),
            Prefix::CommitsOf(device) => format!("commits/{device}/"),
            Prefix::Inventories => "inventory/".into(),
            Prefix::Probes => probe::PREFIX.into(),
        };
        let mut listing = Listing::default();
        let mut folders = vec![path];
        while let Some(folder) = folders.pop() {
            let listed = self.list_folder(&folder, &mut folders, &mut listing).await;
            self.note(listed)?;
        }
        Ok(listing)
    }

    /// One folder, or everything below it where the service lists so by itself. OpenDAL's own descent into
    /// folders forgets what it was at when a request fails: its retry then answers an empty listing, as if
    /// nothing were there.
    async fn list_folder(
        &self,
        folder: &str,
        folders: &mut Vec<String>,
        listing: &mut Listing,
    ) -> Result<()> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        let recursive = !matches!(self.uri.scheme(), "fs" | "webdav" | "sftp");
        let shown = if folder.is_empty() {
            "the whole prefix"
        } else {
            folder
        };
        let mut entries = match self
            .operator()
            .lister_with(folder)
            .recursive(recursive)
            .await
        {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", shown, &error)),
        };
        loop {
            let entry = match entries.try_next().await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(failed("list", shown, &error)),
            };
            let path = entry.path();
            if path.starts_with(TEMPORARY) || path == folder || path == "/" {
                continue;
            }
            if !entry.metadata().is_file() {
                let deeper =
                    path.matches('/').count() <= FOLDERS_DEEP && folders.len() < FOLDERS_MOST;
                if !recursive && deeper {
                    folders.push(path.to_owned());
                }
                continue;
            }
            if listing.objects.len() >= LISTED_MOST {
                listing.cut = true;
                return Ok(());
            }
            match path.parse() {
                Ok(name) => {
                    let length =
                        Some(entry.metadata().content_length()).filter(|length| *length > 0);
                    listing.objects.push(Object { name, length });
                }
                Err(_) if path.starts_with(probe::PREFIX) => {
                    if listing.probes.len() < FOREIGN_MOST {
                        listing.probes.push(path.to_owned());
                    }
                }
                Err(_) if listing.foreign.len() < FOREIGN_MOST => {
                    listing.foreign.push(path.to_owned())
                }
                Err(_) => listing.cut = true,
            }
        }
    }

    /// Removes it; what is not there is removed already.
    pub async fn delete(&self, name: &ObjectName) -> Result<()> {
        let path = name.to_string();
        self.counters.deletes.fetch_add(1, Ordering::Relaxed);
        let deleted = self
            .operator()
            .delete(&path)
            .await
            .map_err(|error| failed("delete", &path, &error));
        self.note(deleted)
    }

    /// Requests and bytes so far.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            puts: load(&self.counters.puts),
            gets: load(&self.counters.gets),
            stats: load(&self.counters.stats),
            lists: load(&self.counters.lists),
            deletes: load(&self.counters.deletes),
            sent: load(&self.counters.sent),
            received: load(&self.counters.received),
        }
    }

    pub(super) fn writing(&self) -> Result<Operator> {
        let Some(root) = self.uri.local_path() else {
            return Ok(self.operator());
        };
        if self.writing.get().is_none() {
            let temporary = root.join(TEMPORARY);
            let uri = self
                .uri
                .clone()
                .with_option("atomic_write_dir", &temporary.to_string_lossy());
            // Whoever comes second drops an equal one.
            drop(self.writing.set(patient(service(&uri)?)));
        }
        Ok(self.writing.get().expect("it was just set").clone())
    }

    fn count(&self, requests: &AtomicU64, bytes: &AtomicU64, length: usize) {
        requests.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

fn service(uri: &StoreUri) -> Result<Operator> {
    let options = uri.options().clone();
    let operator = Operator::via_iter(uri.scheme(), options)
        .map_err(|error| Error::Usage(format!("{}: {}", uri.canonical(), plain(&error))))?;
    let context = operator
        .base_context()
        .with_http_transport(HttpTransporter::new(Patient::new()?));
    Ok(operator.with_context(context))
}

/// Gives each attempt its time, and a request several attempts.
fn patient(operator: Operator) -> Operator {
    let timeout = TimeoutLayer::new()
        .with_timeout(CONTROL)
        .with_io_timeout(TRANSFER);
    let retry = RetryLayer::new()
        .with_max_times(4)
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter();
    // The timeout is the inner one: each attempt has its own.
    operator
        .layer(timeout)
        .layer(retry)
        .layer(ConcurrentLimitLayer::new(CONCURRENT))
}

/// OpenDAL's local service renames into place but leaves the folder's entry to the kernel.
fn make_durable(path: &Path) -> Result<()> {
    let sync = || -> std::io::Result<()> {
        std::fs::File::open(path)?.sync_all()?;
        for folder in path.ancestors().skip(1).take(3) {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    sync().map_err(|source| Error::io("sync", path, source))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use coffre_format::id::PackName;

    async fn suite(store: Store) {
        let name = ObjectName::Pack(PackName([7; 16]));
        assert!(store.list(Prefix::All).await.unwrap().objects.is_empty());
        assert_eq!(store.length(&name).await.unwrap(), None);
        assert!(matches!(
            store.read(&name, 0..5).await,
            Err(Error::Missing { .. })
        ));
        store
            .put(&name, Bytes::from_static(b"0123456789"))
            .await
            .unwrap();
        store
            .put(&name, Bytes::from_static(b"0123456789"))
            .await
            .unwrap();
        assert_eq!(store.read(&name, 2..5).await.unwrap(), "234");
        assert!(matches!(
            store.read(&name, 5..11).await,
            Err(Error::Truncated { .. })
        ));
        assert!(matches!(
            store.read(&name, 50..60).await,
            Err(Error::Truncated { .. })
        ));
        assert_eq!(
            store.read_whole(&name, None, 100).await.unwrap(),
            "0123456789"
        );
        assert!(matches!(
            store.read_whole(&name, None, 9).await,
            Err(Error::Forged { .. })
        ));
        let listing = store.list(Prefix::Packs).await.unwrap();
        assert_eq!(
            listing
                .objects
                .iter()
                .map(|object| object.name)
                .collect::<Vec<_>>(),
            [name]
        );
        assert!(
            store
                .list(Prefix::Commits)
                .await
                .unwrap()
                .objects
                .is_empty()
        );
        store.delete(&name).await.unwrap();
        store.delete(&name).await.unwrap();
        assert!(store.list(Prefix::All).await.unwrap().objects.is_empty());
        assert_eq!(store.counts().puts, 2);
    }

    #[tokio::test]
    async fn memory_and_folder_behave_alike() {
        suite(Store::memory()).await;
        let dir = tempfile::tempdir().unwrap();
        suite(Store::open(&StoreUri::local(&dir.path().join("deep/er"))).unwrap()).await;
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_told_so() {
        let store =
            Store::open(&StoreUri::parse("webdav+http://127.0.0.1:9/none").unwrap()).unwrap();
        let listed = store.list(Prefix::Slots).await;
        assert!(
            matches!(listed, Err(Error::Unreachable { .. })),
            "{listed:?}"
        );
        let read = store.length(&ObjectName::Vault).await;
        assert!(matches!(read, Err(Error::Unreachable { .. })), "{read:?}");
    }

    #[tokio::test]
    async fn foreign_names_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("holiday.jpg"), "x").unwrap();
        let store = Store::open(&StoreUri::local(dir.path())).unwrap();
        let listing = store.list(Prefix::All).await.unwrap();
        assert_eq!(
            (listing.objects.len(), listing.foreign.as_slice()),
            (0, ["holiday.jpg".to_owned()].as_slice())
        );
    }
}
