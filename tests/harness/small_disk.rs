//! A small disk of its own, which can be full or read-only: a tmpfs on a folder.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

/// Nobody holds a file open for longer.
const HANG: Duration = Duration::from_secs(20);

/// A mounted tmpfs; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// On a folder, with room for so many bytes; `None`, and the reason, where this user may not mount.
    pub fn mount(on: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(on).unwrap();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let mounted = rustix::mount::mount("none", on, "tmpfs", MountFlags::empty(), &*size);
        match mounted {
            Ok(()) => Some(Self(on.to_owned())),
            Err(error) => {
                eprintln!("skipped: a tmpfs cannot be mounted: {error}");
                None
            }
        }
    }

    /// Leaves no room at all.
    pub fn fill(&self) {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(path).unwrap();
        let block = [1; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    /// Gives the room back.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// Another size.
    pub fn resize(&self, bytes: u64) {
        let size = format!("size={bytes}");
        rustix::mount::mount_remount(&self.0, MountFlags::empty(), size).unwrap();
    }

    /// Nothing can be changed any more. A file system that was just closed may still let go of its files.
    pub fn make_read_only(&self) {
        let begin = Instant::now();
        loop {
            match rustix::mount::mount_remount(&self.0, MountFlags::RDONLY, "") {
                Err(Errno::BUSY) if begin.elapsed() < HANG => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                made => return made.unwrap(),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}
