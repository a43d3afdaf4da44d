//! The file systems that are compared: how each is set up on a store, mounted on a device, and brought to rest.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use coffre_benches::device;
use coffre_benches::device::Device;
use serde::Serialize;

use crate::mounted::Mounted;
use crate::rclone;
use crate::rclone::Upload;
use crate::site::Site;

const KEY: &str = "benchmark";
const SECRET: &str = "benchmarks-need-no-secrets";
const VAULT: &str = "s3://bucket/vault?region=us-east-1&endpoint=http://127.0.0.1";

/// A file system under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Coffre,
    /// `rclone mount` of a crypt remote, with a full cache.
    Rclone,
    /// Not encrypted.
    S3fs,
}

/// Over which port a mount reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The line that is measured.
    Line,
    /// Nothing: to fill the store, and to look whether all is there.
    Nothing,
}

/// How a mount is made.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// Name of the device; one that was not used yet knows nothing of the store but its address and secret.
    pub device: &'a str,
    pub over: Over,
    pub upload: Upload,
}

impl System {
    pub const ALL: [Self; 3] = [Self::Coffre, Self::Rclone, Self::S3fs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Coffre => "coffre",
            Self::Rclone => "rclone",
            Self::S3fs => "s3fs",
        }
    }

    pub fn is_installed(self) -> bool {
        let runs = |program: &str| {
            let mut command = Command::new(program);
            command.arg("--version").stdout(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        match self {
            Self::Coffre => device::program().exists(),
            Self::Rclone => runs("rclone"),
            Self::S3fs => runs("s3fs"),
        }
    }

    /// Makes an empty one in a store; what its devices keep is in `folder`.
    pub fn create(self, site: &Site, folder: &Path) -> Result<()> {
        match self {
            Self::Coffre => {
                let vault = format!("{VAULT}:{}", site.near());
                device(&folder.join("creator"))?.coffre(&["init", &vault])?;
            }
            Self::Rclone => std::fs::create_dir_all(folder)?,
            Self::S3fs => {
                std::fs::create_dir_all(folder)?;
                let password = folder.join("password");
                std::fs::write(&password, format!("{KEY}:{SECRET}\n"))?;
                // It refuses a file that others may read.
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(password, mode)?;
            }
        }
        Ok(())
    }

    /// Mounts it on a device.
    pub fn mount(self, site: &Site, folder: &Path, how: How<'_>) -> Result<Mounted> {
        let home = std::path::absolute(folder)?.join(how.device);
        let place = home.join("mount");
        std::fs::create_dir_all(&place)?;
        let port = match how.over {
            Over::Line => site.far(),
            Over::Nothing => site.near(),
        };
        match self {
            Self::Coffre => {
                let device = device(&home)?;
                let pid = device.mount(&format!("{VAULT}:{port}"), &place, &[])?;
                Ok(Mounted::vault(place, device, pid))
            }
            Self::Rclone => {
                let mut command = rclone::mount(&home, port, (KEY, SECRET), how.upload)?;
                let child = started(&mut command, &home, &place)?;
                Ok(Mounted::rclone(place, home, child))
            }
            Self::S3fs => {
                let password = folder.join("password");
                let mut command = Command::new("s3fs");
                command.args(["bucket", "-f"]).arg(&place).arg("-o").arg(format!(
                    "url=http://127.0.0.1:{port},use_path_request_style,endpoint=us-east-1,passwd_file={}",
                    std::path::absolute(password)?.display()
                ));
                let child = started(&mut command, &home, &place)?;
                Ok(Mounted::s3fs(place, child))
            }
        }
    }
}

fn device(home: &Path) -> Result<Device> {
    Ok(Device::at(home)?
        .with("AWS_ACCESS_KEY_ID", KEY)
        .with("AWS_SECRET_ACCESS_KEY", SECRET))
}

/// Starts a peer in the foreground, and waits until its mount is there.
fn started(command: &mut Command, home: &Path, place: &Path) -> Result<std::process::Child> {
    let log = home.join("log");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log)?)
        .stderr(std::fs::File::options().append(true).open(&log)?)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        if is_mounted(place) {
            return Ok(child);
        }
        if let Some(status) = child.try_wait()? {
            let words = std::fs::read_to_string(log)?;
            bail!("{command:?}: {status}: {}", words.trim());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    bail!("{} is not mounted", place.display())
}

fn is_mounted(place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|found| found.dev()).ok();
    let above = place.parent().and_then(device);
    device(place).is_some_and(|here| Some(here) != above)
}
