//! The HTTP client of a store: with timeouts, and with the patience that a busy server asks for.

use std::time::Duration;

use http::Request;
use http::Response;
use http::StatusCode;
use opendal::Buffer;
use opendal::HttpBody;
use opendal::HttpTransport;
use opendal_http_transport_reqwest::ReqwestTransport;

use crate::error::Error;
use crate::error::Result;

/// A server that does not accept a connection within this is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that carries nothing for this long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait that a server may ask for at a time.
const WAIT_MOST: Duration = Duration::from_secs(30);
/// How often a server may ask to wait before its answer counts as a failure.
const WAITS: usize = 6;
const WAIT_FIRST: Duration = Duration::from_millis(250);

/// Sends requests, and sends them again when the server answers 429, or 503 with `Retry-After`.
pub(super) struct Patient {
    inner: ReqwestTransport,
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
        })
    }
}

impl HttpTransport for Patient {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let mut wait = WAIT_FIRST;
        for _ in 0..WAITS {
            // Bodies are reference-counted: a copy costs nothing.
            let response = self.inner.fetch(request.clone()).await?;
            let Some(asked) = asks_to_wait(&response) else {
                return Ok(response);
            };
            tokio::time::sleep(asked.unwrap_or(wait).min(WAIT_MOST)).await;
            wait *= 2;
        }
        self.inner.fetch(request).await
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
