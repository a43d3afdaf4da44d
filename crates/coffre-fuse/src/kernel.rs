//! What the kernel is told of a mount: its options, what is negotiated, how far it reads ahead.
//!
//! A file system that is measured beside the drive, as its limit, is mounted by the same words.

use std::path::Path;
use std::time::Duration;

use fuser::Config;
use fuser::InitFlags;
use fuser::KernelConfig;
use fuser::MountOption;
use fuser::SessionACL;

/// The kernel may keep what it knows for a day: changes from elsewhere are told to it.
pub const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// What a write brings at most, and what is read ahead, in KiB.
const TRANSFER: u32 = 1024;

/// Whether other users may look in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowOther {
    /// Everybody, as far as permissions go.
    Yes,
    /// Only who mounted it.
    No,
}

/// Whether the mount takes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Yes.
    Allowed,
    /// No: a read-only mount.
    Refused,
}

/// How to mount.
#[derive(Debug, Clone, Copy)]
pub struct MountOptions {
    /// Whether it takes changes.
    pub writing: Writing,
    /// Whether other users may look in.
    pub allow_other: AllowOther,
    /// Threads that serve requests.
    pub threads: usize,
}

/// Threads that serve requests well on this machine.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8))
}

/// How a file system of this name is mounted.
pub fn config(name: &str, options: MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(name.into()),
        MountOption::Subtype(name.into()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
    ];
    if options.writing == Writing::Refused {
        config.mount_options.push(MountOption::RO);
    }
    config.acl = match options.allow_other {
        AllowOther::Yes => SessionACL::All,
        AllowOther::No => SessionACL::Owner,
    };
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    config
}

/// What is asked of the kernel when it begins; so many of its requests may wait at a time.
pub fn negotiate(config: &mut KernelConfig, requests_most: usize) {
    let wanted = [
        InitFlags::FUSE_WRITEBACK_CACHE,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_POSIX_ACL,
        // A default access list stands in for the umask: only who knows it can tell.
        InitFlags::FUSE_DONT_MASK,
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_ASYNC_DIO,
        // Without it the kernel asks for security.capability before every write.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    ];
    for capability in wanted {
        if let Err(missing) = config.add_capabilities(capability) {
            log::info!("the kernel does not offer {missing:?}");
        }
    }
    // Each refusal names the nearest value that is accepted.
    let _ = config.set_max_write(TRANSFER * 1024);
    // What waits here holds its content in memory, a mebibyte at most.
    let waiting = u16::try_from(requests_most).unwrap_or(u16::MAX);
    let _ = config.set_max_background(waiting);
    let _ = config.set_congestion_threshold((waiting / 4 * 3).max(1));
    let _ = config.set_time_granularity(Duration::from_nanos(1));
}

/// The kernel reads ahead 128 KiB on any FUSE mount; root may allow more, which sequential readers feel.
pub fn widen_readahead(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    // Asking the mount itself would wait for a thread of ours, and there is one.
    let Ok(metadata) = path.metadata() else {
        return;
    };
    let (major, minor) = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = std::fs::write(&setting, TRANSFER.to_string()) {
        log::debug!("read-ahead stays as it is: {error}");
    }
}
