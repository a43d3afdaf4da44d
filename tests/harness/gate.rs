//! A line to a server that can be held: what is sent meanwhile waits, in both directions, and is not lost.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

/// Listens on a port of its own and passes everything on.
pub struct Gate {
    port: u16,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// In front of a server on this machine, open.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new((Mutex::new(true), Condvar::new()));
        let held = open.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(near), Ok(far)) = (socket, TcpStream::connect(("127.0.0.1", server)))
                else {
                    continue;
                };
                pass(
                    near.try_clone().unwrap(),
                    far.try_clone().unwrap(),
                    held.clone(),
                );
                pass(far, near, held.clone());
            }
        });
        Self { port, open }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets nothing through from now on.
    pub fn hold(&self) {
        *self.open.0.lock().unwrap() = false;
    }

    /// Lets everything through again, what has waited first.
    pub fn release(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, open: Arc<(Mutex<bool>, Condvar)>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let held = open.0.lock().unwrap();
            drop(open.1.wait_while(held, |open| !*open).unwrap());
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
