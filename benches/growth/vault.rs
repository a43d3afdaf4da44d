//! The vault that grows: folders of a thousand small files, made through the mount.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use coffre_benches::device::Device;
use coffre_benches::device::drop_caches;

/// Files of one folder.
pub const FOLDER: u64 = 1000;
/// Of each file, in bytes.
const LENGTH: usize = 100;

/// A vault in a local folder, and the one device that uses it.
pub struct Vault {
    device: Device,
    store: String,
    pub place: PathBuf,
    /// Files in it.
    pub files: u64,
}

impl Vault {
    /// An empty one; everything of it is in `folder`.
    pub fn create(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        let device = Device::at(&folder)?;
        let store = folder.join("store").display().to_string();
        device.coffre(&["init", &store])?;
        Ok(Self {
            device,
            store,
            place: folder.join("mount"),
            files: 0,
        })
    }

    /// With cold caches; answers which process is behind the mount.
    pub fn mount(&self) -> Result<u32> {
        drop_caches();
        self.device.mount(&self.store, &self.place, &[])
    }

    pub fn unmount(&self) -> Result<()> {
        self.on_mount("unmount")
    }

    /// Waits until everything is in the store.
    pub fn publish(&self) -> Result<()> {
        self.on_mount("sync")
    }

    fn on_mount(&self, verb: &str) -> Result<()> {
        let place = self.place.display().to_string();
        self.device.coffre(&[verb, &place]).map(drop)
    }

    /// Creates files until there are so many; it is mounted.
    pub fn grow(&mut self, files: u64) -> Result<()> {
        while self.files < files {
            let folder = self.folder(self.files / FOLDER);
            if self.files.is_multiple_of(FOLDER) {
                fs::create_dir(&folder)?;
            }
            let path = folder.join(format!("file {}", self.files % FOLDER));
            fs::write(&path, content(self.files))
                .with_context(|| format!("cannot create {}", path.display()))?;
            self.files += 1;
        }
        Ok(())
    }

    /// Lists a full folder with all attributes.
    pub fn list(&self, folder: u64) -> Result<()> {
        let mut listed = 0;
        for entry in fs::read_dir(self.folder(folder))? {
            let length = entry?.metadata()?.len();
            ensure!(length == LENGTH as u64, "a file has another length");
            listed += 1;
        }
        ensure!(listed == FOLDER, "{listed} files are listed of {FOLDER}");
        Ok(())
    }

    /// Changes one file, and compares another.
    pub fn change(&self, folder: u64, round: u64) -> Result<()> {
        let folder = self.folder(folder);
        fs::write(folder.join("file 7"), content(u64::MAX - round))?;
        ensure!(
            fs::read(folder.join("file 8"))? == content_of(&folder, 8),
            "a file holds something else"
        );
        Ok(())
    }

    fn folder(&self, folder: u64) -> PathBuf {
        self.place.join(format!("{folder:05}"))
    }
}

fn content_of(folder: &Path, file: u64) -> [u8; LENGTH] {
    let name = folder.file_name().and_then(|name| name.to_str());
    let folder: u64 = name.and_then(|name| name.parse().ok()).unwrap_or(0);
    content(folder * FOLDER + file)
}

/// Of a file; differs for each.
fn content(file: u64) -> [u8; LENGTH] {
    let mut content = [0; LENGTH];
    let mut state = file.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in &mut content {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    content
}
