//! The answering end of the control socket, in the process that has the vault mounted.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use coffre::Error;
use coffre::fs::Volume;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::control::CALL_MAX;
use crate::control::Call;
use crate::control::Line;
use crate::daemon;
use crate::exit;
use crate::requests;

/// How often a waiting client is told how far it is.
const TELL: Duration = Duration::from_millis(200);

/// A client's wish that the daemon ends; the answer says how many bytes are not uploaded.
pub struct Stop {
    /// Leave the rest in the journal.
    pub now: bool,
    /// Told when it is done, or why not.
    pub answer: oneshot::Sender<anyhow::Result<u64>>,
}

/// The socket's path, through the folder's descriptor: a socket's own path has room for 107 bytes only. The file
/// keeps the path valid.
pub fn socket(state: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(state)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Listens. The caller holds the vault's lock, so a socket that is there is a dead one.
pub fn listen(state: &Path) -> anyhow::Result<UnixListener> {
    let name = state.join("control.sock");
    let fail = |error| Error::io("listen on", &name, error);
    let (_folder, path) = socket(state).map_err(fail)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error).into()),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(fail)?;
    // Nobody connects before: the folder is closed to others.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    Ok(listener)
}

/// Answers clients until dropped.
pub async fn serve(listener: UnixListener, filesystem: Volume, stops: mpsc::Sender<Stop>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (filesystem, stops) = (filesystem.clone(), stops.clone());
                tokio::spawn(async move {
                    if let Err(error) = client(stream, &filesystem, stops).await {
                        tracing::debug!("a client went away: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("the control socket does not accept: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn client(
    stream: UnixStream,
    filesystem: &Volume,
    stops: mpsc::Sender<Stop>,
) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut text = String::new();
    (&mut read).take(CALL_MAX).read_line(&mut text).await?;
    let call: Call = serde_json::from_str(&text)?;
    // A client that closes its end is not waited for: the call's future is dropped.
    let mut rest = [0; 1];
    let answered = tokio::select! {
        answered = answer(call, filesystem, stops, &mut write) => answered,
        _ = read.read(&mut rest) => return Ok(()),
    };
    let line = match answered {
        Ok(left) => Line::Done(left),
        Err(error) => Line::Failed {
            message: exit::message(&error),
            code: exit::code(&error),
        },
    };
    tell(&mut write, &line).await
}

async fn answer(
    call: Call,
    filesystem: &Volume,
    stops: mpsc::Sender<Stop>,
    write: &mut OwnedWriteHalf,
) -> anyhow::Result<u64> {
    match call {
        Call::Request(request) => {
            let (items, mut answers) = mpsc::channel(256);
            let work = async {
                let items = items;
                requests::answer(filesystem, request, &items).await
            };
            let forward = async {
                while let Some(item) = answers.recv().await {
                    tell(write, &Line::Item(item)).await?;
                }
                anyhow::Ok(())
            };
            let (worked, forwarded) = tokio::join!(work, forward);
            worked.and(forwarded)?;
            Ok(left(filesystem))
        }
        Call::Sync => {
            waiting(publish(filesystem), filesystem, write).await?;
            Ok(left(filesystem))
        }
        Call::Unmount { now } => {
            if !now {
                // While it is still mounted: if this fails or is taken back, nothing has changed.
                waiting(publish(filesystem), filesystem, write).await?;
            }
            let (answer, answered) = oneshot::channel();
            stops.send(Stop { now, answer }).await?;
            waiting(async { answered.await? }, filesystem, write).await
        }
    }
}

async fn publish(filesystem: &Volume) -> anyhow::Result<()> {
    Ok(daemon::publish(filesystem).await?)
}

/// Tells how far it is while something is waited for.
async fn waiting<T>(
    work: impl Future<Output = anyhow::Result<T>>,
    filesystem: &Volume,
    write: &mut OwnedWriteHalf,
) -> anyhow::Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(TELL) => tell(write, &Line::Waiting(left(filesystem))).await?,
        }
    }
}

fn left(filesystem: &Volume) -> u64 {
    filesystem.status().unpublished_bytes
}

async fn tell(write: &mut OwnedWriteHalf, line: &Line) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(write.write_all(&text).await?)
}
