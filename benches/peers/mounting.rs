//! How each system is set up, mounted and unmounted, in a folder of its own.
//!
//! ```text
//!  folder ─┬─ mount    where to work
//!          ├─ store    ciphertext
//!          └─ …        what else the system keeps on this disk
//! ```

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::rest;
use crate::system::System;

const PASSPHRASE: &str = "benchmarks need no secrets at all";
/// How long a system may take to upload what waits, and to end after it is unmounted.
const END: Duration = Duration::from_secs(120);

pub fn is_installed(system: System) -> bool {
    match system {
        System::Plain => true,
        System::Null => built("null").exists(),
        System::Coffre => coffre().exists(),
        System::Gocryptfs => quiet(Command::new("gocryptfs").arg("-version")).is_ok(),
        System::Securefs => quiet(Command::new("securefs").arg("version")).is_ok(),
        System::Cryfs => quiet(cryfs().arg("--version")).is_ok(),
        System::Encfs => quiet(Command::new("encfs").arg("--version")).is_ok(),
        System::Rclone => quiet(Command::new("rclone").arg("version")).is_ok(),
    }
}

/// Makes an empty one in `folder`.
pub fn create(system: System, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("mount"))?;
    std::fs::write(folder.join("passphrase"), format!("{PASSPHRASE}\n"))?;
    let store = folder.join("store");
    if system.is_peer() {
        std::fs::create_dir_all(&store)?;
    }
    match system {
        System::Coffre => quiet(coffre_with(folder).arg("init").arg(store)),
        System::Gocryptfs => quiet(gocryptfs_with(folder).arg("-init").arg(store)),
        System::Securefs => quiet(
            Command::new("securefs")
                .args(["create", "--pass", PASSPHRASE])
                .arg(store),
        ),
        System::Rclone => configure_rclone(folder),
        // The others are made by their first mount.
        System::Plain | System::Null | System::Cryfs | System::Encfs => Ok(()),
    }
}

/// Mounts it, for work in `mount`.
pub fn mount(system: System, folder: &Path) -> Result<()> {
    let (store, mount) = (folder.join("store"), folder.join("mount"));
    match system {
        System::Plain => return Ok(()),
        System::Null => {
            let disk = folder.join("synced");
            Command::new(built("null")).arg(&mount).arg(disk).spawn()?;
        }
        System::Coffre => quiet(coffre_with(folder).arg("mount").arg(store).arg(&mount))?,
        System::Gocryptfs => quiet(gocryptfs_with(folder).arg(store).arg(&mount))?,
        System::Securefs => quiet(
            Command::new("securefs")
                .args(["mount", "-b", "--pass", PASSPHRASE])
                .arg(store)
                .arg(&mount),
        )?,
        System::Cryfs => fed(cryfs().arg(store).arg(&mount))?,
        System::Encfs => fed(Command::new("encfs")
            .args(["--standard", "--stdinpass"])
            .arg(store)
            .arg(&mount))?,
        System::Rclone => quiet(
            rclone_with(folder)
                .args(["mount", "sealed:", "--daemon", "--vfs-cache-mode", "full"])
                // Five seconds otherwise, which would fall into the next workload.
                .args(["--vfs-write-back", "1s", "--links", "--rc"])
                .arg("--rc-addr")
                .arg(format!("unix://{}", folder.join("control").display()))
                .arg(&mount),
        )?,
    }
    wait_for_mount(&mount)
}

/// Uploads what waits, where a system can be told to; what else it does behind is waited for elsewhere.
pub fn flush(system: System, folder: &Path) -> Result<()> {
    match system {
        System::Coffre => quiet(coffre_with(folder).arg("sync").arg(folder.join("mount"))),
        System::Rclone => until_uploaded(folder),
        _ => Ok(()),
    }
}

/// Unmounts, and waits until everything is where it belongs and nobody is left.
pub fn unmount(system: System, folder: &Path) -> Result<()> {
    let mount = folder.join("mount");
    match system {
        System::Plain => return Ok(()),
        System::Coffre => quiet(coffre_with(folder).arg("unmount").arg(mount))?,
        _ => quiet(Command::new("fusermount3").arg("-u").arg(mount))?,
    }
    rest::until_ended(folder, END)?;
    if system == System::Rclone {
        // Plaintext: what is read from there next would not come out of the ciphertext.
        std::fs::remove_dir_all(folder.join("cache"))?;
    }
    Ok(())
}

/// Takes away the mount of a system that fails.
pub fn abandon(folder: &Path) {
    let mut unmount = Command::new("fusermount3");
    drop(unmount.arg("-uz").arg(folder.join("mount")).output());
}

fn gocryptfs_with(folder: &Path) -> Command {
    let mut command = Command::new("gocryptfs");
    command
        .args(["-q", "-passfile"])
        .arg(folder.join("passphrase"));
    command
}

fn cryfs() -> Command {
    let mut command = Command::new("cryfs");
    command
        .env("CRYFS_FRONTEND", "noninteractive")
        .env("CRYFS_NO_UPDATE_CHECK", "true");
    command
}

fn rclone_with(folder: &Path) -> Command {
    let mut command = Command::new("rclone");
    command.arg("--config").arg(folder.join("rclone.conf"));
    command.arg("--cache-dir").arg(folder.join("cache"));
    command
}

fn configure_rclone(folder: &Path) -> Result<()> {
    let obscured = output(Command::new("rclone").args(["obscure", PASSPHRASE]))?;
    let store = folder.join("store");
    let configuration = format!(
        "[sealed]\ntype = crypt\nremote = {}\npassword = {}\n",
        store.display(),
        obscured.trim()
    );
    Ok(std::fs::write(folder.join("rclone.conf"), configuration)?)
}

/// What is written is sealed and stored a while after it is closed.
fn until_uploaded(folder: &Path) -> Result<()> {
    let begin = Instant::now();
    loop {
        let told = output(
            Command::new("rclone")
                .arg("rc")
                .arg("--unix-socket")
                .arg(folder.join("control"))
                .arg("vfs/stats"),
        )?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let waiting = |what: &str| told["diskCache"][what].as_u64().unwrap_or(0);
        if waiting("uploadsInProgress") + waiting("uploadsQueued") == 0 {
            return Ok(());
        }
        if begin.elapsed() > END {
            bail!("rclone does not upload what it has");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn coffre_with(folder: &Path) -> Command {
    let mut command = Command::new(coffre());
    command
        .env("COFFRE_PASSPHRASE_FILE", folder.join("passphrase"))
        .env("COFFRE_STATE_DIR", folder.join("state"))
        .env("COFFRE_CACHE_DIR", folder.join("cache"));
    command
}

fn coffre() -> PathBuf {
    std::env::var_os("COFFRE_BIN").map_or_else(|| built("coffre"), PathBuf::from)
}

/// What was built together with this program.
fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name(name)
}

fn wait_for_mount(mount: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let above = mount.join("..").metadata()?.dev();
    for _ in 0..500 {
        if mount.metadata().is_ok_and(|found| found.dev() != above) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("{} is not mounted", mount.display())
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

/// Runs it; what it says is told only if it fails.
pub fn quiet(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
