//! The store behind OpenDAL: put, get a range, list, stat, delete, and nothing else.
//!
//! No capability that a service declares is relied on, and nothing that it answers is trusted: reads name
//! their range, listings are bounded, and what comes back is checked by whoever asked.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coffre_format::name::ObjectName;
use opendal::ErrorKind;
use opendal::Operator;

use crate::error::Error;
use crate::error::Result;
use crate::store::counts::Counters;
use crate::store::counts::Counts;
use crate::store::direct::Met;
use crate::store::failure::failed;
use crate::store::health::Health;
use crate::store::health::Outage;
use crate::store::service::Service;
use crate::store::service::make_durable;
use crate::store::uri::StoreUri;

/// A line or a server that garbles an answer now and then is no forger: an answer that cannot be right is asked
/// for again, this often in all, before it counts.
pub(crate) const ATTEMPTS: usize = 3;
/// Pauses before an object that must be there is looked for again: some stores show writes late.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

/// A store that OpenDAL reaches. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) service: Arc<Service>,
    pub(super) counters: Arc<Counters>,
    /// Nothing is laid over the service that every read and write is to meet.
    pub(super) is_bare: bool,
    /// A folder on a disk of this machine.
    pub(super) on_disk: Arc<OnceLock<bool>>,
    pub(super) met: Arc<Met>,
    health: Arc<Health>,
}

impl Store {
    /// Opens the service behind an address. Nothing is sent yet.
    pub fn open(uri: &StoreUri) -> Result<Self> {
        let mut store = Self::open_through(uri, |operator| operator)?;
        store.is_bare = true;
        Ok(store)
    }

    /// The same with what tests lay directly over the service: below timeouts and retries, where a network is.
    pub fn open_through(
        uri: &StoreUri,
        network: impl FnOnce(Operator) -> Operator,
    ) -> Result<Self> {
        Ok(Self {
            service: Arc::new(Service::open(uri, network)?),
            counters: Arc::default(),
            is_bare: false,
            on_disk: Arc::default(),
            met: Arc::default(),
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
        if uri.canonical() != self.uri().canonical() {
            return Err(Error::Usage(format!(
                "{} is another place than {}; unmount and mount to change it",
                uri.canonical(),
                self.uri().canonical()
            )));
        }
        self.service.renew(uri)?;
        self.health.begin_anew();
        Ok(())
    }

    pub(super) fn operator(&self) -> Result<Operator> {
        self.service.operator()
    }

    pub(super) fn writing(&self) -> Result<Operator> {
        self.service.writing()
    }

    /// There is a vault in this place: a folder that shows nothing of it is not the place, its disk is away.
    pub(crate) fn expect_vault(&self) {
        self.service.expect_vault();
    }

    /// Whether this is a local folder that does not exist.
    pub(crate) fn is_no_folder(&self) -> bool {
        self.uri().local_path().is_some_and(|root| !root.is_dir())
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

    /// Asks now whether it is there, instead of when the next probe is due.
    pub async fn look(&self) -> Result<()> {
        let looked = self.service.look().await;
        self.note(looked)
    }

    /// Takes notice of how a request ended.
    pub(super) fn note<T>(&self, result: Result<T>) -> Result<T> {
        let service = self.service.clone();
        let probe = move || {
            let service = service.clone();
            async move { service.look().await }
        };
        self.health.note(&result, probe);
        result
    }

    /// Its address.
    pub fn uri(&self) -> &StoreUri {
        self.service.uri()
    }

    /// One PUT of the whole object.
    pub async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<()> {
        self.put_from(None, name, bytes).await
    }

    /// The same of a whole file of this machine, whose content is `bytes`. It is synced, and nobody writes to it any more.
    pub async fn put_file(&self, name: &ObjectName, file: &Path, bytes: Bytes) -> Result<()> {
        self.put_from(Some(file), name, bytes).await
    }

    async fn put_from(&self, file: Option<&Path>, name: &ObjectName, bytes: Bytes) -> Result<()> {
        self.counters.put(bytes.len());
        let path = name.to_string();
        let written = self.put_in_place(file, &path, bytes).await;
        self.note(written)?;
        match self.uri().local_path() {
            Some(root) => make_durable(&root.join(&path)),
            None => Ok(()),
        }
    }

    async fn put_in_place(&self, file: Option<&Path>, path: &str, bytes: Bytes) -> Result<()> {
        self.service.in_place().await?;
        if !file.is_some_and(|file| self.link(file, path)) {
            let written = self.writing()?.write(path, bytes).await;
            written.map_err(|error| failed("write", path, &error))?;
        }
        // Its disk may have gone in between.
        self.service.in_place().await
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
        let read = self.read_in_place(name, range).await;
        self.note(read)
    }

    /// A folder that lacks it may be the wrong one.
    async fn read_in_place(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        match self.read_again(name, range).await {
            Err(missing @ Error::Missing { .. }) => {
                self.service.in_place().await?;
                Err(missing)
            }
            read => read,
        }
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
        self.counters.get(wanted);
        let end = range.end;
        let buffer = match self.operator()?.read_with(&path).range(range).await {
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
        self.counters.stat();
        let told = self.look_up(&path).await;
        self.note(told)
    }

    async fn look_up(&self, path: &str) -> Result<Option<u64>> {
        match self.operator()?.stat(path).await {
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.service.in_place().await?;
                Ok(None)
            }
            Err(error) => Err(failed("look at", path, &error)),
        }
    }

    /// Removes it; what is not there is removed already.
    pub async fn delete(&self, name: &ObjectName) -> Result<()> {
        let path = name.to_string();
        self.counters.delete();
        let deleted = self
            .operator()?
            .delete(&path)
            .await
            .map_err(|error| failed("delete", &path, &error));
        self.note(deleted)
    }

    /// Requests and bytes so far.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::Prefix;
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
