//! The service of OpenDAL behind a store: with limits of time, retries, and writes that last; and whether what it
//! shows is the vault's place at all.
//!
//! A folder whose disk is not mounted is there, and empty. What was written into it would be nowhere when the disk is
//! back, and what is missing from it is not lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
use crate::store::http::Patient;
use crate::store::uri::StoreUri;

/// One attempt at one object: 16 MiB on a line of 1 Mbit/s.
const TRANSFER: Duration = Duration::from_secs(150);
const CONTROL: Duration = Duration::from_secs(30);
const CONCURRENT: usize = 64;
/// Where a local store writes before it renames; never part of a listing.
pub(super) const TEMPORARY: &str = ".coffre-tmp/";

/// Memory stores by name: opening one twice reaches the same objects.
static MEMORIES: OnceLock<Mutex<BTreeMap<String, Operator>>> = OnceLock::new();

/// What answers for a store.
#[derive(Debug)]
pub(super) struct Service {
    uri: StoreUri,
    /// Replaced when there are new credentials. OpenDAL makes a local folder that is not there, so that one is asked
    /// for only when it is.
    operator: RwLock<Option<Operator>>,
    /// A local folder: for writing, with a temporary name first. Made with the first write.
    writing: OnceLock<Operator>,
    /// A vault is known to be there: without it, this is not its place.
    expected: AtomicBool,
}

impl Service {
    pub(super) fn open(uri: &StoreUri, network: impl FnOnce(Operator) -> Operator) -> Result<Self> {
        let operator = match (uri.scheme(), uri.local_path()) {
            ("memory", _) => {
                let memories = MEMORIES.get_or_init(Mutex::default);
                let mut memories = memories.lock().unwrap_or_else(PoisonError::into_inner);
                match memories.get(uri.canonical()) {
                    Some(service) => Some(service.clone()),
                    None => {
                        let service = service(uri)?;
                        memories.insert(uri.canonical().to_owned(), service.clone());
                        Some(service)
                    }
                }
            }
            (_, Some(root)) if !root.is_dir() => None,
            _ => Some(service(uri)?),
        };
        Ok(Self {
            uri: uri.clone(),
            operator: RwLock::new(operator.map(|operator| patient(network(operator)))),
            writing: OnceLock::new(),
            expected: AtomicBool::new(false),
        })
    }

    pub(super) fn uri(&self) -> &StoreUri {
        &self.uri
    }

    /// From now on a place without the vault is the wrong one.
    pub(super) fn expect_vault(&self) {
        self.expected.store(true, Ordering::Relaxed);
    }

    /// For everything but writing.
    pub(super) fn operator(&self) -> Result<Operator> {
        if let Some(operator) = &*self.operator.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(operator.clone());
        }
        if let Some(root) = self.uri.local_path()
            && self.expected.load(Ordering::Relaxed)
            && !root.is_dir()
        {
            return Err(self.elsewhere("there is no such folder"));
        }
        let made = patient(service(&self.uri)?);
        let mut operator = self
            .operator
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(operator.get_or_insert(made).clone())
    }

    /// For writing.
    pub(super) fn writing(&self) -> Result<Operator> {
        let Some(root) = self.uri.local_path() else {
            return self.operator();
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

    /// Goes on with the options of `uri`, which names the same place.
    pub(super) fn renew(&self, uri: &StoreUri) -> Result<()> {
        let renewed = patient(service(uri)?);
        *self
            .operator
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(renewed);
        Ok(())
    }

    /// Whether this is the vault's place. Only folders are asked: nobody unmounts a bucket.
    pub(super) async fn in_place(&self) -> Result<()> {
        match self.must_show_vault() {
            true => self.look().await,
            false => Ok(()),
        }
    }

    /// Whether the store answers, and folders show a vault that is expected in them.
    pub(super) async fn look(&self) -> Result<()> {
        let operator = self.operator()?;
        let path = ObjectName::Vault.to_string();
        match operator.stat(&path).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("look at", &path, &error));
            }
            Err(_) if !self.must_show_vault() => return Ok(()),
            // The object is a hint, and may be lost; keys there must be.
            Err(_) => {}
        }
        match has_file(&operator, "keys/").await {
            Ok(true) => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("list", "keys/", &error))
            }
            Ok(false) | Err(_) => Err(self.elsewhere("nothing of the vault is there")),
        }
    }

    fn must_show_vault(&self) -> bool {
        has_folders(&self.uri) && self.expected.load(Ordering::Relaxed)
    }

    fn elsewhere(&self, what: &str) -> Error {
        Error::Unreachable {
            operation: "find",
            object: self.uri.canonical().to_owned(),
            why: format!("{what}; is its disk mounted?"),
        }
    }
}

async fn has_file(operator: &Operator, folder: &str) -> opendal::Result<bool> {
    let mut entries = operator.lister(folder).await?;
    while let Some(entry) = entries.try_next().await? {
        if entry.metadata().is_file() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the service keeps objects as files in folders, which it lists one by one.
pub(super) fn has_folders(uri: &StoreUri) -> bool {
    matches!(uri.scheme(), "fs" | "webdav" | "sftp")
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
pub(super) fn make_durable(path: &Path) -> Result<()> {
    let sync = || -> std::io::Result<()> {
        std::fs::File::open(path)?.sync_all()?;
        for folder in path.ancestors().skip(1).take(3) {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    sync().map_err(|source| Error::io("sync", path, source))
}
