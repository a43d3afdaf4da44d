//! An S3 server over HTTP in this process, over a temporary folder.

use coffre::store::StoreUri;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const KEY: &str = "testkey";
const SECRET: &str = "testsecret";

/// A running server with one bucket.
pub struct S3 {
    // Dropped first: the server ends with its runtime.
    _runtime: Runtime,
    pub folder: tempfile::TempDir,
    port: u16,
}

impl S3 {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self {
            _runtime: runtime,
            folder,
            port,
        }
    }

    /// A profile of the command line for a prefix in its bucket.
    pub fn profile(&self, name: &str, prefix: &str) -> String {
        format!(
            "[profile.{name}]\nurl = \"s3://bucket/{prefix}?region=us-east-1&endpoint=http://127.0.0.1:{}\"\n\
             [profile.{name}.options]\naccess_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\n\
             disable_config_load = \"true\"\n",
            self.port
        )
    }

    /// The address of a prefix in its bucket, with credentials as a profile would add them.
    pub fn uri(&self, prefix: &str) -> StoreUri {
        let text = format!(
            "s3://bucket/{prefix}?region=us-east-1&endpoint=http://127.0.0.1:{}",
            self.port
        );
        StoreUri::parse(&text)
            .unwrap()
            .with_option("access_key_id", KEY)
            .with_option("secret_access_key", SECRET)
            .with_option("disable_config_load", "true")
    }
}
