//! A Coffre vault as an [Apache OpenDAL](https://opendal.apache.org) operator.
//!
//! Whatever speaks OpenDAL then works on sealed files: `object_store` and Parquet through `object_store_opendal`, WebDAV
//! through `dav-server-opendalfs`, layers for logging, throttling and metrics.
//!
//! ```
//! # use coffre::{KdfParams, Secret, Vault};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let here = tempfile::tempdir()?;
//! # let address = here.path().join("store").display().to_string();
//! # let location = Vault::at(&address)?.state_dir(here.path().join("state")).kdf(KdfParams::FLOOR);
//! # let vault = location.create(vec![Secret::passphrase("correct horse battery staple")?]).await?;
//! let files = vault.files().await?;
//! let operator = coffre_opendal::operator(files.clone())?;
//!
//! operator.write("reports/may.txt", "sealed before it leaves").await?;
//! assert_eq!(operator.read("reports/may.txt").await?.to_vec(), b"sealed before it leaves");
//!
//! files.publish().await?; // everything is in the store now
//! # drop(operator);
//! # files.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What differs from an object store
//!
//! There are real folders. One that is missing is made when something is written into it, and stays when it is empty; a path
//! that ends in a slash names a folder and nothing else. A write shows all at once when its writer is closed, and never when it
//! is aborted or dropped; one that appends shows as it goes, and cannot be aborted. Symbolic links are followed, but a recursive
//! listing shows one that leads to a folder and does not go into it, and OpenDAL leaves out one that leads nowhere.
//!
//! OpenDAL's paths are text without blanks at their ends: a name in the vault that is none is listed with `U+FFFD` in it and
//! is not found by that.

mod convert;
mod folders;
mod lister;
mod reader;
mod service;
mod writer;

use coffre::Filesystem;
use opendal_core::Operator;
use opendal_core::Result;

pub use convert::SCHEME;

/// The files of a vault as an operator, with the layers that OpenDAL gives every service. Clones of the file system go on
/// working beside it; [`Filesystem::publish`] and [`Filesystem::close`] are theirs to call.
///
/// # Errors
/// None that is known; OpenDAL's builders may fail.
pub fn operator(files: Filesystem) -> Result<Operator> {
    Operator::new(service::Builder::of(files))
}
