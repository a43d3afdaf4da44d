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
    /// A FUSE file system that keeps no content: the limit.
    Null,
    /// This drive, its store in a local folder.
    Coffre,
    /// Peers, their ciphertext on the same disk.
    Gocryptfs,
    Securefs,
    Cryfs,
    Encfs,
}

impl System {
    pub const ALL: [Self; 7] = [
        Self::Plain,
        Self::Null,
        Self::Coffre,
        Self::Gocryptfs,
        Self::Securefs,
        Self::Cryfs,
        Self::Encfs,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain folder",
            Self::Null => "null",
            Self::Coffre => "coffre",
            Self::Gocryptfs => "gocryptfs",
            Self::Securefs => "securefs",
            Self::Cryfs => "CryFS",
            Self::Encfs => "EncFS",
        }
    }

    /// Whether it is what coffre is compared with.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Plain | Self::Null | Self::Coffre)
    }

    /// Whether it gives back what was written.
    pub fn keeps_content(self) -> bool {
        self != Self::Null
    }

    pub fn is_installed(self) -> bool {
        match self {
            Self::Plain => true,
            Self::Null => built("null").exists(),
            Self::Coffre => coffre().exists(),
            Self::Gocryptfs => quiet(Command::new("gocryptfs").arg("-version")).is_ok(),
            Self::Securefs => quiet(Command::new("securefs").arg("version")).is_ok(),
            Self::Cryfs => quiet(cryfs().arg("--version")).is_ok(),
            Self::Encfs => quiet(Command::new("encfs").arg("--version")).is_ok(),
        }
    }

    /// Makes an empty one in `folder`.
    pub fn create(self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder.join("mount"))?;
        std::fs::write(folder.join("passphrase"), format!("{PASSPHRASE}\n"))?;
        if !matches!(self, Self::Plain | Self::Null | Self::Coffre) {
            std::fs::create_dir_all(folder.join("store"))?;
        }
        match self {
            Self::Coffre => quiet(coffre_with(folder).arg("init").arg(folder.join("store"))),
            Self::Gocryptfs => quiet(
                Command::new("gocryptfs")
                    .args(["-init", "-q", "-passfile"])
                    .arg(folder.join("passphrase"))
                    .arg(folder.join("store")),
            ),
            Self::Securefs => quiet(
                Command::new("securefs")
                    .args(["create", "--pass", PASSPHRASE])
                    .arg(folder.join("store")),
            ),
            // The others are made by their first mount.
            Self::Plain | Self::Null | Self::Cryfs | Self::Encfs => Ok(()),
        }
    }

    /// Mounts it; answers where to work.
    pub fn mount(self, folder: &Path) -> Result<PathBuf> {
        let (store, mount) = (folder.join("store"), folder.join("mount"));
        match self {
            Self::Plain => {}
            Self::Null => {
                Command::new(built("null"))
                    .arg(&mount)
                    .arg(folder.join("synced"))
                    .spawn()?;
                wait_for_mount(&mount)?;
            }
            Self::Coffre => quiet(coffre_with(folder).arg("mount").arg(store).arg(&mount))?,
            Self::Gocryptfs => quiet(
                Command::new("gocryptfs")
                    .args(["-q", "-passfile"])
                    .arg(folder.join("passphrase"))
                    .arg(store)
                    .arg(&mount),
            )?,
            Self::Securefs => {
                quiet(
                    Command::new("securefs")
                        .args(["mount", "-b", "--pass", PASSPHRASE])
                        .arg(store)
                        .arg(&mount),
                )?;
                wait_for_mount(&mount)?;
            }
            Self::Cryfs => fed(cryfs().arg(store).arg(&mount))?,
            Self::Encfs => fed(Command::new("encfs")
                .args(["--standard", "--stdinpass"])
                .arg(std::path::absolute(store)?)
                .arg(std::path::absolute(&mount)?))?,
        }
        Ok(mount)
    }

    /// Unmounts, and waits until everything is where it belongs.
    pub fn unmount(self, folder: &Path) -> Result<()> {
        let mount = folder.join("mount");
        match self {
            Self::Plain => Ok(()),
            Self::Coffre => quiet(coffre_with(folder).arg("unmount").arg(mount)),
            _ => quiet(Command::new("fusermount3").arg("-u").arg(mount)),
        }
    }
}

const PASSPHRASE: &str = "benchmarks need no secrets at all";

fn cryfs() -> Command {
    let mut command = Command::new("cryfs");
    command
        .env("CRYFS_FRONTEND", "noninteractive")
        .env("CRYFS_NO_UPDATE_CHECK", "true");
    command
}

/// Runs it with the passphrase on standard input.
fn fed(command: &mut Command) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        std::io::Write::write_all(&mut input, format!("{PASSPHRASE}\n").as_bytes())?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

fn wait_for_mount(mount: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let above = mount.join("..").metadata()?.dev();
    for _ in 0..500 {
        if mount.metadata().is_ok_and(|found| found.dev() != above) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    bail!("{} is not mounted", mount.display())
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

fn built(name: &str) -> PathBuf {
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    built.join("release").join(name)
}

fn coffre() -> PathBuf {
    std::env::var_os("COFFRE_BIN").map_or_else(|| built("coffre"), PathBuf::from)
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
