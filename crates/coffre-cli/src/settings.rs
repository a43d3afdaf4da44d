//! Global flags, profiles, and where a vault's folders on this machine are.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use coffre::Error;
use coffre::fs::Options;
use coffre::fs::Queue;
use coffre::store::Store;
use coffre::store::StoreUri;
use coffre::vault::StateDir;
use etcetera::base_strategy::BaseStrategy;
use etcetera::base_strategy::Xdg;
use serde::Deserialize;

use crate::exit;
use crate::exit::Failure;
use crate::output::Output;
use crate::units;

/// Flags that every verb takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print JSON: one object, or one per line
    #[arg(long, global = true)]
    pub json: bool,
    /// No notes and no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell more on standard error (twice: everything); COFFRE_LOG takes a filter instead
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Read the passphrase from this file
    #[arg(
        long,
        global = true,
        value_name = "F",
        env = "COFFRE_PASSPHRASE_FILE",
        hide_env_values = true
    )]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from what this command prints
    #[arg(long, global = true, value_name = "C")]
    pub passphrase_command: Option<String>,
    /// Open with this key file, alone or beside a passphrase
    #[arg(long, global = true, value_name = "F")]
    pub key_file: Option<PathBuf>,
    /// Folder for what this machine remembers of its vaults [default: $XDG_STATE_HOME/coffre]
    #[arg(long, global = true, value_name = "D", env = "COFFRE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder for cached sealed data [default: $XDG_CACHE_HOME/coffre]
    #[arg(long, global = true, value_name = "D", env = "COFFRE_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
}

/// A vault as `config.toml` describes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Where the vault is.
    pub url: String,
    /// Options of the store's service; may hold credentials.
    pub options: BTreeMap<String, String>,
    /// See the global flag.
    pub passphrase_file: Option<PathBuf>,
    /// See the global flag.
    pub passphrase_command: Option<String>,
    /// See the global flag.
    pub key_file: Option<PathBuf>,
    /// See the global flag.
    pub state_dir: Option<PathBuf>,
    /// See the global flag.
    pub cache_dir: Option<PathBuf>,
    /// Bound of the local cache, as `--cache-size`.
    pub cache_size: Option<String>,
    /// Bound of what waits for its upload, as `--queue-size`.
    pub queue_size: Option<String>,
    /// Bound of memory, as `--memory`.
    pub memory: Option<String>,
}

impl Profile {
    fn uri(&self) -> anyhow::Result<StoreUri> {
        let mut uri = StoreUri::parse(&expand_home(&self.url)?)?;
        for (key, value) in &self.options {
            uri = uri.with_option(key, value);
        }
        Ok(uri)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    profile: BTreeMap<String, Profile>,
}

/// What a verb works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Flags as given.
    pub global: Global,
    /// Where results go.
    pub output: Output,
}

/// A vault that the user named, and its folders.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where its objects are.
    pub uri: StoreUri,
    /// As the user wrote it, for messages.
    pub written: String,
    /// Settings of its profile; empty without one.
    pub profile: Profile,
    /// Root of the state folders.
    pub state_root: PathBuf,
    /// Root of the cache folders.
    cache_root: PathBuf,
}

impl Context {
    /// Finds out what VAULT means: a profile's name, a URI or a local path.
    pub fn target(&self, vault: &str) -> anyhow::Result<Target> {
        let profile = profiles()?.remove(vault);
        let known = profile.is_some();
        let profile = profile.unwrap_or_default();
        let uri = if known {
            profile.uri()?
        } else {
            StoreUri::parse(&expand_home(vault)?)?
        };
        let state = self.global.state_dir.clone();
        let cache = self.global.cache_dir.clone();
        Ok(Target {
            uri,
            written: vault.to_owned(),
            state_root: match state.or_else(|| profile.state_dir.clone()) {
                Some(folder) => absolute(&folder)?,
                None => self.state_root()?,
            },
            cache_root: match cache.or_else(|| profile.cache_dir.clone()) {
                Some(folder) => absolute(&folder)?,
                None => folders()?.cache_dir().join("coffre"),
            },
            profile,
        })
    }

    /// Root of the state folders of vaults without a folder of their own in a profile.
    pub fn state_root(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.global.state_dir {
            return absolute(folder);
        }
        let folders = folders()?;
        let state = folders.state_dir();
        Ok(state.unwrap_or_else(|| folders.data_dir()).join("coffre"))
    }
}

