//! The file systems that are compared: how each is set up, mounted and unmounted.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// A file system under test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// The disk itself.
    Plain,
    /// This drive, its store in a local folder.
    Coffre,
    /// gocryptfs, its ciphertext on the same disk.
    Gocryptfs,
}

impl System {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Coffre, Self::Gocryptfs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain folder",
            Self::Coffre => "coffre",
            Self::Gocryptfs => "gocryptfs",
        }
    }

    pub fn is_installed(self) -> bool {
        match self {
            Self::Plain => true,
            Self::Coffre => coffre().exists(),
            Self::Gocryptfs => quiet(&mut Command::new("gocryptfs").arg("-version")).is_ok(),
        }
    }

    /// Makes an empty one in `folder`.
    pub fn create(self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder.join("mount"))?;
        std::fs::write(
            folder.join("passphrase"),
            "benchmarks need no secrets at all\n",
        )?;
        match self {
            Self::Plain => Ok(()),
            Self::Coffre => quiet(coffre_with(folder).arg("init").arg(folder.join("store"))),
            Self::Gocryptfs => {
                std::fs::create_dir_all(folder.join("store"))?;
                quiet(
                    Command::new("gocryptfs")
                        .args(["-init", "-q", "-passfile"])
                        .arg(folder.join("passphrase"))
                        .arg(folder.join("store")),
                )
            }
        }
    }

    /// Mounts it; answers where to work.
    pub fn mount(self, folder: &Path) -> Result<PathBuf> {
        let mount = folder.join("mount");
        match self {
            Self::Plain => {}
            Self::Coffre => quiet(
                coffre_with(folder)
                    .arg("mount")
                    .arg(folder.join("store"))
                    .arg(&mount),
            )?,
            Self::Gocryptfs => quiet(
                Command::new("gocryptfs")
                    .args(["-q", "-passfile"])
                    .arg(folder.join("passphrase"))
                    .arg(folder.join("store"))
                    .arg(&mount),
            )?,
        }
        Ok(mount)
    }

    /// Unmounts, and waits until everything is where it belongs.
    pub fn unmount(self, folder: &Path) -> Result<()> {
        match self {
            Self::Plain => Ok(()),
            Self::Coffre => quiet(coffre_with(folder).arg("unmount").arg(folder.join("mount"))),
            Self::Gocryptfs => quiet(
                Command::new("fusermount3")
                    .arg("-u")
                    .arg(folder.join("mount")),
            ),
        }
    }
}

/// Forgets what the kernel has cached, where that is allowed.
pub fn drop_caches() {
    rustix_sync();
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_err() {
        eprintln!("caches stay warm: only root may drop them");
    }
}

fn rustix_sync() {
    drop(Command::new("sync").status());
}

fn coffre() -> PathBuf {
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::env::var_os("COFFRE_BIN").map_or_else(|| built.join("release/coffre"), PathBuf::from)
}

fn coffre_with(folder: &Path) -> Command {
    let mut command = Command::new(coffre());
    command
        .env("COFFRE_PASSPHRASE_FILE", folder.join("passphrase"))
        .env("COFFRE_STATE_DIR", folder.join("state"))
        .env("COFFRE_CACHE_DIR", folder.join("cache"));
    command
}

fn quiet(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
