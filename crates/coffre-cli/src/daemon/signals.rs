//! The signals that ask a mount to end: SIGTERM, Ctrl-C, and the terminal that is closed.

use std::future::pending;
use std::io;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Whose end is the mount's end as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// The terminal's: the mount stays in its foreground.
    Followed,
    /// Nobody's: the mount is behind.
    Left,
}

/// Signals as they come. What the process was started to ignore (`nohup`, `&` in a script) stays ignored.
pub struct Signals {
    terminate: Signal,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on.
    pub fn listen(terminal: Terminal) -> io::Result<Self> {
        let ignored = ignored();
        let unless_ignored = |kind: SignalKind| {
            let bit = 1_u64 << (kind.as_raw_value() - 1);
            (ignored & bit == 0).then(|| signal(kind)).transpose()
        };
        let hangup = unless_ignored(SignalKind::hangup())?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            // Behind a mount it is caught, so that it does not kill, and means nothing.
            hangup: hangup.filter(|_| terminal == Terminal::Followed),
        })
    }

    /// The next one's name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = comes(Some(&mut self.terminate)) => "SIGTERM",
            () = comes(self.interrupt.as_mut()) => "SIGINT",
            () = comes(self.hangup.as_mut()) => "SIGHUP",
        }
    }
}

async fn comes(signal: Option<&mut Signal>) {
    let Some(signal) = signal else {
        return pending().await;
    };
    if signal.recv().await.is_none() {
        pending::<()>().await;
    }
}

/// The signals that this process ignores, one bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or(0)
}
