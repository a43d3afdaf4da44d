//! The HTTP client of a store: with timeouts, with the patience that a busy server asks for, and with an ear for what
//! a refusal means.
//!
//! Bodies are collected here, never longer than what was asked for. Objects are small, so nothing is lost by it; and
//! what is above would take a body that ends early or late apart by the byte, for which OpenDAL 0.59 panics where the
//! server sends more than the range (`BytesRange::advance`) or fails after its last byte (`BytesRange::to_string`).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use opendal::Buffer;
use opendal::ErrorKind;
use opendal::HttpBody;
use opendal::HttpTransport;
use opendal::raw::oio::ReadStream;
use opendal_http_transport_reqwest::ReqwestTransport;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;

/// A server that does not accept a connection within this is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that carries nothing for this long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for a server's wish within one attempt: shorter than what the attempt has.
const WAIT_MOST: Duration = Duration::from_secs(20);
/// A server that wants to be left alone for longer is asked again after this.
const QUIET_MOST: Duration = Duration::from_secs(600);
/// How often a server may ask to wait before its answer counts as a failure.
const WAITS: usize = 6;
const WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest answer to a request that names no range: a page of a listing, in bytes.
const LISTING_MOST: u64 = 64 << 20;
/// What is read of the page that explains a refusal, in bytes.
const PAGE_MOST: usize = 64 * 1024;

/// Sends requests, and sends them again when the server answers 429, or 503 with `Retry-After`. Until the time that
/// the server names, no request of anybody is sent.
pub(super) struct Patient {
    inner: ReqwestTransport,
    quiet_until: Mutex<Option<Instant>>,
}

/// What an answer means where OpenDAL's kinds have no word for it; the source of an error.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Answer {
    /// A quota or a disk is full.
    #[error("{0}")]
    Full(String),
    /// The credentials are not accepted, or not any more.
    #[error("{0}")]
    Denied(String),
}

impl Patient {
    pub(super) fn new() -> Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .http1_only()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(32)
            .build()
            .map_err(|error| Error::Usage(format!("the HTTP client cannot be set up: {error}")))?;
        Ok(Self {
            inner: ReqwestTransport::new(client),
            quiet_until: Mutex::default(),
        })
    }

    /// Waits as long as the server wants quiet; fails if that is too long to be waited for here.
    async fn keep_quiet(&self) -> opendal::Result<()> {
        let until = *self
            .quiet_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(until) = until else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left > WAIT_MOST {
            let words = format!("it asks to be left alone for another {} s", left.as_secs());
            return Err(opendal::Error::new(ErrorKind::RateLimited, words));
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    fn note_wish(&self, wish: Duration) {
        let until = Instant::now() + wish.min(QUIET_MOST);
        let mut quiet = self
            .quiet_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *quiet = (*quiet).max(Some(until));
    }
}

impl HttpTransport for Patient {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let mut wait = WAIT_FIRST;
        for _ in 0..WAITS {
            self.keep_quiet().await?;
            // Bodies are reference-counted: a copy costs nothing.
            let response = self.inner.fetch(request.clone()).await?;
            match asks_to_wait(&response) {
                None => return understood(&request, response).await,
                Some(Some(wish)) => self.note_wish(wish),
                Some(None) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
            }
        }
        self.keep_quiet().await?;
        let response = self.inner.fetch(request.clone()).await?;
        understood(&request, response).await
    }
}

/// `Some` if the server wants the request later, with the time if it says one.
fn asks_to_wait<T>(response: &Response<T>) -> Option<Option<Duration>> {
    let after = response.headers().get(http::header::RETRY_AFTER);
    let seconds = after
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok());
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Some(seconds.map(Duration::from_secs)),
        StatusCode::SERVICE_UNAVAILABLE if after.is_some() => {
            Some(seconds.map(Duration::from_secs))
        }
        _ => None,
    }
}

