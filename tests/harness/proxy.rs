//! An unkind HTTP server: a proxy before a kind one, with rules for what it does to which request.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::s3::listen;

/// What is done to a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Answered after a while.
    Delay(Duration),
    /// Never answered; the connection stays open.
    Silence,
    /// The connection is reset before the server hears of it.
    ResetBefore,
    /// The server does it; the connection is reset instead of its answer.
    ResetAfter,
    /// The server does it, and something else is answered.
    AnswerAfter(Answer),
    /// Something is answered, and the server does not hear of it.
    Answer(Answer),
    /// The answer is cut after half of its body.
    Cut,
    /// The body of the answer comes a byte a second.
    Trickle,
    /// The head promises this many bytes more than come before the connection ends.
    PromiseMore(u64),
    /// The head promises this many bytes less than come.
    PromiseLess(u64),
    /// The whole, honest answer is shorter than was asked for by this many bytes.
    Short(u64),
    /// As many bytes as were asked for, but others.
    OtherRange,
    /// The range is ignored: these bytes instead, of more that are promised.
    Whole { bytes: Vec<u8>, more: usize },
}

/// An answer of the proxy's own.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: &'static str,
    pub headers: &'static str,
    pub body: &'static str,
}

impl Answer {
    pub const DENIED: Self = Self {
        status: "403 Forbidden",
        headers: "",
        body: "<Error><Code>InvalidAccessKeyId</Code><Message>gone</Message></Error>",
    };

    pub const fn status(status: &'static str) -> Self {
        Self {
            status,
            headers: "",
            body: "",
        }
    }
}

/// Which requests, and what.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `None` for all.
    pub method: Option<&'static str>,
    /// A part of the head: of the path, the query or a header.
    pub part: &'static str,
    /// Requests that pass before it begins.
    pub after: usize,
    /// Requests that it is done to.
    pub times: usize,
    pub action: Action,
}

impl Rule {
    /// To every request of a method.
    pub fn every(method: &'static str, part: &'static str, action: Action) -> Self {
        Self {
            method: Some(method),
            part,
            after: 0,
            times: usize::MAX,
            action,
        }
    }

    /// To every request.
    pub fn all(action: Action) -> Self {
        Self {
            method: None,
            ..Self::every("", "", action)
        }
    }

    /// Only so often.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub method: String,
    pub path: String,
    /// Whether a rule was applied to it.
    pub hit: bool,
}

#[derive(Default)]
struct State {
    rules: Vec<(Rule, usize)>,
    seen: Vec<Seen>,
}

/// A proxy in this process. Ends with it.
pub struct Proxy {
    runtime: Option<Runtime>,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Before the server at a port of this machine.
    pub fn before(server: u16) -> Self {
        let (runtime, listener, port) = listen();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let _ = client.set_nodelay(true);
                let shared = shared.clone();
                tokio::spawn(async move {
                    // A client or a server that goes away ends the connection, as it would without a proxy.
                    let _ = serve(client, server, &shared).await;
                });
            }
        });
        Self {
            runtime: Some(runtime),
            port,
            state,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a rule; the first one that matches counts.
    pub fn rule(&self, rule: Rule) {
        self.state.lock().unwrap().rules.push((rule, 0));
    }

    /// Kind again.
    pub fn be_kind(&self) {
        self.state.lock().unwrap().rules.clear();
    }

    /// Requests that came since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    /// How many requests rules were applied to, since the last `take_seen`.
    pub fn hits(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.seen.iter().filter(|seen| seen.hit).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Silent connections are not waited for.
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn judge(&mut self, head: &str) -> Option<Action> {
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let mut action = None;
        for (rule, count) in &mut self.rules {
            if rule.method.is_none_or(|wanted| wanted == method) && head.contains(rule.part) {
                *count += 1;
                if *count > rule.after && *count - rule.after <= rule.times {
                    action = Some(rule.action.clone());
                    break;
                }
            }
        }
        self.seen.push(Seen {
            at: Instant::now(),
            method: method.into(),
            path: path.into(),
            hit: action.is_some(),
        });
        action
    }
}

/// A message: its head with the empty line, and its body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn length(&self) -> usize {
        self.header("content-length")
            .map_or(0, |length| length.parse().unwrap())
    }

    /// With another promise.
    fn promising(&self, length: u64) -> Vec<u8> {
        let lines = self.head.trim_end().lines().filter(|line| {
            let name = line.split(':').next().unwrap();
            !name.eq_ignore_ascii_case("content-length")
        });
        let lines: Vec<&str> = lines.collect();
        format!("{}\r\ncontent-length: {length}\r\n\r\n", lines.join("\r\n")).into_bytes()
    }
}

