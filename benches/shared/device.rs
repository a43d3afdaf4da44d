//! A device with a drive: the real command, run with a passphrase, a state folder and a cache of its own.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// What one device keeps, and how the command is run on it.
pub struct Device {
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Device {
    /// The device that keeps its things in a folder; a new one knows only the passphrase.
    pub fn at(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let passphrase = folder.join("passphrase");
        if !passphrase.exists() {
            std::fs::write(passphrase, "benchmarks need no secrets at all\n")?;
        }
        Ok(Self {
            folder: std::path::absolute(folder)?,
            environment: Vec::new(),
        })
    }

    /// With a variable in the environment of the command.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Mounts a vault; answers which process is behind the mount.
    pub fn mount(&self, vault: &str, place: &Path, flags: &[&str]) -> Result<u32> {
        std::fs::create_dir_all(place)?;
        let place = place.display().to_string();
        let told = self.coffre(&[&["--json", "mount", vault, &place], flags].concat())?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let pid = told["pid"]
            .as_u64()
            .context("the mount does not tell its process")?;
        Ok(u32::try_from(pid)?)
    }

    /// Runs the command; answers what it printed.
    pub fn coffre(&self, arguments: &[&str]) -> Result<String> {
        let program = program();
        let output = Command::new(&program)
            .args(arguments)
            .env("COFFRE_PASSPHRASE_FILE", self.folder.join("passphrase"))
            .env("COFFRE_STATE_DIR", self.state())
            .env("COFFRE_CACHE_DIR", self.cache())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("coffre {}: {}", arguments.join(" "), words.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Journal, open packs, outbox.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Sealed ranges of packs.
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }
}

/// The command under test.
pub fn program() -> PathBuf {
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::env::var_os("COFFRE_BIN").map_or_else(|| built.join("release/coffre"), PathBuf::from)
}

/// Makes the kernel ask the file system again for names, attributes and content.
pub fn drop_caches() {
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_err() {
        eprintln!("caches stay warm: only root may drop them");
    }
}
