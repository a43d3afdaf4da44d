//! Sealed bytes in and out: the remote store, the local cache and outbox, and one reader over all three.

mod backend;
mod cache;
mod failure;
mod health;
mod http;
mod open_files;
mod outbox;
mod probe;
mod reader;
mod uri;

pub(crate) use backend::ATTEMPTS;
pub use backend::Counts;
pub use backend::Listing;
pub use backend::Object;
pub use backend::Prefix;
pub use backend::Store;
pub use cache::Cache;
pub use cache::Rank;
pub use health::Outage;
pub use outbox::Outbox;
pub use probe::Finding;
pub use probe::Probe;
pub use probe::Verdict;
pub use reader::Reader;
pub use uri::StoreUri;
