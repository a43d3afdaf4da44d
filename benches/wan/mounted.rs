//! A mount of one of the systems: worked on for as long as one has patience, brought to rest, ended.

use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;
use coffre_benches::device::Device;

use crate::rclone;

/// A mount, and the process behind it. Its end, if it is not unmounted.
pub struct Mounted {
    /// Where to work.
    pub place: PathBuf,
    behind: Behind,
}

enum Behind {
    Vault { device: Device, pid: u32 },
    Rclone { home: PathBuf, child: Child },
    S3fs { child: Child },
    Nobody,
}

/// Work that was done in time, or not.
pub enum Within<T> {
    Done(T),
    TooLong,
}

impl Mounted {
    /// Of a vault.
    pub fn vault(place: PathBuf, device: Device, pid: u32) -> Self {
        let behind = Behind::Vault { device, pid };
        Self { place, behind }
    }

    /// Of rclone, which keeps its things in `home`.
    pub fn rclone(place: PathBuf, home: PathBuf, child: Child) -> Self {
        let behind = Behind::Rclone { home, child };
        Self { place, behind }
    }

    pub fn s3fs(place: PathBuf, child: Child) -> Self {
        let behind = Behind::S3fs { child };
        Self { place, behind }
    }

    /// Waits until everything is in the store; answers when that was so.
    pub fn publish(&self) -> Result<Instant> {
        match &self.behind {
            Behind::Vault { device, .. } => {
                device.coffre(&["sync", &self.place.display().to_string()])?;
                Ok(Instant::now())
            }
            Behind::Rclone { home, .. } => rclone::publish(home),
            // s3fs uploads when a file is closed.
            Behind::S3fs { .. } | Behind::Nobody => Ok(Instant::now()),
        }
    }

    /// Works on the mount. Whoever takes too long is ended, which fails the work: a call into the kernel cannot be
    /// given up otherwise.
    pub fn within<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<Within<T>> {
        let (done, waiting) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let late = waiting.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
                if late {
                    self.kill();
                }
                late
            });
            let result = work(self);
            drop(done);
            match (result, watch.join()) {
                (_, Ok(true)) => Ok(Within::TooLong),
                (result, _) => result.map(Within::Done),
            }
        })
    }

    /// Unmounts; everything is in the store then.
    pub fn unmount(mut self) -> Result<()> {
        self.publish()?;
        match std::mem::replace(&mut self.behind, Behind::Nobody) {
            Behind::Vault { device, .. } => device
                .coffre(&["unmount", &self.place.display().to_string()])
                .map(drop),
            Behind::Rclone { mut child, .. } | Behind::S3fs { mut child } => {
                let mut command = Command::new("fusermount3");
                let status = command.arg("-u").arg(&self.place).status()?;
                if !status.success() {
                    bail!("{command:?}: {status}");
                }
                let begin = Instant::now();
                while child.try_wait()?.is_none() {
                    if begin.elapsed() > Duration::from_secs(60) {
                        child.kill()?;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            Behind::Nobody => Ok(()),
        }
    }

    fn kill(&self) {
        let pid = match &self.behind {
            Behind::Vault { pid, .. } => *pid,
            Behind::Rclone { child, .. } | Behind::S3fs { child } => child.id(),
            Behind::Nobody => return,
        };
        let pid = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if matches!(self.behind, Behind::Nobody) {
            return;
        }
        self.kill();
        if let Behind::Rclone { child, .. } | Behind::S3fs { child } = &mut self.behind {
            let _ = child.wait();
        }
        let mut command = Command::new("fusermount3");
        let _ = command.args(["-u", "-z"]).arg(&self.place).status();
    }
}
