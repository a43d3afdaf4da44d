//! Sealed bytes in and out: the remote store, the local cache and outbox, and one reader over all three.

mod backend;
mod cache;
mod counts;
mod direct;
pub(crate) mod disks;
mod failure;
mod health;
mod http;
mod linked;
mod listing;
mod open_files;
mod outbox;
pub(crate) mod past;
mod probe;
mod reader;
mod service;
mod uri;

pub(crate) use backend::ATTEMPTS;
pub use backend::Store;
pub use cache::Cache;
pub use cache::Rank;
pub use counts::Counts;
pub use health::Outage;
pub use listing::Listing;
pub use listing::Object;
pub use listing::Prefix;
pub use outbox::Outbox;
pub use probe::Finding;
pub use probe::Probe;
pub use probe::Verdict;
pub use reader::Pattern;
pub use reader::Reader;
pub use uri::StoreUri;