impl Target {
    /// The address as its profile has it now, with the credentials that are there now; `None` without a profile.
    pub fn uri_now(&self) -> anyhow::Result<Option<StoreUri>> {
        match profiles()?.get(&self.written) {
            Some(profile) => profile.uri().map(Some),
            None => Ok(None),
        }
    }

    /// The vault's folder on this machine.
    pub fn state(&self) -> PathBuf {
        StateDir::locate(&self.state_root, &self.uri)
    }

    /// Its cache folder.
    pub fn cache(&self) -> PathBuf {
        let state = self.state();
        self.cache_root
            .join(state.file_name().unwrap_or(state.as_os_str()))
    }

    /// Its store, to look for a vault in; a local folder that is not there is not made by looking.
    pub fn store(&self) -> anyhow::Result<Store> {
        match self.uri.local_path() {
            Some(folder) if !folder.exists() => Err(Error::NoVault {
                location: self.uri.canonical().to_owned(),
            }
            .into()),
            _ => Ok(Store::open(&self.uri)?),
        }
    }

    /// Bound of the cache: a vault in a local folder needs none.
    pub fn cache_size(&self, flag: Option<u64>) -> anyhow::Result<u64> {
        let default = if self.uri.local_path().is_some() {
            0
        } else {
            Options::CACHE
        };
        setting(flag, self.profile.cache_size.as_deref(), default)
    }

    /// Bound of what waits on this disk for its upload.
    pub fn queue(&self, flag: Option<u64>) -> anyhow::Result<Queue> {
        if flag.is_none() && self.profile.queue_size.is_none() {
            return Ok(Queue::Disk);
        }
        let size = setting(flag, self.profile.queue_size.as_deref(), 0)?;
        Ok(Queue::Bytes(size))
    }

    /// Bound of memory; one that could not be kept is refused.
    pub fn memory(&self, flag: Option<u64>) -> anyhow::Result<u64> {
        let memory = setting(flag, self.profile.memory.as_deref(), Options::MEMORY)?;
        if memory < Options::MEMORY_LEAST {
            let what = format!(
                "a bound of {} of memory cannot be kept; give at least {}",
                units::size(memory),
                units::size(Options::MEMORY_LEAST)
            );
            return Err(Error::Usage(what).into());
        }
        Ok(memory)
    }
}

fn setting(flag: Option<u64>, profile: Option<&str>, default: u64) -> anyhow::Result<u64> {
    match (flag, profile) {
        (Some(flag), _) => Ok(flag),
        (None, Some(text)) => units::parse_size(text).map_err(|why| Error::Usage(why).into()),
        (None, None) => Ok(default),
    }
}

/// The user's folders, by the XDG rules.
pub fn folders() -> anyhow::Result<Xdg> {
    Xdg::new().map_err(|_| {
        Failure::error(
            exit::FAILED,
            "the home folder is not known; set HOME, or --state-dir and --cache-dir",
        )
    })
}

fn profiles() -> anyhow::Result<BTreeMap<String, Profile>> {
    let Ok(folders) = folders() else {
        return Ok(BTreeMap::new());
    };
    let path = folders.config_dir().join("coffre").join("config.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io("read", &path, error).into()),
    };
    // The parser's message shows the line, which may hold a credential: only the place is told.
    let file: File = toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        Failure::error(
            exit::USAGE,
            format!("{} line {line}: {}", path.display(), error.message()),
        )
    })?;
    if let Some((name, _)) = file
        .profile
        .iter()
        .find(|(_, profile)| profile.url.is_empty())
    {
        let path = path.display();
        return Err(Failure::error(
            exit::USAGE,
            format!("{path}: profile {name} has no url"),
        ));
    }
    Ok(file.profile)
}

/// `~/…` where no shell has expanded it (profiles).
fn expand_home(url: &str) -> anyhow::Result<String> {
    let Some(rest) = url.strip_prefix("~/") else {
        return Ok(url.to_owned());
    };
    let path = folders()?.home_dir().join(rest);
    path.into_os_string()
        .into_string()
        .ok()
        .context("the home folder's path is not UTF-8")
}

/// The daemon leaves the current folder, so every path is made independent of it.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io("resolve", path, error).into())
}
