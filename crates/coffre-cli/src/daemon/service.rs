//! What a service manager is told over `$NOTIFY_SOCKET` (sd_notify(3)); without one, nobody.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// A service manager that listens, or none.
pub struct Service {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Service {
    /// The one that started this process.
    pub fn of_environment() -> Self {
        let name = std::env::var("NOTIFY_SOCKET").ok();
        let manager = name.and_then(|name| match connect(&name) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!("the service manager at {name} is not told anything: {error}");
                None
            }
        });
        Self { manager }
    }

    /// The mount can be used.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=mounted\n");
    }

    /// The mount is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=unmounting\n");
    }

    /// It takes a while longer: so many bytes are still to be uploaded.
    pub fn uploading(&self, left: u64, longer: Duration) {
        let longer = longer.as_micros();
        self.tell(&format!(
            "EXTEND_TIMEOUT_USEC={longer}\nSTATUS=uploading, {left} bytes are left\n"
        ));
    }

    fn tell(&self, text: &str) {
        let Some((socket, manager)) = &self.manager else {
            return;
        };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), manager) {
            tracing::debug!("the service manager was not told: {error}");
        }
    }
}

fn connect(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the mount.
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}
