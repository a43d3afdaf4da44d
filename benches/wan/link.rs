//! A TCP proxy that stands for a long, narrow line: what goes in comes out later, and no faster than the line carries.
//!
//! ```text
//!            depart                        postman                     arrive
//!  socket ─▶ waits for its turn on ─────▶ waits until it is there ───▶ socket
//!            the line, all connections    (half a round trip)
//! ```
//! Both ways are like this and share nothing. A connection costs a round trip before its first byte, as its handshake
//! would. Not modelled: loss, the slow start of TCP, the handshake of TLS. A real line is kinder to nobody, and least
//! to whoever opens many connections.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;

/// What goes onto the line at once, in bytes: what two connections share is shared in parts of this size.
const CHUNK: usize = 8 << 10;
/// What a connection may have under way each way, in bytes: more than any of our lines holds.
const WINDOW: usize = 4 << 20;
/// How long before its turn a chunk is given to the postman. The runtime's timer is up to 2 ms late, the line must not
/// stand idle for that.
const LEAD: Duration = Duration::from_millis(5);

/// What a line is like.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub round_trip: Duration,
    /// Each way.
    pub bits_per_second: u64,
}

/// A line to a server of this machine.
pub struct Link {
    /// Where it is entered.
    pub port: u16,
    up: Arc<Way>,
    down: Arc<Way>,
}

/// Bytes that went over a line, heads of requests included.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    pub sent: u64,
    pub received: u64,
}

impl Link {
    /// To the server at a port of this machine. Runs until its runtime ends.
    pub async fn before(server: u16, line: Line) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (up, down) = (Arc::new(Way::new(line)), Arc::new(Way::new(line)));
        let ways = (up.clone(), down.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (up, down) = ways.clone();
                tokio::spawn(async move {
                    // For the client the connection stands already; on the line it does not.
                    tokio::time::sleep(line.round_trip).await;
                    // A client or a server that goes away ends the connection, as it would without a line.
                    let _ = connect(client, server, &up, &down).await;
                });
            }
        });
        Ok(Self { port, up, down })
    }

    /// Since it is there.
    pub fn passed(&self) -> Passed {
        Passed {
            sent: self.up.passed.load(Ordering::Relaxed),
            received: self.down.passed.load(Ordering::Relaxed),
        }
    }
}

async fn connect(client: TcpStream, server: u16, up: &Way, down: &Way) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        carry(from_client, to_server, up),
        carry(from_server, to_client, down)
    );
    Ok(())
}

/// One connection one way, to its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: &Way) {
    let (sender, mut arriving) = mpsc::channel(WINDOW / CHUNK);
    // Both own their end of the channel: whichever stops, the other one notices.
    let depart = async move {
        while let Ok(room) = sender.clone().reserve_owned().await {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            match from.read_buf(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(_) => way.send(chunk.freeze(), room).await,
            }
        }
    };
    let arrive = async move {
        while let Some(chunk) = arriving.recv().await {
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(depart, arrive);
}

/// One direction of a line, for all connections.
struct Way {
    delay: Duration,
    bytes_per_second: f64,
    /// When the line has carried all that it was given.
    free: Mutex<Instant>,
    passed: AtomicU64,
    postman: std::sync::mpsc::Sender<Letter>,
}

/// A chunk under way.
struct Letter {
    due: Instant,
    room: mpsc::OwnedPermit<Bytes>,
    chunk: Bytes,
}

impl Way {
    fn new(line: Line) -> Self {
        let (postman, letters) = std::sync::mpsc::channel();
        std::thread::spawn(move || deliver(&letters));
        Self {
            delay: line.round_trip / 2,
            bytes_per_second: line.bits_per_second as f64 / 8.0,
            free: Mutex::new(Instant::now()),
            passed: AtomicU64::new(0),
            postman,
        }
    }

    /// Gives a chunk to the line; returns when the next one may be given.
    async fn send(&self, chunk: Bytes, room: mpsc::OwnedPermit<Bytes>) {
        let length = chunk.len();
        let left = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let takes = Duration::from_secs_f64(length as f64 / self.bytes_per_second);
            *free = (*free).max(Instant::now()) + takes;
            let due = *free + self.delay;
            // Under the lock, so that letters are in the order in which they are due. A postman who is gone has
            // panicked, and then nothing arrives any more.
            let _ = self.postman.send(Letter { due, room, chunk });
            *free
        };
        self.passed.fetch_add(length as u64, Ordering::Relaxed);
        tokio::time::sleep_until((left - LEAD).into()).await;
    }
}

/// A thread of its own, because it wakes to a tenth of a millisecond; the runtime's timer does not.
fn deliver(letters: &std::sync::mpsc::Receiver<Letter>) {
    for letter in letters {
        std::thread::sleep(letter.due.saturating_duration_since(Instant::now()));
        letter.room.send(letter.chunk);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::io::Write;

    use super::*;

    const LINE: Line = Line {
        round_trip: Duration::from_millis(30),
        bits_per_second: 80_000_000,
    };

    /// A line to a server that answers each connection with what `answer` makes of it.
    fn line(serve: fn(std::net::TcpStream)) -> (tokio::runtime::Runtime, Link) {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in server.incoming().flatten() {
                std::thread::spawn(move || serve(socket));
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let link = runtime.block_on(Link::before(port, LINE)).unwrap();
        (runtime, link)
    }

    fn echo(mut socket: std::net::TcpStream) {
        let mut byte = [0];
        socket.set_nodelay(true).unwrap();
        while socket.read_exact(&mut byte).is_ok() {
            socket.write_all(&byte).unwrap();
        }
    }

    fn swallow(mut socket: std::net::TcpStream) {
        std::io::copy(&mut socket, &mut std::io::sink()).unwrap();
        socket.write_all(b"done").unwrap();
    }

    /// A busy machine makes everything later, nothing sooner.
    fn about(expected: Duration, found: Duration) {
        assert!(found >= expected.mul_f64(0.97), "{found:?} < {expected:?}");
        assert!(
            found < expected.mul_f64(1.15) + Duration::from_millis(20),
            "{found:?} > {expected:?}"
        );
    }

    fn ask(socket: &mut std::net::TcpStream) -> Duration {
        let begin = Instant::now();
        socket.write_all(b"?").unwrap();
        socket.read_exact(&mut [0]).unwrap();
        begin.elapsed()
    }

    #[test]
    fn a_round_trip_takes_as_long_as_the_line_says_and_a_connection_one_more() {
        let (_runtime, link) = line(echo);
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", link.port)).unwrap();
        about(LINE.round_trip * 2, ask(&mut socket));
        for _ in 0..5 {
            about(LINE.round_trip, ask(&mut socket));
        }
        assert_eq!((link.passed().sent, link.passed().received), (6, 6));
    }

    #[test]
    fn all_connections_share_what_the_line_carries() {
        let (_runtime, link) = line(swallow);
        let bytes = vec![7; 1 << 20];
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut socket =
                        std::net::TcpStream::connect(("127.0.0.1", link.port)).unwrap();
                    socket.write_all(&bytes).unwrap();
                    socket.shutdown(std::net::Shutdown::Write).unwrap();
                    let mut told = Vec::new();
                    socket.read_to_end(&mut told).unwrap();
                    assert_eq!(told, b"done");
                });
            }
        });
        let carried =
            Duration::from_secs_f64(3.0 * bytes.len() as f64 * 8.0 / LINE.bits_per_second as f64);
        about(carried + LINE.round_trip * 2, begin.elapsed());
        assert_eq!(link.passed().sent, 3 << 20);
    }
}