/// The same answer with all of its body, or the error that it is.
async fn understood(
    request: &Request<Buffer>,
    response: Response<HttpBody>,
) -> opendal::Result<Response<HttpBody>> {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        return refusal(request.method(), response).await;
    }
    if request.method() != Method::GET {
        return Ok(response);
    }
    let most = asked_for(request).unwrap_or(LISTING_MOST);
    let (parts, mut body) = response.into_parts();
    let (mut whole, mut length) = (Vec::new(), 0);
    loop {
        // Fails where the promised length is not kept.
        let part = body.read().await?;
        if part.is_empty() {
            break;
        }
        length += part.len() as u64;
        if length > most {
            let words = "it sends more than was asked for";
            return Err(opendal::Error::new(ErrorKind::Unexpected, words).set_temporary());
        }
        whole.push(part);
    }
    let whole: Buffer = whole.into_iter().flatten().collect();
    let whole = futures::stream::iter([Ok(whole)]);
    Ok(Response::from_parts(
        parts,
        HttpBody::new(whole, Some(length)),
    ))
}

/// Bytes of the range that a request names.
fn asked_for(request: &Request<Buffer>) -> Option<u64> {
    let range = request.headers().get(http::header::RANGE)?.to_str().ok()?;
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

/// The error that a refusal is, or the same answer with its page cut: a server may send one without end.
async fn refusal(
    method: &Method,
    response: Response<HttpBody>,
) -> opendal::Result<Response<HttpBody>> {
    let status = response.status();
    let (parts, mut body) = response.into_parts();
    let mut page = Vec::new();
    while page.len() < PAGE_MOST {
        match body.read().await {
            Ok(part) if !part.is_empty() => page.extend_from_slice(&part.to_vec()),
            // The status says enough where the page does not come to its end.
            _ => break,
        }
    }
    page.truncate(PAGE_MOST);
    if let Some(answer) = meaning(method, status, &String::from_utf8_lossy(&page)) {
        return Err(opendal::Error::new(ErrorKind::Unexpected, "refused").set_source(answer));
    }
    let length = page.len() as u64;
    let page = futures::stream::iter([Ok(Buffer::from(page))]);
    Ok(Response::from_parts(
        parts,
        HttpBody::new(page, Some(length)),
    ))
}

/// Providers have many words for "full" and "expired"; S3's pages carry theirs in `<Code>`.
fn meaning(method: &Method, status: StatusCode, page: &str) -> Option<Answer> {
    let code = page
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code);
    let told = match code {
        Some(code) => format!("{status}: {code}"),
        None => status.to_string(),
    };
    let uploads = matches!(*method, Method::PUT | Method::POST);
    let words = code.unwrap_or(page).to_ascii_lowercase();
    let full = ["quota", "storagefull", "cap exceeded", "cap_exceeded"]
        .iter()
        .any(|word| words.contains(word));
    match status {
        StatusCode::INSUFFICIENT_STORAGE => Some(Answer::Full(told)),
        // Every object is far below what any service takes as one: what is too large is the sum.
        StatusCode::PAYLOAD_TOO_LARGE if uploads => Some(Answer::Full(told)),
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::CONFLICT
            if uploads && full =>
        {
            Some(Answer::Full(told))
        }
        StatusCode::UNAUTHORIZED => Some(Answer::Denied(told)),
        StatusCode::BAD_REQUEST
            if matches!(
                code,
                Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")
            ) =>
        {
            Some(Answer::Denied(told))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_full(method: &Method, status: u16, page: &str) -> bool {
        let status = StatusCode::from_u16(status).expect("a status");
        matches!(meaning(method, status, page), Some(Answer::Full(_)))
    }

    #[test]
    fn full_and_expired_are_told_from_other_refusals() {
        assert!(is_full(&Method::PUT, 507, ""));
        assert!(is_full(&Method::PUT, 413, "Upload exceeds quota."));
        let quota = "<Error><Code>QuotaExceeded</Code></Error>";
        assert!(is_full(&Method::PUT, 403, quota));
        assert!(!is_full(&Method::GET, 403, quota));
        let denied = "<Error><Code>AccessDenied</Code><Resource>/quota/x</Resource></Error>";
        assert!(!is_full(&Method::PUT, 403, denied));
        let expired = "<Error><Code>ExpiredToken</Code></Error>";
        for (status, page) in [(401, ""), (400, expired)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let meant = meaning(&Method::GET, status, page);
            assert!(matches!(meant, Some(Answer::Denied(_))), "{meant:?}");
        }
        assert!(meaning(&Method::GET, StatusCode::NOT_FOUND, "").is_none());
    }
}
