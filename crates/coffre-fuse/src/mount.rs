//! Mounting and unmounting, and what can be wrong with a mount point.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use coffre::fs::Invalidation;
use coffre::fs::Volume;
use fuser::BackgroundSession;
use fuser::INodeNo;
use fuser::Notifier;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use tokio::runtime::Handle;

use crate::kernel;
use crate::kernel::AllowOther;
use crate::kernel::MountOptions;
use crate::point::MountPoint;
use crate::requests::Requests;

/// Why a vault could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The folder is not there.
    #[error("{0} does not exist; create it with `mkdir -p {0}`")]
    NoMountPoint(PathBuf),
    /// It is a file.
    #[error("{0} is not a folder; choose an empty folder to mount on")]
    NotAFolder(PathBuf),
    /// Something is in it.
    #[error("{0} is not empty; choose an empty folder to mount on, so that nothing is hidden")]
    NotEmpty(PathBuf),
    /// A mount is there, or its server died.
    #[error("something is mounted on {0} already; unmount it with `fusermount3 -u {0}`")]
    AlreadyMounted(PathBuf),
    /// The kernel has no FUSE.
    #[error(
        "/dev/fuse is missing: load the fuse module (`modprobe fuse`), or in a container pass `--device /dev/fuse --cap-add SYS_ADMIN`; `coffre ls`, `get` and `put` work without it"
    )]
    NoFuse,
    /// Ordinary users need a helper.
    #[error("fusermount3 is missing, which mounts for ordinary users; install the package fuse3")]
    NoHelper,
    /// The administrator does not allow it.
    #[error(
        "other users may not look into mounts of ordinary users; add `user_allow_other` to /etc/fuse.conf, or leave --allow-other out"
    )]
    AllowOtherRefused,
    /// Programs use it.
    #[error("{0} is in use; close the programs that work in it (`fuser -m {0}` lists them)")]
    InUse(PathBuf),
    /// Somebody unmounted it lazily while programs used it.
    #[error(
        "{0} is unmounted already, but programs still have files of it open; it ends when the last of them is closed"
    )]
    Detached(PathBuf),
    /// Everything else.
    #[error("cannot mount on {path}: {source}")]
    Failed {
        /// The mount point.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A mounted vault.
pub struct Mount {
    session: BackgroundSession,
    point: MountPoint,
}

impl Mount {
    /// Mounts a file system on an empty folder. Returns when it is usable.
    pub fn start(
        filesystem: Volume,
        path: &Path,
        options: MountOptions,
        runtime: Handle,
    ) -> Result<Self, MountError> {
        check_mount_point(path, options.allow_other)?;
        let failed = |source| MountError::Failed {
            path: path.to_owned(),
            source,
        };
        let place = path.canonicalize().map_err(failed)?;
        let notifier = Arc::new(OnceLock::new());
        let requests = Requests::new(filesystem.for_kernel(), runtime.clone(), notifier.clone());
        let session = fuser::Session::new(requests, path, &kernel::config("coffre", options))
            .map_err(|source| explain(path, source))?;
        let session = session.spawn().map_err(failed)?;
        // Set here and nowhere else.
        drop(notifier.set(session.notifier()));
        kernel::widen_readahead(path);
        spawn_invalidations(filesystem, session.notifier(), runtime);
        Ok(Self {
            session,
            point: MountPoint::at(&place),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// The place, to end it from.
    pub fn point(&self) -> MountPoint {
        self.point.clone()
    }

    /// Waits until the kernel has let go: it is unmounted, from here or elsewhere, and nothing of it is open.
    pub fn wait(self) -> Result<(), MountError> {
        let Self { mut session, point } = self;
        let nothing = std::thread::spawn(|| Ok(()));
        let served = std::mem::replace(&mut session.guard, nothing);
        let ended = served
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread that serves requests panicked")))
            .or_else(unless_over);
        if ended.is_ok() {
            // Dropping the session unmounts by path, which by now may be the place of somebody else's mount.
            std::mem::forget(session);
        }
        ended.map_err(|source| MountError::Failed {
            path: point.path().to_owned(),
            source,
        })
    }
}

/// A thread that was just fetching a request when the kernel let go, the closing of a file for instance, hears that the
/// connection was aborted (`fuse_dev_do_read`), where the others hear that the device is gone.
fn unless_over(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => {
            log::info!("the kernel ended the connection while a request was fetched: {error}");
            Ok(())
        }
        _ => Err(error),
    }
}

/// Whether a vault could be mounted there: an empty folder, and a system that lets this user do it.
pub fn check_mount_point(path: &Path, allow_other: AllowOther) -> Result<(), MountError> {
    if !Path::new("/dev/fuse").exists() {
        return Err(MountError::NoFuse);
    }
    let metadata = match path.symlink_metadata() {
        Ok(_) => path.metadata(),
        Err(error) => Err(error),
    };
    match metadata {
        Ok(metadata) if !metadata.is_dir() => return Err(MountError::NotAFolder(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(MountError::NoMountPoint(path.to_owned()));
        }
        // "Transport endpoint is not connected": the server of an older mount died.
        Err(error) if error.raw_os_error() == Some(107) => {
            return Err(MountError::AlreadyMounted(path.to_owned()));
        }
        Err(source) => {
            return Err(MountError::Failed {
                path: path.to_owned(),
                source,
            });
        }
    }
    if is_mount_point(path) {
        return Err(MountError::AlreadyMounted(path.to_owned()));
    }
    let mut entries = path.read_dir().map_err(|source| MountError::Failed {
        path: path.to_owned(),
        source,
    })?;
    if entries.next().is_some() {
        return Err(MountError::NotEmpty(path.to_owned()));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let helper = [
        "/usr/bin/fusermount3",
        "/bin/fusermount3",
        "/usr/local/bin/fusermount3",
    ];
    if !helper.iter().any(|path| Path::new(path).exists())
        && std::env::var_os("FUSERMOUNT_PATH").is_none()
    {
        return Err(MountError::NoHelper);
    }
    let allowed = || {
        let conf = std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
        conf.lines().any(|line| line.trim() == "user_allow_other")
    };
    if allow_other == AllowOther::Yes && !allowed() {
        return Err(MountError::AllowOtherRefused);
    }
    Ok(())
}

/// A folder on another device than its parent.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(own), Ok(parent)) = (path.metadata(), path.join("..").metadata()) else {
        return false;
    };
    own.dev() != parent.dev()
}

fn explain(path: &Path, source: io::Error) -> MountError {
    match source.kind() {
        io::ErrorKind::NotFound => MountError::NoHelper,
        _ => MountError::Failed {
            path: path.to_owned(),
            source,
        },
    }
}

/// Tells the kernel what other devices changed, from a thread that serves no request.
fn spawn_invalidations(filesystem: Volume, notifier: Notifier, runtime: Handle) {
    let work = move || {
        while let Some(stale) = runtime.block_on(filesystem.invalidations()) {
            for invalidation in stale {
                let told = match &invalidation {
                    Invalidation::Entry(parent, name) => {
                        notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name))
                    }
                    Invalidation::Inode(inode) => notifier.inval_inode(INodeNo(inode.0), 0, 0),
                };
                if let Err(error) = told {
                    log::debug!("the kernel was not told of a change: {error}");
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("coffre-notify".into())
        .spawn(work)
    {
        log::error!("changes of other devices will be seen late: {error}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_the_kernel_took_back_is_no_failure() {
        let told = |number| unless_over(io::Error::from_raw_os_error(number));
        let aborted = rustix::io::Errno::CONNABORTED.raw_os_error();
        told(aborted).unwrap();
        let broken = rustix::io::Errno::IO.raw_os_error();
        assert_eq!(told(broken).unwrap_err().raw_os_error(), Some(broken));
    }
}
