//! A vault's store and the machines that use it, each with a state folder of its own.

use std::path::Path;
use std::path::PathBuf;

use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::store::Store;
use coffre::store::StoreUri;
use coffre::vault::Access;
use coffre::vault::Setup;
use coffre::vault::StateDir;
use coffre::vault::Vault;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::Secret;

pub const PASSPHRASE: &str = "correct horse battery staple";

/// A store, and folders for the state and caches of machines.
pub struct World {
    pub dir: tempfile::TempDir,
    pub uri: StoreUri,
}

pub fn secret() -> Secret {
    Secret::Passphrase(Passphrase::new(PASSPHRASE.as_bytes()).unwrap())
}

impl World {
    /// With a store in a local folder.
    pub fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uri = StoreUri::local(&dir.path().join("store"));
        Self { dir, uri }
    }

    /// With a store elsewhere.
    pub fn at(uri: StoreUri) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            uri,
        }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.uri).unwrap()
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub fn state_root(&self, machine: &str) -> PathBuf {
        self.dir.path().join(machine).join("state")
    }

    pub fn cache(&self, machine: &str) -> PathBuf {
        self.dir.path().join(machine).join("cache")
    }

    pub fn state(&self, machine: &str, access: Access) -> StateDir {
        StateDir::open(&self.state_root(machine), &self.uri, access).unwrap()
    }

    /// Creates the vault on a machine.
    pub async fn create(&self, machine: &str) -> Vault {
        let setup = Setup {
            secrets: vec![(secret(), "test".into())],
            kdf: KdfParams::FLOOR,
            device_name: machine.into(),
            uid: 0,
            gid: 0,
        };
        Vault::make(self.store(), self.state(machine, Access::ReadWrite), setup)
            .await
            .unwrap()
    }

    pub async fn open(&self, machine: &str, access: Access) -> coffre::Result<Vault> {
        Vault::unlock(self.store(), self.state(machine, access), &secret(), access).await
    }

    pub fn options(&self, machine: &str, access: Access) -> Options {
        Options {
            memory: 256 << 20,
            cache: 1 << 30,
            ..Options::new(access, self.cache(machine), false)
        }
    }

    /// Opens the file system on a machine.
    pub async fn files(&self, machine: &str) -> Volume {
        let vault = self.open(machine, Access::ReadWrite).await.unwrap();
        Volume::open(vault, self.options(machine, Access::ReadWrite))
            .await
            .unwrap()
    }

    /// Forgets everything a machine knows.
    pub fn forget(&self, machine: &str) {
        let _ = std::fs::remove_dir_all(self.dir.path().join(machine));
    }
}

/// A copy of a folder of plain files.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}
