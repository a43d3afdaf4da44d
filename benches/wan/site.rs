//! One store that is far away: a server, and the line to it, with all that is counted on both.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::ask::Requests;
use crate::link::Line;
use crate::link::Link;
use crate::server::Server;

/// How long nothing may happen until a system is taken to be at rest.
const QUIET: Duration = Duration::from_secs(2);
/// What is not at rest by then is measured as it is.
const RESTLESS: Duration = Duration::from_secs(90);

/// A server and a line to it.
pub struct Site {
    server: Server,
    link: Link,
    // Dropped last of what runs in it; both end with it.
    _runtime: Runtime,
}

/// What was asked and carried.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Traffic {
    pub requests: Requests,
    /// Bytes towards the store, heads of requests included.
    pub sent: u64,
    pub received: u64,
}

impl Site {
    /// An empty store at the end of a line.
    pub fn open(line: Line) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let server = runtime.block_on(Server::start())?;
        let link = runtime.block_on(Link::before(server.port, line))?;
        Ok(Self {
            server,
            link,
            _runtime: runtime,
        })
    }

    /// The port of the server itself, for what is not measured.
    pub fn near(&self) -> u16 {
        self.server.port
    }

    /// The port at the other end of the line.
    pub fn far(&self) -> u16 {
        self.link.port
    }

    /// All so far. Requests count wherever they come from, bytes only on the line.
    pub fn traffic(&self) -> Traffic {
        let passed = self.link.passed();
        Traffic {
            requests: self.server.requests(),
            sent: passed.sent,
            received: passed.received,
        }
    }

    /// Bytes of all objects.
    pub fn stored(&self) -> u64 {
        self.server.stored()
    }

    /// Commits of a vault, if that is what it holds.
    pub fn commits(&self) -> usize {
        self.server.count("/commits/")
    }

    /// Waits until nothing is asked any more: what a mount does by itself at first is not measured.
    pub fn settle(&self) {
        let begin = Instant::now();
        let mut before = self.traffic();
        let mut since = Instant::now();
        while since.elapsed() < QUIET && begin.elapsed() < RESTLESS {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.traffic();
            if now.since(&before).is_any() {
                (before, since) = (now, Instant::now());
            }
        }
    }
}

impl Traffic {
    /// What came after an earlier count.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.since(&before.requests),
            sent: self.sent - before.sent,
            received: self.received - before.received,
        }
    }

    fn is_any(&self) -> bool {
        self.requests.all() + self.sent + self.received > 0
    }
}
