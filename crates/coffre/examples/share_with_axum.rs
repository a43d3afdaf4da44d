//! One vault for all requests of a web service: `share_with_axum ADDRESS PASSPHRASE_FILE LISTEN`, then GET and PUT
//! `http://LISTEN/any/path`.

use std::error::Error;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use coffre::Filesystem;
use coffre::Refusal;
use coffre::Secret;
use coffre::Vault;
use tokio_util::io::ReaderStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, passphrase, listen] = arguments.as_slice() else {
        return Err("share_with_axum ADDRESS PASSPHRASE_FILE LISTEN".into());
    };
    let secret = Secret::passphrase(std::fs::read(passphrase)?)?;
    let files = Vault::open(address, &secret).await?.files().await?;
    let service = Router::new()
        .route("/{*path}", get(read).put(write))
        .with_state(files.clone());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let serve = axum::serve(listener, service);
    serve.with_graceful_shutdown(interrupted()).await?;
    files.close().await?;
    println!("everything is in the store");
    Ok(())
}

async fn interrupted() {
    // Where signals cannot be waited for, it goes on until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// Streams, so that files may be larger than memory.
async fn read(State(files): State<Filesystem>, Path(path): Path<String>) -> Result<Body, Failure> {
    let file = files.open(path).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(
        file,
        256 * 1024,
    )))
}

async fn write(
    State(files): State<Filesystem>,
    Path(path): Path<String>,
    content: Bytes,
) -> Result<StatusCode, Failure> {
    if let Some(folder) = std::path::Path::new(&path).parent() {
        files.create_dir_all(folder).await?;
    }
    files.write(&path, content).await?;
    // What was answered with success survives a power cut here; the upload follows by itself.
    files.sync().await?;
    Ok(StatusCode::NO_CONTENT)
}

struct Failure(coffre::Error);

impl From<coffre::Error> for Failure {
    fn from(error: coffre::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.refusal() {
            Some(Refusal::NoEntry) => StatusCode::NOT_FOUND,
            Some(Refusal::IsDirectory | Refusal::NotDirectory) => StatusCode::CONFLICT,
            Some(_) => StatusCode::BAD_REQUEST,
            None => StatusCode::BAD_GATEWAY,
        };
        (status, self.0.to_string()).into_response()
    }
}
