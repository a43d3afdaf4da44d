//! The S3 tests against Garage, a real server without conditional writes.

use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::run::has;
use crate::run::run as run_command;
use crate::test::target;

const VERSION: &str = "2.5.0";
const API: u16 = 19_041;
const RPC: u16 = 19_042;
/// Test credentials of a server that only this machine reaches.
const KEY: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Stops the server in any case.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `cargo xtask garage`
pub fn run() -> Result<()> {
    let garage = install()?;
    let folder = std::path::absolute(target())?.join("garage-test");
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder)?;
    let config = folder.join("garage.toml");
    std::fs::write(&config, settings(&folder))?;
    let log = std::fs::File::create(folder.join("log"))?;
    let child = Command::new(&garage)
        .arg("-c")
        .arg(&config)
        .arg("server")
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start garage")?;
    let _server = Server(child);
    wait_for(RPC)?;
    let say = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(&garage)
            .arg("-c")
            .arg(&config)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!(
                "garage {arguments:?} failed; its log is in {}",
                folder.display()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    let node = say(&["node", "id", "-q"])?;
    let node = node.trim().split('@').next().unwrap_or_default().to_owned();
    say(&["layout", "assign", &node, "-z", "dc1", "-c", "4G"])?;
    say(&["layout", "apply", "--version", "1"])?;
    say(&["bucket", "create", "coffre"])?;
    say(&["key", "import", "-n", "tests", "--yes", KEY, SECRET])?;
    say(&[
        "bucket", "allow", "--read", "--write", "--owner", "coffre", "--key", "tests",
    ])?;
    wait_for(API)?;
    let uri = format!("s3://coffre?region=garage&endpoint=http://127.0.0.1:{API}");
    run_command(
        Command::new("cargo")
            .args([
                "test",
                "--package",
                "coffre-tests",
                "--test",
                "library",
                "--test",
                "drive",
                "--",
                "_s3",
                // They bring a store of their own.
                "--skip",
                "examples::",
                "--nocapture",
                // A child that another thread starts holds all files for a moment, and so the mount.
                "--test-threads=1",
            ])
            .env("COFFRE_TEST_S3", uri)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET),
    )
}

fn install() -> Result<PathBuf> {
    if has("garage") {
        return Ok("garage".into());
    }
    let tools = std::path::absolute(target())?.join("tools");
    let garage = tools.join("bin/garage");
    if !garage.exists() {
        println!("set-up: building garage {VERSION}, which takes a while the first time");
        run_command(
            Command::new("cargo")
                .args([
                    "install",
                    "garage",
                    "--version",
                    VERSION,
                    "--locked",
                    "--root",
                ])
                .arg(&tools),
        )?;
    }
    Ok(garage)
}

fn settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{RPC}"
rpc_public_addr = "127.0.0.1:{RPC}"
rpc_secret = "{SECRET}"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{API}"
root_domain = ".s3.localhost"
"#
    )
}

fn wait_for(port: u16) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("garage does not listen on port {port}")
}
