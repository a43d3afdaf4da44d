//! A drive that its storage provider cannot read, alter, roll back or hold hostage.
//!
//! A [`Vault`] is a set of sealed objects in any store that Apache OpenDAL reaches; a [`Filesystem`] is the tree of files in
//! it. What is written is sealed on this machine, is durable in a local journal first, and goes to the store in the
//! background.
//!
//! ```
//! use coffre::KdfParams;
//! use coffre::Secret;
//! use coffre::Vault;
//! use futures::TryStreamExt;
//! use tokio::io::AsyncWriteExt;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let here = tempfile::tempdir()?;
//! # let address = here.path().join("store").display().to_string();
//! # let state = here.path().join("state");
//! // In earnest: let address = "s3://my-bucket/coffre?region=eu-west-3";
//! let secret = Secret::passphrase("correct horse battery staple")?;
//! # let location = Vault::at(&address)?.state_dir(&state).kdf(KdfParams::FLOOR);
//! # let vault = location.create(vec![secret]).await?;
//! # if false {
//! # let secret = Secret::passphrase("correct horse battery staple")?;
//! let vault = Vault::create(&address, secret).await?; // or open(&address, &secret)
//! # }
//! let files = vault.files().await?;
//!
//! files.create_dir_all("/reports/2026").await?;
//! files.write("/reports/2026/may.txt", "sealed before it leaves").await?;
//! assert_eq!(files.read("/reports/2026/may.txt").await?, "sealed before it leaves");
//!
//! // As large as you like: it streams, and shows when it is whole.
//! let mut film = files.replace("/film.mkv").await?;
//! film.write_all(b"...").await?;
//! film.commit().await?;
//! files.copy("/film.mkv", "/film again.mkv").await?; // shares its content
//!
//! let mut all = files.walk("/").await?;
//! while let Some(entry) = all.try_next().await? {
//!     println!("{} {}", entry.path.display(), entry.metadata.size);
//! }
//! files.publish().await?; // everything is in the store now
//! files.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every future is `Send`, and one that is dropped has done all of its work or none, where its method says nothing else.

mod error;
mod files;
mod strength;

pub use coffre_format::FormatError;
pub use coffre_format::keyslot::KdfParams;
pub use coffre_format::keyslot::KeyFile;
pub use coffre_format::keyslot::Passphrase;
pub use coffre_format::keyslot::RecoveryCode;
pub use coffre_format::keyslot::Secret;
pub use coffre_format::record::FileKind;
pub use coffre_format::record::Timestamp;
pub use error::Error;
pub use error::Refusal;
pub use error::Result;
pub use files::Entries;
pub use files::Entry;
pub use files::File;
pub use files::Filesystem;
pub use files::Location;
pub use files::Metadata;
pub use files::OpenOptions;
pub use files::Replacement;
pub use fs::Options;
pub use fs::SetAttributes;
pub use fs::SetTime;
pub use fs::Status;
pub use strength::weakness;
pub use vault::Vault;

// What the project's own front ends stand on: inodes and handles, objects, the tree. It may change with any version.
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod fault;
#[doc(hidden)]
pub mod fs;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod tree;
#[doc(hidden)]
pub mod vault;
