//! An S3 server in this process, as fast as it gets: objects in memory, no signature checked, nothing delayed.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use hyper::http::request::Parts;
use hyper::http::response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::ask::Ask;
use crate::ask::Requests;
use crate::ask::Span;
use crate::ask::Step;
use crate::ask::unframed;
use crate::bucket::Bucket;
use crate::bucket::DATE;
use crate::bucket::Object;
use crate::bucket::escaped;
use crate::bucket::names_in;

/// A server with one bucket; every name of a bucket means it.
pub struct Server {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    bucket: Bucket,
    requests: Requests,
}

impl Server {
    /// Runs until its runtime ends.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Ok(Self { port, state })
    }

    /// Since it is there.
    pub fn requests(&self) -> Requests {
        lock(&self.state).requests
    }

    /// Bytes of all objects.
    pub fn stored(&self) -> u64 {
        lock(&self.state).bucket.size()
    }

    /// Objects whose names hold some letters.
    pub fn count(&self, part: &str) -> usize {
        lock(&self.state).bucket.count(part)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: TcpStream, state: Arc<Mutex<State>>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = whole(body).await?;
            let answer = answer(&mut lock(&state), &head, body);
            Ok::<_, hyper::Error>(answer)
        }
    });
    // Clients end connections as they like.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

fn answer(state: &mut State, head: &Parts, body: Bytes) -> Response<Whole> {
    let ask = Ask::of(head);
    state.requests.add(&ask);
    let bucket = &mut state.bucket;
    match ask {
        Ask::Put { key } => match unframed(&head.headers, body) {
            Some(content) => tagged(&bucket.put(key, content, &head.headers)),
            None => failed(StatusCode::BAD_REQUEST, "IncompleteBody"),
        },
        Ask::Copy { from, to } => match bucket.copy(&from, to, &head.headers) {
            Some(tag) => xml(format!(
                "<CopyObjectResult><ETag>\"{tag}\"</ETag></CopyObjectResult>"
            )),
            None => no_key(),
        },
        Ask::Get { key, range } => match bucket.get(&key) {
            Some(object) => get(object, range),
            None => no_key(),
        },
        // The body is left out on the way; its length is told.
        Ask::Head { key } => match bucket.get(&key) {
            Some(object) => get(object, None),
            None => no_key(),
        },
        Ask::Delete { key } => {
            bucket.delete(&key);
            empty(StatusCode::NO_CONTENT)
        }
        Ask::DeleteMany => {
            for key in names_in(&String::from_utf8_lossy(&body)) {
                bucket.delete(&key);
            }
            xml("<DeleteResult></DeleteResult>".into())
        }
        Ask::List(listing) => xml(bucket.list(&listing)),
        Ask::Upload(step) => upload(bucket, step, head, body),
        Ask::Location => xml("<LocationConstraint></LocationConstraint>".into()),
        Ask::Bucket => empty(StatusCode::OK),
        Ask::Unknown => failed(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

/// One step of an object that comes in parts.
fn upload(bucket: &mut Bucket, step: Step, head: &Parts, body: Bytes) -> Response<Whole> {
    let answer = match step {
        Step::Start { key } => {
            let upload = bucket.start_upload(&head.headers);
            let key = escaped(&key);
            Some(xml(format!(
                "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{key}</Key><UploadId>{upload}</UploadId>\
                 </InitiateMultipartUploadResult>"
            )))
        }
        Step::Part { upload, number } => unframed(&head.headers, body)
            .and_then(|content| bucket.put_part(upload, number, content))
            .map(|tag| tagged(&tag)),
        Step::Finish { key, upload } => {
            let told = escaped(&key);
            let tag = bucket.finish_upload(upload, key);
            tag.map(|tag| {
                xml(format!(
                    "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>{told}</Key><ETag>\"{tag}\"</ETag>\
                     </CompleteMultipartUploadResult>"
                ))
            })
        }
        Step::Abort { upload } => {
            bucket.abort_upload(upload);
            Some(empty(StatusCode::NO_CONTENT))
        }
    };
    answer.unwrap_or_else(|| failed(StatusCode::NOT_FOUND, "NoSuchUpload"))
}

fn get(object: &Object, range: Option<Span>) -> Response<Whole> {
    let length = object.content.len();
    let mut answer = Response::builder()
        .header("etag", format!("\"{}\"", object.tag))
        .header("last-modified", DATE)
        .header("accept-ranges", "bytes");
    if let Some(headers) = answer.headers_mut() {
        headers.extend(object.headers.clone());
    }
    let Some(range) = range else {
        return with(answer, object.content.clone());
    };
    let Some(range) = range.within(length) else {
        return failed(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    };
    let told = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    let answer = answer.status(StatusCode::PARTIAL_CONTENT);
    let part = object.content.slice(range);
    with(answer.header("content-range", told), part)
}

fn tagged(tag: &str) -> Response<Whole> {
    let answer = Response::builder().header("etag", format!("\"{tag}\""));
    with(answer, Bytes::new())
}

fn xml(body: String) -> Response<Whole> {
    let answer = Response::builder().header("content-type", "application/xml");
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    with(answer, body.into())
}

fn empty(status: StatusCode) -> Response<Whole> {
    with(Response::builder().status(status), Bytes::new())
}

fn failed(status: StatusCode, code: &str) -> Response<Whole> {
    let mut answer = xml(format!(
        "<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    ));
    *answer.status_mut() = status;
    answer
}

fn no_key() -> Response<Whole> {
    failed(StatusCode::NOT_FOUND, "NoSuchKey")
}

fn with(answer: response::Builder, body: Bytes) -> Response<Whole> {
    answer
        .body(Whole(body))
        .expect("headers were read from a request, or are written here")
}

/// Everything that a client sends.
async fn whole(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let length = body.size_hint().exact().unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(length as usize);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// A body that is there at once.
struct Whole(Bytes);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
