//! A mounted vault: its file system in the kernel, its control socket, and an orderly end.
//!
//! ```text
//!  coffre mount ── starts itself again ──▶ daemon: unlock → open → mount → socket → "ready"
//!        ◀───────────── ready, or the error ──────┘            │
//!  returns                                    unmount, SIGTERM, SIGINT → kernel unmount → upload → end
//! ```

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use coffre::fs::Filesystem;
use coffre::vault::Access;
use coffre::vault::Vault;
use coffre_fuse::AllowOther;
use coffre_fuse::Mount;
use coffre_fuse::MountError;
use coffre_fuse::MountOptions;
use coffre_fuse::Writing;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::control::server;
use crate::control::server::Stop;
use crate::exit;
use crate::exit::Failure;
use crate::mounts;
use crate::mounts::Mounted;
use crate::session;
use crate::session::Bounds;
use crate::settings::Target;

/// How often the profile is looked into while the store refuses the credentials.
const LOOK: Duration = Duration::from_secs(2);
/// How long the process stays for its last answer to be read.
const PARTING: Duration = Duration::from_millis(200);

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
    pub allow_other: AllowOther,
}

/// Mounts, tells `ready`, and serves until the end; then everything is uploaded, or in the journal.
pub async fn run(
    plan: &Plan,
    vault: Vault,
    ready: impl FnOnce(&Mounted) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let state = vault.state().path().to_owned();
    let filesystem = session::filesystem(&plan.target, vault, plan.access, plan.bounds).await?;
    let served = serve(plan, &state, &filesystem, ready).await;
    withdraw(&state);
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
    let renewal = tokio::spawn(renew_credentials(plan.target.clone(), filesystem.clone()));
    mounted.save()?;
    ready(&mounted)?;
    tracing::info!("mounted {} at {}", mounted.vault, mounted.dir.display());
    let ended = loop {
        let wish = tokio::select! {
            _ = terminate.recv() => Wish::of_signal(),
            _ = interrupt.recv() => Wish::of_signal(),
            Some(Stop { now, answer }) = stop.recv() => Wish {
                remainder: if now { Remainder::Keep } else { Remainder::Upload },
                answer: Some(answer),
            },
            _ = &mut mount => {
                tracing::info!("unmounted by somebody else");
                // Verbs that come now wait for the vault itself.
                withdraw(state);
                break finish(filesystem, Remainder::Upload).await.map(|_| ());
            }
        };
        match unmount(&plan.dir, &mut mount).await {
            Ok(()) => break fulfil(wish, state, filesystem).await,
            // In use: everything stays as it was.
            Err(error) => {
                tracing::warn!("{error:#}");
                if let Some(answer) = wish.answer {
                    let _ = answer.send(Err(error));
                }
            }
        }
    };
    server.abort();
    renewal.abort();
    ended
}

/// Takes the credentials that the user puts into the profile while the store refuses those in use.
async fn renew_credentials(target: Target, filesystem: Filesystem) {
    let mut in_use = target.uri.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        if !filesystem.is_refused() {
            continue;
        }
        let renewed = match target.uri_now() {
            Ok(Some(uri)) if uri != in_use => filesystem.vault().store().renew(&uri).map(|()| uri),
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!("the profile cannot be read: {error:#}");
                continue;
            }
        };
        match renewed {
            Ok(uri) => {
                tracing::info!("the credentials of the profile have changed; going on with them");
                in_use = uri;
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// Somebody wants the mount to end.
struct Wish {
    remainder: Remainder,
    answer: Option<oneshot::Sender<anyhow::Result<u64>>>,
}

impl Wish {
    fn of_signal() -> Self {
        Self {
            remainder: Remainder::Upload,
            answer: None,
        }
    }
}

/// After the kernel has let go: uploads, or not, and answers.
async fn fulfil(wish: Wish, state: &Path, filesystem: &Filesystem) -> anyhow::Result<()> {
    let ended = finish(filesystem, wish.remainder).await;
    // Before the answer: whoever comes next shall not meet a file system that is closed.
    withdraw(state);
    let Some(answer) = wish.answer else {
        return ended.map(|_| ());
    };
    let failed = ended
        .as_ref()
        .err()
        .map(|error| Failure::error(exit::code(error), exit::message(error)));
    let _ = answer.send(ended);
    // Time for the answer to reach the client.
    tokio::time::sleep(PARTING).await;
    failed.map_or(Ok(()), Err)
}

/// What happens to what is not uploaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remainder {
    Upload,
    Keep,
}

/// Nobody finds this mount any more.
fn withdraw(state: &Path) {
    mounts::forget(state);
    let _ = std::fs::remove_file(state.join("control.sock"));
}

/// Ends when the kernel has let go, by whomever.
type Mounting = JoinHandle<Result<(), MountError>>;

fn start(plan: &Plan, filesystem: &Filesystem) -> anyhow::Result<Mounting> {
    let options = MountOptions {
        writing: match plan.access {
            Access::ReadOnly => Writing::Refused,
            Access::ReadWrite => Writing::Allowed,
        },
        allow_other: plan.allow_other,
        threads: std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8)),
    };
    let handle = tokio::runtime::Handle::current();
    let mount = Mount::start(filesystem.clone(), &plan.dir, options, handle)?;
    Ok(tokio::task::spawn_blocking(move || mount.wait()))
}

/// Unmounts. The kernel hands over what it has not written yet before this returns.
async fn unmount(dir: &Path, mount: &mut Mounting) -> anyhow::Result<()> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || coffre_fuse::unmount(&dir)).await??;
    mount.await??;
    Ok(())
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
