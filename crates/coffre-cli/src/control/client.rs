//! The asking end of the control socket.

use std::path::Path;

use anyhow::Context as _;
use coffre::Error;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::control::Call;
use crate::control::Line;
use crate::control::server::socket;
use crate::exit::Failure;

/// A daemon that listens.
pub struct Daemon {
    stream: UnixStream,
}

impl Daemon {
    /// The daemon of a state folder, if one listens there.
    pub async fn find(state: &Path) -> Option<Self> {
        let (_folder, path) = socket(state).ok()?;
        let stream = UnixStream::connect(path).await.ok()?;
        Some(Self { stream })
    }

    /// Makes a call; `each` sees the lines before the last one. Returns the bytes that are not uploaded yet.
    pub async fn call(self, call: &Call, mut each: impl FnMut(Line)) -> anyhow::Result<u64> {
        let (read, mut write) = self.stream.into_split();
        let mut text = serde_json::to_vec(call)?;
        text.push(b'\n');
        let gone = |error| Error::io("talk to", "the process that has the vault mounted", error);
        write.write_all(&text).await.map_err(gone)?;
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await.map_err(gone)? {
            let line = serde_json::from_str(&line);
            match line.context("the process that has the vault mounted speaks another version")? {
                Line::Done(left) => return Ok(left),
                Line::Failed { message, code } => return Err(Failure::error(code, message)),
                other => each(other),
            }
        }
        Err(anyhow::anyhow!(
            "the process that has the vault mounted ended before it answered; `daemon.log` in the vault's state \
             folder says why"
        ))
    }
}
