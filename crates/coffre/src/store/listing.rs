//! Listings: bounded, and of names that belong to a vault.

use coffre_format::id::DeviceId;
use coffre_format::name::ObjectName;
use futures::TryStreamExt;
use opendal::ErrorKind;

use crate::error::Result;
use crate::store::backend::Store;
use crate::store::failure::failed;
use crate::store::probe;
use crate::store::service::TEMPORARY;
use crate::store::service::has_folders;

/// Objects of a listing that are taken.
const LISTED_MOST: usize = 8_000_000;
/// Names that are none of ours and are reported.
const FOREIGN_MOST: usize = 1000;
/// Folders of a vault are at most this deep; a hostile server may offer deeper ones.
const FOLDERS_DEEP: usize = 3;
const FOLDERS_MOST: usize = 100_000;

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

impl Store {
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
        if listing.objects.is_empty() {
            let place = self.service.in_place().await;
            self.note(place)?;
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
        self.counters.list();
        let recursive = !has_folders(self.uri());
        let shown = if folder.is_empty() {
            "the whole prefix"
        } else {
            folder
        };
        let mut entries = match self
            .operator()?
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
}
