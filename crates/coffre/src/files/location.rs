//! Where a vault is, and where this machine keeps what it remembers of it.

use std::path::PathBuf;
use std::time::Duration;

use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Secret;
use etcetera::base_strategy::BaseStrategy;
use etcetera::base_strategy::Xdg;

use crate::error::Error;
use crate::error::Result;
use crate::fs::Options;
use crate::store::Store;
use crate::store::StoreUri;
use crate::vault::Access;
use crate::vault::Setup;
use crate::vault::StateDir;
use crate::vault::Vault;

/// How long opening waits for a process that has the vault open.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address of a vault, with what opening it needs beside a secret.
#[derive(Debug, Clone)]
pub struct Location {
    uri: StoreUri,
    state_root: Option<PathBuf>,
    access: Access,
    kdf: KdfParams,
}

impl Vault {
    /// A vault at this address: a path, or a URI as `s3://bucket/prefix?region=eu-west-3`. Nothing is touched yet.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no address.
    ///
    /// ```
    /// # fn example() -> coffre::Result<()> {
    /// let location = coffre::Vault::at("s3://my-bucket/coffre?region=eu-west-3")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(address: &str) -> Result<Location> {
        Ok(Location {
            uri: StoreUri::parse(address)?,
            state_root: None,
            access: Access::ReadWrite,
            kdf: KdfParams::DEFAULT,
        })
    }

    /// Unlocks the vault at this address, with the usual settings. Deriving the key takes 256 MiB and about a second.
    ///
    /// ```
    /// # async fn example(secret: coffre::Secret) -> coffre::Result<()> {
    /// let vault = coffre::Vault::open("/mnt/disk/coffre", &secret).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(address: &str, secret: &Secret) -> Result<Self> {
        Self::at(address)?.open(secret).await
    }

    /// Makes a vault at this address, where nothing may be yet, and opens it.
    ///
    /// ```
    /// # async fn example(secret: coffre::Secret) -> coffre::Result<()> {
    /// let vault = coffre::Vault::create("/mnt/disk/coffre", secret).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(address: &str, secret: Secret) -> Result<Self> {
        Self::at(address)?.create(vec![secret]).await
    }
}

impl Location {
    /// Sets an option of the store's service, credentials for one; as OpenDAL calls them (`access_key_id`, …).
    ///
    /// ```
    /// # fn example() -> coffre::Result<()> {
    /// let location = coffre::Vault::at("s3://my-bucket/coffre")?
    ///     .option("region", "eu-west-3")
    ///     .option("access_key_id", "…");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn option(mut self, key: &str, value: &str) -> Self {
        self.uri = self.uri.with_option(key, value);
        self
    }

    /// The folder for what this machine remembers of its vaults, and for what waits for its upload
    /// [default: `$XDG_STATE_HOME/coffre`]. Keep it: it is how a rollback is noticed.
    ///
    /// ```
    /// # fn example() -> coffre::Result<()> {
    /// let location = coffre::Vault::at("/mnt/disk/coffre")?.state_dir("/var/lib/coffre");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_root = Some(folder.into());
        self
    }

    /// Opens for reading only: nothing is written to the store. Other machines may have the vault open meanwhile, and so may
    /// other readers of this one.
    ///
    /// ```
    /// # async fn example(secret: coffre::Secret) -> coffre::Result<()> {
    /// let vault = coffre::Vault::at("/mnt/disk/coffre")?.read_only().open(&secret).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// What deriving a key from a passphrase costs, in a vault that is made.
    ///
    /// ```
    /// # fn example() -> coffre::Result<()> {
    /// let location = coffre::Vault::at("/mnt/disk/coffre")?.kdf(coffre::KdfParams::FLOOR);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn kdf(mut self, kdf: KdfParams) -> Self {
        self.kdf = kdf;
        self
    }

    /// Unlocks the vault.
    ///
    /// # Errors
    /// [`Error::NoVault`], [`Error::WrongSecret`], [`Error::Busy`] where another process has it open for writing,
    /// [`Error::Rollback`] where the store offers less than this machine has seen, and what store or disk say.
    ///
    /// ```
    /// # async fn example(secret: coffre::Secret) -> coffre::Result<()> {
    /// let vault = coffre::Vault::at("/mnt/disk/coffre")?.open(&secret).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(&self, secret: &Secret) -> Result<Vault> {
        let absent = self.uri.local_path().is_some_and(|folder| !folder.exists());
        if absent {
            return Err(Error::NoVault {
                location: self.uri.canonical().to_owned(),
            });
        }
        let state = self.state(self.access).await?;
        Vault::unlock(Store::open(&self.uri)?, state, secret, self.access).await
    }

    /// Makes a vault that each of these secrets opens.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] where something is already, and what store or disk say.
    ///
    /// ```
    /// # async fn example(secret: coffre::Secret) -> coffre::Result<()> {
    /// let code = coffre::RecoveryCode::generate().map_err(coffre::Error::Secret)?;
    /// println!("keep this on paper: {}", *code.to_text());
    /// let secrets = vec![secret, coffre::Secret::Recovery(code)];
    /// let vault = coffre::Vault::at("/mnt/disk/coffre")?.create(secrets).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, secrets: Vec<Secret>) -> Result<Vault> {
        let state = self.state(Access::ReadWrite).await?;
        let device_name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let label = |secret: Secret| {
            let label = match &secret {
                Secret::Passphrase(_) => "passphrase",
                Secret::PassphraseAndKeyFile(..) => "passphrase and key file",
                Secret::Recovery(_) => "recovery code",
                Secret::KeyFile(_) => "key file",
            };
            (secret, label.to_owned())
        };
        let setup = Setup {
            secrets: secrets.into_iter().map(label).collect(),
            kdf: self.kdf,
            device_name,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        Vault::make(Store::open(&self.uri)?, state, setup).await
    }

    /// Locks the folder, waiting a little for one who is just leaving it.
    async fn state(&self, access: Access) -> Result<StateDir> {
        let (root, uri) = (self.state_root()?, self.uri.clone());
        let lock = move || StateDir::open_waiting(&root, &uri, access, PATIENCE);
        let locked = tokio::task::spawn_blocking(lock).await;
        locked.unwrap_or_else(|error| Err(Error::io("lock", "state", std::io::Error::other(error))))
    }

    fn state_root(&self) -> Result<PathBuf> {
        match &self.state_root {
            Some(folder) => Ok(folder.clone()),
            None => {
                let folders = folders()?;
                let state = folders.state_dir();
                Ok(state.unwrap_or_else(|| folders.data_dir()).join("coffre"))
            }
        }
    }
}

impl Vault {
    /// The usual settings for this vault, to be changed for [`files_with`](Self::files_with).
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no home folder to keep a cache in.
    ///
    /// ```
    /// # async fn example(vault: coffre::Vault) -> coffre::Result<()> {
    /// let mut options = vault.options()?;
    /// options.cache = 1 << 30; // bytes
    /// let files = vault.files_with(options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn options(&self) -> Result<Options> {
        let name = self.state().path().file_name().unwrap_or_default();
        let local = self.store().uri().local_path().is_some();
        // Not asked for where there is none to be found.
        let cache_dir = match local {
            true => self.state().path().join("cache"),
            false => folders()?.cache_dir().join("coffre").join(name),
        };
        Ok(Options::new(self.access(), cache_dir, local))
    }
}

/// The user's folders, by the XDG rules.
fn folders() -> Result<Xdg> {
    Xdg::new().map_err(|_| {
        Error::Usage("the home folder is not known; set HOME, or name the folders".to_owned())
    })
}
