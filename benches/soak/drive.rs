//! The drive under test: a vault, mounted by the real command.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::plan::Plan;

/// Of the kernel's counters in one second, on every Linux.
const TICKS: f64 = 100.0;

/// A vault that is mounted.
pub struct Drive {
    folder: PathBuf,
    store: String,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The process behind the mount.
    pub pid: u32,
}

impl Drive {
    /// Mounts the vault of a run, creating it the first time.
    pub fn mount(folder: &Path, plan: &Plan) -> Result<Self> {
        let store = plan.store.as_deref();
        let local = folder.join("store");
        let mut drive = Self {
            folder: folder.to_owned(),
            store: store.map_or_else(|| local.display().to_string(), str::to_owned),
            mount: folder.join("mount"),
            pid: 0,
        };
        // A run that was stopped may have left its mount.
        drop(drive.coffre(&["unmount", &drive.mount.display().to_string()]));
        std::fs::create_dir_all(&drive.mount)?;
        let passphrase = folder.join("passphrase");
        if !passphrase.exists() {
            std::fs::write(&passphrase, "a soak needs no secrets at all\n")?;
            drive.coffre(&["init", &drive.store])?;
        }
        let place = drive.mount.display().to_string();
        let (memory, queue) = (plan.memory.to_string(), plan.queue.to_string());
        let bounds = ["--memory", &memory, "--queue-size", &queue];
        let told =
            drive.coffre(&[&["--json", "mount", &drive.store, &place], &bounds[..]].concat())?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let pid = told["pid"]
            .as_u64()
            .context("the mount does not tell its process")?;
        drive.pid = u32::try_from(pid)?;
        Ok(drive)
    }

    /// Unmounts; everything is in the store then.
    pub fn unmount(&self) -> Result<()> {
        self.coffre(&["unmount", &self.mount.display().to_string()])
            .map(drop)
    }

    /// Every invariant of what is in the store.
    pub fn check(&self) -> Result<()> {
        self.coffre(&["check", &self.store]).map(drop)
    }

    /// Seconds of a processor that the process behind the mount has taken.
    pub fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS
    }

    /// Journal, open packs, outbox.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// The store, where it is a folder.
    pub fn local_store(&self) -> Option<PathBuf> {
        Some(PathBuf::from(&self.store)).filter(|path| path.is_absolute())
    }

    fn coffre(&self, arguments: &[&str]) -> Result<String> {
        let built =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let program = std::env::var_os("COFFRE_BIN")
            .map_or_else(|| built.join("release/coffre"), PathBuf::from);
        let output = Command::new(&program)
            .args(arguments)
            .env("COFFRE_PASSPHRASE_FILE", self.folder.join("passphrase"))
            .env("COFFRE_STATE_DIR", self.state())
            .env("COFFRE_CACHE_DIR", self.cache())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("coffre {}: {}", arguments.join(" "), words.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Makes the kernel ask the drive again for names, attributes and content.
pub fn drop_caches() {
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_err() {
        eprintln!("caches stay warm: only root may drop them");
    }
}
