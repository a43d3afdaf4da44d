//! The orderly end of a mount: the kernel lets go, what is left is uploaded as long as it may take, and the rest
//! is in the journal.
//!
//! ```text
//!  signal ─▶ unmount, lazily if it is in use ─▶ upload until done │ the time is over │ a second signal ─▶ journal
//!  client ─▶ unmount, or say that it is in use ─▶ upload until done │ a second signal ─────────────────▶ journal
//! ```

use std::time::Duration;

use coffre::fs::Volume;
use coffre::vault::Access;
use coffre_fuse::MountError;
use coffre_fuse::MountPoint;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::daemon::service::Service;
use crate::daemon::signals::Signals;
use crate::units;

/// How long the kernel may take to hand over what it holds back, before a mount in use is detached.
const FLUSH: Duration = Duration::from_secs(10);
/// How long the kernel may take to let go of a mount that is unmounted. It does so at once, unless the mount is
/// still there in the namespace of a container.
const RELEASE: Duration = Duration::from_secs(10);
/// How often a service manager is told that the upload goes on, and for how long that holds.
const TELL: Duration = Duration::from_secs(2);
const TOLD: Duration = Duration::from_secs(30);

/// Ends when the kernel has let go, by whomever.
pub type Serving = JoinHandle<Result<(), MountError>>;

/// What an end needs.
pub struct Ending<'a> {
    /// What is mounted.
    pub filesystem: &'a Volume,
    /// Where.
    pub point: MountPoint,
    /// Serves the kernel until it lets go.
    pub serving: Serving,
    /// Ask for a quicker end.
    pub signals: Signals,
    /// Waits as long as it is told that something happens.
    pub service: Service,
    /// How long an upload may take after a signal.
    pub linger: Duration,
}

/// Why an upload ended.
enum Uploaded {
    All,
    /// Somebody is not willing to wait for the rest.
    Part(&'static str),
    Failed(coffre::Error),
}

impl Ending<'_> {
    /// Unmounts for somebody who can be told that the mount is in use; it is then as before.
    pub async fn unmount(&mut self) -> anyhow::Result<()> {
        let point = self.point.clone();
        tokio::task::spawn_blocking(move || point.unmount()).await??;
        self.released().await
    }

    /// The end after a signal: whatever uses the mount, it goes, and in bounded time.
    pub async fn insist(mut self, signal: &'static str) -> anyhow::Result<()> {
        let left = self.filesystem.status().unpublished_bytes;
        tracing::info!("unmounting after {signal}");
        if left > 0 {
            tracing::warn!(
                "{} are uploaded before the end, as far as {} s are enough; another signal leaves them in the journal",
                units::size(left),
                self.linger.as_secs()
            );
        }
        self.service.stopping();
        let in_use = match self.unmount().await {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!("{error:#}; it is unmounted all the same");
                self.detach().await;
                true
            }
        };
        let deadline = Some(Instant::now() + self.linger);
        let uploaded = self.upload(deadline, in_use).await;
        let left = self.keep().await?;
        match uploaded {
            Uploaded::Part(why) if left > 0 => tell_left(left, why),
            Uploaded::Failed(error) => tell_left(left, &error.to_string()),
            Uploaded::All | Uploaded::Part(_) => {}
        }
        Ok(())
    }

    /// The end after an unmount that succeeded: uploads all, unless a signal comes. Returns the bytes that are
    /// left in the journal.
    pub async fn upload_all(mut self) -> anyhow::Result<u64> {
        self.service.stopping();
        let uploaded = self.upload(None, false).await;
        let left = self.keep().await?;
        match uploaded {
            Uploaded::All => Ok(left),
            Uploaded::Part(why) => {
                tell_left(left, why);
                Ok(left)
            }
            Uploaded::Failed(error) => {
                tell_left(left, &error.to_string());
                Err(error.into())
            }
        }
    }

    /// Makes everything durable on this machine and stops. Returns the bytes that are not uploaded.
    pub async fn keep(&self) -> anyhow::Result<u64> {
        Ok(self.filesystem.close_now().await?.unpublished_bytes)
    }

    /// Waits until the kernel has let go.
    async fn released(&mut self) -> anyhow::Result<()> {
        match timeout(RELEASE, &mut self.serving).await {
            Ok(served) => Ok(served??),
            Err(_) => {
                tracing::warn!(
                    "the mount is gone here but not everywhere: a container may still hold it"
                );
                Ok(())
            }
        }
    }

    /// Takes a mount in use out of the folder tree, with what the kernel still holds back for open files.
    async fn detach(&self) {
        let point = self.point.clone();
        let flushed = tokio::task::spawn_blocking(move || point.flush());
        match timeout(FLUSH, flushed).await {
            Ok(Ok(Ok(()))) => {}
            other => tracing::debug!("the kernel was not asked for what it holds back: {other:?}"),
        }
        let point = self.point.clone();
        match tokio::task::spawn_blocking(move || point.detach()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("{error}"),
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Uploads until everything is in the store and, if it is in use, nothing uses the mount any more. A signal
    /// sets a deadline, or ends it if there is one.
    async fn upload(&mut self, mut deadline: Option<Instant>, in_use: bool) -> Uploaded {
        let filesystem = self.filesystem;
        let serving = &mut self.serving;
        let work = async {
            if in_use && !serving.is_finished() {
                let release = async { drop(serving.await) };
                let (published, ()) = tokio::join!(publish(filesystem), release);
                published?;
            }
            publish(filesystem).await
        };
        let mut work = std::pin::pin!(work);
        loop {
            let over = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut work => return match done {
                    Ok(()) => Uploaded::All,
                    Err(error) => Uploaded::Failed(error),
                },
                () = over => return Uploaded::Part("the time for it is over"),
                signal = self.signals.next() => {
                    tracing::info!("{signal} while uploading");
                    if deadline.is_some() {
                        return Uploaded::Part("it was asked for twice");
                    }
                    deadline = Some(Instant::now() + self.linger);
                }
                () = tokio::time::sleep(TELL) => {
                    let left = filesystem.status().unpublished_bytes;
                    self.service.uploading(left, TOLD);
                }
            }
        }
    }
}

/// What cannot be changed has nothing to upload.
pub async fn publish(filesystem: &Volume) -> Result<(), coffre::Error> {
    match filesystem.vault().access() {
        Access::ReadOnly => Ok(()),
        Access::ReadWrite => filesystem.publish().await,
    }
}

fn tell_left(left: u64, why: &str) {
    tracing::warn!(
        "{why}: {} are not uploaded; they are in the journal on this machine, and the next mount uploads them",
        units::size(left)
    );
}