async fn read_message(socket: &mut TcpStream) -> std::io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let body = bytes.split_off(end);
    let mut message = Message {
        head: String::from_utf8_lossy(&bytes).into_owned(),
        body,
    };
    if message.header("expect").is_some() {
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length = message.length();
    while message.body.len() < length {
        if socket.read_buf(&mut message.body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(message))
}

/// Asks the server on a connection of its own, which ends with the answer.
async fn ask(server: u16, request: &Message) -> std::io::Result<Message> {
    let mut socket = TcpStream::connect(("127.0.0.1", server)).await?;
    let head = request.head.trim_end();
    // Not among what a client signs.
    socket
        .write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    socket.write_all(&request.body).await?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)? + 4;
    let body = bytes.split_off(end);
    Ok(Message {
        head: String::from_utf8_lossy(&bytes).into_owned(),
        body,
    })
}

/// One request a connection: the answers say that it is closed.
async fn serve(mut client: TcpStream, server: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(request) = read_message(&mut client).await? else {
        return Ok(());
    };
    let action = state.lock().unwrap().judge(&request.head);
    match action {
        Some(Action::Silence) => std::future::pending().await,
        Some(Action::ResetBefore) => return reset(&client),
        Some(Action::Answer(answer)) => return say(&mut client, &answer).await,
        Some(Action::Delay(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let response = ask(server, &request).await?;
    let (head, body) = (response.head.as_bytes(), response.body.as_slice());
    let length = body.len() as u64;
    match action {
        Some(Action::ResetAfter) => return reset(&client),
        Some(Action::AnswerAfter(answer)) => return say(&mut client, &answer).await,
        Some(Action::Cut) => {
            client.write_all(head).await?;
            client.write_all(&body[..body.len() / 2]).await?;
            client.flush().await?;
            // What was sent shall arrive before the end does.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return reset(&client);
        }
        Some(Action::Trickle) => {
            client.write_all(head).await?;
            for byte in body {
                client.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Some(Action::PromiseMore(more)) => {
            client.write_all(&response.promising(length + more)).await?;
            client.write_all(body).await?;
        }
        Some(Action::PromiseLess(less)) => {
            client.write_all(&response.promising(length - less)).await?;
            client.write_all(body).await?;
        }
        Some(Action::Short(less)) => {
            client.write_all(&response.promising(length - less)).await?;
            client.write_all(&body[..(length - less) as usize]).await?;
        }
        Some(Action::OtherRange) => {
            let mut other = body.to_vec();
            other.rotate_left(1000);
            client.write_all(head).await?;
            client.write_all(&other).await?;
        }
        Some(Action::Whole { bytes, more }) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                bytes.len() + more
            );
            client.write_all(head.as_bytes()).await?;
            client.write_all(&bytes).await?;
        }
        _ => {
            client.write_all(head).await?;
            client.write_all(body).await?;
        }
    }
    client.shutdown().await
}

async fn say(client: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let Answer {
        status,
        headers,
        body,
    } = answer;
    let text = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}

/// Ends it with a reset instead of an orderly end.
fn reset(client: &TcpStream) -> std::io::Result<()> {
    client.set_zero_linger()
}
