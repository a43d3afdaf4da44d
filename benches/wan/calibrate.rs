//! What a line really does, measured with a client of a few lines: a benchmark is worth no more than its line.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Serialize;

use crate::link::Line;
use crate::site::Site;

const PINGS: usize = 15;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Calibration {
    /// Median, in milliseconds.
    pub round_trip: f64,
    /// In Mbit/s, of content in one request.
    pub up: f64,
    pub down: f64,
}

/// Measures a line with an empty store at its end.
pub fn measure(line: Line) -> Result<Calibration> {
    let site = Site::open(line)?;
    // As much as it carries in two seconds.
    let content = vec![0x5a; (line.bits_per_second / 8 * 2) as usize];
    let mut socket = TcpStream::connect(("127.0.0.1", site.far()))?;
    socket.set_nodelay(true)?;
    let (up, _) = ask(&mut socket, "PUT", &content)?;
    let (down, received) = ask(&mut socket, "GET", &[])?;
    ensure!(received == content, "the store answers something else");
    let mut pings = Vec::new();
    for _ in 0..PINGS {
        pings.push(ask(&mut socket, "HEAD", &[])?.0);
    }
    pings.sort();
    let round_trip = pings[PINGS / 2];
    let rate = |took: Duration| {
        let carrying = took.saturating_sub(round_trip).as_secs_f64();
        content.len() as f64 * 8.0 / carrying / 1e6
    };
    Ok(Calibration {
        round_trip: round_trip.as_secs_f64() * 1e3,
        up: rate(up),
        down: rate(down),
    })
}

/// One request on a connection that stays open; answers how long it took, and the body.
fn ask(socket: &mut TcpStream, method: &str, body: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let begin = Instant::now();
    let head = format!(
        "{method} /bucket/key HTTP/1.1\r\nhost: store\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(body)?;
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = socket.read(&mut chunk)?;
        ensure!(count > 0, "the store has ended the connection");
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).into_owned();
        ensure!(head.starts_with("HTTP/1.1 200"), "the store answers {head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let names_it = name.eq_ignore_ascii_case("content-length");
            names_it.then(|| value.trim().parse::<usize>())
        });
        let mut length = length.context("the store tells no length")??;
        if method == "HEAD" {
            length = 0;
        }
        let mut received = answer.split_off(end + 4);
        let there = received.len();
        received.resize(length, 0);
        if let Some(rest) = received.get_mut(there..) {
            socket.read_exact(rest)?;
        }
        return Ok((begin.elapsed(), received));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_store_does_what_it_says() {
        let line = Line {
            round_trip: Duration::from_millis(40),
            bits_per_second: 40_000_000,
        };
        let found = measure(line).unwrap();
        // A busy machine makes it longer and narrower, never the other way.
        assert!((39.0..80.0).contains(&found.round_trip), "{found:?}");
        assert!((30.0..41.0).contains(&found.up), "{found:?}");
        assert!((30.0..41.0).contains(&found.down), "{found:?}");
    }
}
