//! S3 over HTTP: a server in this process, over a temporary folder, or a real one.

use coffre::store::StoreUri;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::proxy::Proxy;

const KEY: &str = "testkey";
const SECRET: &str = "testsecret";
/// Other credentials that the server in this process accepts.
pub const NEW_KEY: &str = "newkey";
pub const NEW_SECRET: &str = "newsecret";

/// Whether clients get through to the server in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Reachable,
    /// Every connection is cut, as by an unplugged cable.
    Away,
}

/// A server with one bucket: in this process, or the real one that `COFFRE_TEST_S3` names.
pub struct S3 {
    // Dropped first: the server ends with its runtime.
    _runtime: Option<Runtime>,
    /// What the server in this process stores; empty with a real one.
    pub folder: tempfile::TempDir,
    reach: Option<watch::Sender<Reach>>,
    port: u16,
    /// `s3://bucket`, the prefix of this test, and the options.
    place: (String, String, String),
}

impl S3 {
    /// The real server if there is one, else one in this process.
    pub fn start() -> Self {
        match std::env::var("COFFRE_TEST_S3") {
            Ok(address) => Self::real(&address),
            Err(_) => Self::in_process(),
        }
    }

    /// A real server, by an address such as `s3://bucket?region=…&endpoint=…`; the credentials are in the environment.
    fn real(address: &str) -> Self {
        let (bucket, options) = address.split_once('?').unwrap();
        let mut unique = [0; 6];
        getrandom::fill(&mut unique).unwrap();
        let unique = format!("test-{}/", u64::from_le_bytes(padded(unique)));
        let credential = |name| std::env::var(name).unwrap();
        let options = format!(
            "{options}\n{}\n{}",
            credential("AWS_ACCESS_KEY_ID"),
            credential("AWS_SECRET_ACCESS_KEY")
        );
        Self {
            _runtime: None,
            reach: None,
            port: 0,
            folder: tempfile::tempdir().unwrap(),
            place: (bucket.to_owned(), unique, options),
        }
    }

    /// Over a temporary folder, which can be looked into.
    pub fn in_process() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let (runtime, listener, port) = listen();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        let mut known = SimpleAuth::from_single(KEY, SECRET);
        known.register(NEW_KEY.to_owned(), NEW_SECRET.into());
        service.set_auth(known);
        let service = service.build();
        let reach = watch::Sender::new(Reach::Reachable);
        let reached = reach.subscribe();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if *reached.borrow() == Reach::Away {
                    continue;
                }
                let _ = socket.set_nodelay(true);
                let (service, mut reached) = (service.clone(), reached.clone());
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    tokio::select! {
                        _ = server.serve_connection(TokioIo::new(socket), service) => {}
                        _ = reached.wait_for(|reach| *reach == Reach::Away) => {}
                    }
                });
            }
        });
        let options = format!("region=us-east-1&endpoint=http://127.0.0.1:{port}\n{KEY}\n{SECRET}");
        Self {
            _runtime: Some(runtime),
            folder,
            reach: Some(reach),
            port,
            place: ("s3://bucket".into(), String::new(), options),
        }
    }

    /// A proxy before the server in this process.
    pub fn proxy(&self) -> Proxy {
        Proxy::before(self.port)
    }

    /// As [`S3::profile`], through the proxy.
    pub fn profile_through(&self, proxy: &Proxy, name: &str, prefix: &str) -> String {
        self.through_port(proxy, &self.profile(name, prefix))
    }

    fn through_port(&self, proxy: &Proxy, text: &str) -> String {
        text.replace(&format!(":{}", self.port), &format!(":{}", proxy.port()))
    }

    /// The same server, asked through the proxy.
    pub fn through(&self, proxy: &Proxy, prefix: &str) -> StoreUri {
        Self::read(&self.told_through(proxy, prefix))
    }

    /// The same as text.
    pub fn told_through(&self, proxy: &Proxy, prefix: &str) -> String {
        self.through_port(proxy, &self.told(prefix))
    }

    /// Unplugs the server, or plugs it in again.
    pub fn set_reach(&self, reach: Reach) {
        self.reach.as_ref().unwrap().send_replace(reach);
    }

    fn address(&self, prefix: &str) -> (String, &str, &str) {
        let (bucket, unique, options) = &self.place;
        let mut options = options.lines();
        let mut next = || options.next().unwrap();
        let address = format!("{bucket}/{unique}{prefix}?{}", next());
        (address, next(), next())
    }

    /// A profile of the command line for a prefix in its bucket.
    pub fn profile(&self, name: &str, prefix: &str) -> String {
        let (address, key, secret) = self.address(prefix);
        format!(
            "[profile.{name}]\nurl = \"{address}\"\n[profile.{name}.options]\n\
             access_key_id = \"{key}\"\nsecret_access_key = \"{secret}\"\ndisable_config_load = \"true\"\n"
        )
    }

    /// The address of a prefix in its bucket, with credentials as a profile would add them.
    pub fn uri(&self, prefix: &str) -> StoreUri {
        Self::read(&self.told(prefix))
    }

    /// The same as text, for another process.
    pub fn told(&self, prefix: &str) -> String {
        let (address, key, secret) = self.address(prefix);
        format!("{address}\n{key}\n{secret}")
    }

    /// Reads it back.
    pub fn read(told: &str) -> StoreUri {
        let mut lines = told.lines();
        let mut next = || lines.next().unwrap();
        StoreUri::parse(next())
            .unwrap()
            .with_option("access_key_id", next())
            .with_option("secret_access_key", next())
            .with_option("disable_config_load", "true")
    }
}

fn padded(bytes: [u8; 6]) -> [u8; 8] {
    let [a, b, c, d, e, f] = bytes;
    [a, b, c, d, e, f, 0, 0]
}

/// A thread of its own for a server in this process, and a port of this machine that it answers at.
pub(crate) fn listen() -> (Runtime, TcpListener, u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    (runtime, listener, port)
}
