//! A mounted vault: its file system in the kernel, its control socket, and an orderly end.
//!
//! ```text
//!  coffre mount ── starts itself again ──▶ daemon: unlock → open → mount → socket → "ready"
//!        ◀───────────── ready, or the error ──────┘            │
//!  returns                                    unmount, SIGTERM, SIGINT → kernel unmount → upload → end
//! ```

use std::path::Path;
use std::path::PathBuf;

use coffre::Error;
use coffre::fs::Filesystem;
use coffre::vault::Access;
use coffre::vault::Vault;
use coffre_fuse::Mount;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;

use crate::control::server;
use crate::control::server::Stop;
use crate::exit;
use crate::exit::Failure;
use crate::mounts;
use crate::mounts::Mounted;
use crate::session;
use crate::session::Bounds;
use crate::settings::Target;

/// What is to be mounted, and how.
pub struct Plan {
    /// The vault.
    pub target: Target,
    /// Where.
    pub dir: PathBuf,
    /// Whether it may be changed.
    pub access: Access,
    /// Memory, cache, fsync.
    pub bounds: Bounds,
    /// Other users may look.
    pub allow_other: bool,
}

/// Mounts, tells `ready`, and serves until the end; then everything is uploaded, or in the journal.
pub async fn run(plan: &Plan, vault: Vault, ready: impl FnOnce(&Mounted) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let state = vault.state().path().to_owned();
    let filesystem = session::filesystem(&plan.target, vault, plan.access, plan.bounds).await?;
    let served = serve(plan, &state, &filesystem, ready).await;
    mounts::forget(&state);
    let _ = std::fs::remove_file(state.join("control.sock"));
    if served.is_err() {
        // Whatever was accepted is made durable here; the error is what is told.
        if let Err(error) = filesystem.close_now().await {
            tracing::error!("{error}");
        }
    }
    served
}

async fn serve(
    plan: &Plan,
    state: &Path,
    filesystem: &Filesystem,
    ready: impl FnOnce(&Mounted) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let listener = server::listen(state)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mounted = Mounted {
        vault: plan.target.written.clone(),
        dir: plan.dir.clone(),
        state: state.to_owned(),
        pid: std::process::id(),
        read_only: plan.access == Access::ReadOnly,
    };
    let mut mount = start(plan, filesystem)?;
    let (stops, mut stop) = mpsc::channel(1);
    let server = tokio::spawn(server::serve(listener, filesystem.clone(), stops));
    mounted.save()?;
    ready(&mounted)?;
    tracing::info!("mounted {} at {}", mounted.vault, mounted.dir.display());
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => match end(&mut mount, filesystem, Remainder::Upload).await {
                Err(error) if exit::code(&error) == exit::BUSY => tracing::warn!("{error:#}"),
                ended => break ended.map(|_| ()),
            },
            _ = interrupt.recv() => match end(&mut mount, filesystem, Remainder::Upload).await {
                Err(error) if exit::code(&error) == exit::BUSY => tracing::warn!("{error:#}"),
                ended => break ended.map(|_| ()),
            },
            Some(Stop { now, answer }) = stop.recv() => {
                let remainder = if now { Remainder::Keep } else { Remainder::Upload };
                match end(&mut mount, filesystem, remainder).await {
                    Err(error) if exit::code(&error) == exit::BUSY => {
                        let _ = answer.send(Err(error));
                    }
                    ended => {
                        mounts::forget(state);
                        let failed = ended.as_ref().err().map(|error| Failure::new(exit::code(error), format!("{error:#}")));
                        let _ = answer.send(ended);
                        // Time for the answer to reach the client.
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                        break failed.map_or(Ok(()), Err);
                    }
                }
            }
            () = mount.wait() => {
                tracing::info!("unmounted by somebody else");
                break finish(filesystem, Remainder::Upload).await.map(|_| ());
            }
        }
    };
    server.abort();
    ended
}

/// What happens to what is not uploaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remainder {
    Upload,
    Keep,
}

fn start(plan: &Plan, filesystem: &Filesystem) -> anyhow::Result<Mount> {
    if !Path::new("/dev/fuse").exists() {
        return Err(Failure::new(
            exit::FAILED,
            "this machine offers no /dev/fuse, so nothing can be mounted (load the kernel module with `modprobe fuse`; \
             in a container, pass `--device /dev/fuse --cap-add SYS_ADMIN`). `coffre ls`, `get`, `put` and the other \
             verbs work without",
        ));
    }
    let options = coffre_fuse::MountOptions {
        allow_other: plan.allow_other,
        read_only: plan.access == Access::ReadOnly,
        name: plan.target.written.clone(),
    };
    let handle = tokio::runtime::Handle::current();
    Ok(Mount::start(filesystem.clone(), &plan.dir, options, handle)?)
}

/// Unmounts and closes. Busy leaves everything as it was.
async fn end(mount: &mut Mount, filesystem: &Filesystem, remainder: Remainder) -> anyhow::Result<u64> {
    if let Err(error) = mount.unmount().await {
        let what = format!("it cannot be unmounted: {error}; close the files and leave the folders in it");
        return Err(Error::Busy { what }.into());
    }
    finish(filesystem, remainder).await
}

/// Returns the bytes that are left in the journal.
async fn finish(filesystem: &Filesystem, remainder: Remainder) -> anyhow::Result<u64> {
    if remainder == Remainder::Upload {
        match filesystem.close().await {
            Ok(()) => return Ok(0),
            Err(error) => {
                let left = filesystem.close_now().await?.unpublished_bytes;
                tracing::error!("{error}; {left} bytes wait in the journal for the next mount");
                return Err(error.into());
            }
        }
    }
    Ok(filesystem.close_now().await?.unpublished_bytes)
}
