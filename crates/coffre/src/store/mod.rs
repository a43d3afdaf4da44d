//! Sealed bytes in and out: the remote store, the local cache and outbox, and one reader over all three.
//! (Signatures; bodies follow.)
#![allow(unused_variables, missing_docs)]

use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use coffre_format::id::DeviceId;
use coffre_format::id::PackName;
use coffre_format::name::ObjectName;

use crate::error::Result;

/// Where a vault is: scheme, host, root and options, parsed from what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUri {
    in_work: (),
}
impl StoreUri {
    /// An OpenDAL URI (`s3://bucket/prefix?region=…`, `webdav+http://…`, …) or a local path.
    pub fn parse(text: &str) -> Result<Self> {
        todo!()
    }
    /// A local folder.
    pub fn local(path: &Path) -> Self {
        todo!()
    }
    /// scheme, host, port, bucket and root normalised, credentials and other options ignored: names the vault in anchors.
    pub fn canonical(&self) -> &str {
        todo!()
    }
    /// The folder, if the store is one.
    pub fn local_path(&self) -> Option<&Path> {
        todo!()
    }
    /// With a service option added (from a profile; may be a credential, never shown).
    pub fn with_option(self, key: &str, value: &str) -> Self {
        todo!()
    }
}
/// What a listing is restricted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    All,
    Slots,
    Packs,
    Commits,
    CommitsOf(DeviceId),
    Inventories,
}
/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub name: ObjectName,
    pub length: Option<u64>,
}
/// A listing, bounded.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub objects: Vec<Object>,
    /** Names that are none of ours. */
    pub foreign: Vec<String>,
    /** Whether more was offered than is taken. */
    pub cut: bool,
}
/// Requests and bytes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub puts: u64,
    pub gets: u64,
    pub stats: u64,
    pub lists: u64,
    pub deletes: u64,
    pub sent: u64,
    pub received: u64,
}
impl Counts {
    /// All requests.
    pub fn requests(&self) -> u64 {
        todo!()
    }
}
/// A store that OpenDAL reaches. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    in_work: (),
}
impl Store {
    pub fn open(uri: &StoreUri) -> Result<Self> {
        todo!()
    }
    pub fn memory() -> Self {
        todo!()
    }
    pub fn uri(&self) -> &StoreUri {
        todo!()
    }
    /// One PUT of the whole object.
    pub async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<()> {
        todo!()
    }
    /// Exactly this range, or `Missing` / `Truncated`.
    pub async fn read(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        todo!()
    }
    /// The whole object of `length` bytes, or after one stat where that is unknown; `limit` bounds it.
    pub async fn read_whole(
        &self,
        name: &ObjectName,
        length: Option<u64>,
        limit: u64,
    ) -> Result<Bytes> {
        todo!()
    }
    /// Its length, or `None` where it does not exist.
    pub async fn length(&self, name: &ObjectName) -> Result<Option<u64>> {
        todo!()
    }
    pub async fn list(&self, prefix: Prefix) -> Result<Listing> {
        todo!()
    }
    pub async fn delete(&self, name: &ObjectName) -> Result<()> {
        todo!()
    }
    pub fn counts(&self) -> Counts {
        todo!()
    }
}
/// What cached bytes are worth: nodes are evicted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    Data,
    Node,
}
/// Sparse files of packs on the local disk, still sealed. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache {
    in_work: (),
}
impl Cache {
    pub fn open(dir: &Path, limit: u64) -> Result<Self> {
        todo!()
    }
    pub fn read(&self, pack: PackName, range: Range<u64>) -> Option<Bytes> {
        todo!()
    }
    pub fn insert(&self, pack: PackName, offset: u64, bytes: &[u8], rank: Rank) {
        todo!()
    }
    /// Takes a whole pack file over (renames it in); node ranges are told.
    pub fn adopt(&self, pack: PackName, file: &Path, rank: Rank) {
        todo!()
    }
    /// Forgets a range that did not open.
    pub fn discard(&self, pack: PackName, range: Range<u64>) {
        todo!()
    }
    pub fn used(&self) -> u64 {
        todo!()
    }
}
/// Frozen packs that wait for upload. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    in_work: (),
}
impl Outbox {
    /// Opens (creates) the folder and lists what is in it; temporary files of a crash are removed.
    pub fn open(dir: &Path) -> Result<Self> {
        todo!()
    }
    /// Writes a pack under a temporary name, fdatasyncs, renames. The folder is not synced (see `sync`).
    pub fn add(&self, name: PackName, bytes: &[u8]) -> Result<()> {
        todo!()
    }
    /// fsyncs the folder.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }
    pub fn contains(&self, name: PackName) -> bool {
        todo!()
    }
    pub fn read(&self, name: PackName, range: Range<u64>) -> Option<Result<Bytes>> {
        todo!()
    }
    pub fn path(&self, name: PackName) -> PathBuf {
        todo!()
    }
    /// Names and lengths.
    pub fn packs(&self) -> Vec<(PackName, u64)> {
        todo!()
    }
    pub fn remove(&self, name: PackName) -> Result<()> {
        todo!()
    }
    /// Forgets a pack whose file was taken over by the cache.
    pub fn forget(&self, name: PackName) {
        todo!()
    }
}
/// Reads ranges of packs from outbox, cache or store. Clones share it.
#[derive(Debug, Clone)]
pub struct Reader {
    in_work: (),
}
impl Reader {
    pub fn new(store: Store, cache: Option<Cache>, outbox: Outbox) -> Self {
        todo!()
    }
    /// Exactly this range. Concurrent requests for the same spans share one GET.
    pub async fn read(&self, pack: PackName, range: Range<u64>, rank: Rank) -> Result<Bytes> {
        todo!()
    }
    /// Exactly this range, only if outbox or cache has it; never waits for the store.
    pub fn ready(&self, pack: PackName, range: Range<u64>) -> Option<Bytes> {
        todo!()
    }
    /// Tells the length of a pack (from a commit or listing), so that reads can cover whole spans.
    pub fn learn(&self, pack: PackName, length: u64) {
        todo!()
    }
    /// Forgets cached bytes that did not open.
    pub fn discard(&self, pack: PackName, range: Range<u64>) {
        todo!()
    }
    pub fn outbox(&self) -> &Outbox {
        todo!()
    }
    pub fn cache(&self) -> Option<&Cache> {
        todo!()
    }
    pub fn store(&self) -> &Store {
        todo!()
    }
}
