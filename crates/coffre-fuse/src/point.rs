//! The place where a vault is mounted, told apart from whatever else may be mounted there later, and its end.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rustix::mount::UnmountFlags;

use crate::mount::MountError;

/// One mount: where, and the device number that the kernel gave it. Clones are the same mount.
#[derive(Debug, Clone)]
pub struct MountPoint {
    path: PathBuf,
    device: Option<String>,
}

/// What an unmount does while programs use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Refuses.
    Respected,
    /// Takes it out of the folder tree; what is open stays so.
    Outlived,
}

impl MountPoint {
    /// What is mounted there now. Looks into the kernel's table alone: a mount may not answer.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            device: device_at(path),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there.
    pub fn is_attached(&self) -> bool {
        let now = device_at(&self.path);
        now.is_some() && now == self.device
    }

    /// Unmounts if nothing uses it. The kernel hands over what it holds back before this returns.
    pub fn unmount(&self) -> Result<(), MountError> {
        if !self.is_attached() {
            return Err(MountError::Detached(self.path.clone()));
        }
        end(&self.path, Use::Respected)
    }

    /// Takes it out of the folder tree. Files that are open stay usable until they are closed.
    pub fn detach(&self) -> Result<(), MountError> {
        if !self.is_attached() {
            return Ok(());
        }
        end(&self.path, Use::Outlived)
    }

    /// Has the kernel hand over what programs wrote and it still holds back.
    pub fn flush(&self) -> io::Result<()> {
        if !self.is_attached() {
            return Ok(());
        }
        let folder = File::open(&self.path)?;
        Ok(rustix::fs::syncfs(folder)?)
    }
}

/// Unmounts what is mounted on a path; its server then ends by itself.
pub fn unmount(path: &Path) -> Result<(), MountError> {
    end(path, Use::Respected)
}

fn end(path: &Path, programs: Use) -> Result<(), MountError> {
    let failed = |source| MountError::Failed {
        path: path.to_owned(),
        source,
    };
    let (flags, option) = match programs {
        Use::Respected => (UnmountFlags::empty(), "-u"),
        Use::Outlived => (UnmountFlags::DETACH, "-uz"),
    };
    if rustix::process::geteuid().is_root() {
        return match rustix::mount::unmount(path, flags) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::BUSY) => Err(MountError::InUse(path.to_owned())),
            Err(error) => Err(failed(error.into())),
        };
    }
    let output = Command::new("fusermount3")
        .arg(option)
        .arg("--")
        .arg(path)
        .output()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.contains("busy") {
        return Err(MountError::InUse(path.to_owned()));
    }
    Err(failed(io::Error::other(words)))
}

/// The device number of the topmost mount on a folder.
fn device_at(path: &Path) -> Option<String> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let wanted = escaped(path);
    let lines = table.split(|byte| *byte == b'\n');
    let device = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let device = fields.next()?.to_vec();
        let place = fields.nth(1)?;
        (place == wanted).then_some(device)
    };
    let last = lines.filter_map(device).next_back()?;
    String::from_utf8(last).ok()
}

/// As the kernel writes a path into its table.
fn escaped(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .flat_map(|byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
            _ => vec![*byte],
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_is_read_as_it_is_written() {
        assert_eq!(escaped(Path::new("/a b\\c")), b"/a\\040b\\134c");
        let root = MountPoint::at(Path::new("/"));
        assert!(root.is_attached());
        let other = MountPoint {
            path: "/".into(),
            device: Some("no:1".into()),
        };
        assert!(!other.is_attached(), "another mount has taken the place");
        assert!(matches!(other.unmount(), Err(MountError::Detached(_))));
        let folder = tempfile::tempdir().unwrap();
        assert!(!MountPoint::at(folder.path()).is_attached());
    }
}
