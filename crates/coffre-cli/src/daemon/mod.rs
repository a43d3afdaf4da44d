//! A mounted vault: its file system in the kernel, its control socket, and an orderly end.
//!
//! ```text
//!  coffre mount ── starts itself again ──▶ daemon: unlock → open → mount → socket → "ready"
//!        ◀───────────── ready, or the error ──────┘            │
//!  returns                    unmount, a signal, somebody else ─▶ `ending`: kernel unmount → upload → end
//! ```

mod ending;
mod service;
mod signals;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use coffre::fs::Volume;
use coffre::vault::Access;
use coffre::vault::Vault;
use coffre_fuse::AllowOther;
use coffre_fuse::Mount;
use coffre_fuse::MountOptions;
use coffre_fuse::Writing;
use tokio::sync::mpsc;

use crate::control::server;
use crate::control::server::Stop;
use crate::daemon::ending::Ending;
use crate::daemon::service::Service;
use crate::daemon::signals::Signals;
use crate::exit;
use crate::exit::Failure;
use crate::mounts;
use crate::mounts::Mounted;
use crate::session;
use crate::session::Bounds;
use crate::settings::Target;

pub use crate::daemon::ending::publish;
pub use crate::daemon::signals::Terminal;

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
    /// Whether it ends with a terminal.
    pub terminal: Terminal,
    /// How long an upload may take after a signal.
    pub linger: Duration,
}

/// Mounts, tells `ready` what there is to know, and serves until the end; then everything is uploaded, or in the journal.
pub async fn run(
    plan: &Plan,
    vault: Vault,
    ready: impl FnOnce(&Mounted, &[String]) -> anyhow::Result<()>,
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
    filesystem: &Volume,
    ready: impl FnOnce(&Mounted, &[String]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let listener = server::listen(state)?;
    // Before there is a mount: from then on no signal may end this process by itself.
    let signals = Signals::listen(plan.terminal)?;
    let service = Service::of_environment();
    let mounted = Mounted {
        vault: plan.target.written.clone(),
        dir: plan.dir.clone(),
        state: state.to_owned(),
        pid: std::process::id(),
        read_only: plan.access == Access::ReadOnly,
    };
    let mount = start(plan, filesystem)?;
    let point = mount.point();
    let (stops, stop) = mpsc::channel(1);
    let server = tokio::spawn(server::serve(listener, filesystem.clone(), stops));
    let notes = filesystem.status().warnings;
    if let Err(error) = mounted.save().and_then(|()| ready(&mounted, &notes)) {
        // Whoever asked for it has gone; a mount that nobody serves would be left behind.
        server.abort();
        point.detach()?;
        return Err(error);
    }
    service.ready();
    let renewal = tokio::spawn(renew_credentials(plan.target.clone(), filesystem.clone()));
    tracing::info!("mounted {} at {}", mounted.vault, mounted.dir.display());
    let ending = Ending {
        filesystem,
        point,
        serving: tokio::task::spawn_blocking(move || mount.wait()),
        signals,
        service,
        linger: plan.linger,
    };
    let ended = until_the_end(ending, stop, state).await;
    server.abort();
    renewal.abort();
    ended
}

/// Takes the credentials that the user puts into the profile while the store refuses those in use.
async fn renew_credentials(target: Target, filesystem: Volume) {
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

async fn until_the_end(
    mut ending: Ending<'_>,
    mut stop: mpsc::Receiver<Stop>,
    state: &Path,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            signal = ending.signals.next() => return ending.insist(signal).await,
            Some(stop) = stop.recv() => match ending.unmount().await {
                Ok(()) => return fulfil(ending, stop, state).await,
                // In use: everything stays as it was.
                Err(error) => {
                    tracing::warn!("{error:#}");
                    let _ = stop.answer.send(Err(error));
                }
            },
            _ = &mut ending.serving => {
                tracing::info!("unmounted by somebody else");
                // Verbs that come now wait for the vault itself.
                withdraw(state);
                return ending.upload_all().await.map(drop);
            }
        }
    }
}

/// After the kernel has let go: uploads, or not, and answers.
async fn fulfil(ending: Ending<'_>, stop: Stop, state: &Path) -> anyhow::Result<()> {
    let ended = match stop.now {
        true => ending.keep().await,
        false => ending.upload_all().await,
    };
    // Before the answer: whoever comes next shall not meet a file system that is closed.
    withdraw(state);
    let failed = ended
        .as_ref()
        .err()
        .map(|error| Failure::error(exit::code(error), exit::message(error)));
    let _ = stop.answer.send(ended);
    // Time for the answer to reach the client.
    tokio::time::sleep(PARTING).await;
    failed.map_or(Ok(()), Err)
}

/// Nobody finds this mount any more.
fn withdraw(state: &Path) {
    mounts::forget(state);
    let _ = std::fs::remove_file(state.join("control.sock"));
}

fn start(plan: &Plan, filesystem: &Volume) -> anyhow::Result<Mount> {
    let options = MountOptions {
        writing: match plan.access {
            Access::ReadOnly => Writing::Refused,
            Access::ReadWrite => Writing::Allowed,
        },
        allow_other: plan.allow_other,
        threads: coffre_fuse::kernel::threads(),
    };
    let handle = tokio::runtime::Handle::current();
    Ok(Mount::start(
        filesystem.clone(),
        &plan.dir,
        options,
        handle,
    )?)
}
