//! rclone: its configuration in the environment, and what it says about its uploads.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// When what was written goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// At once: nobody shall look slow for being patient.
    AtOnce,
    /// When rclone thinks best, five seconds after a file was closed.
    AsItComes,
}

const EVERY: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_secs(1);

/// The command that mounts a crypt remote over S3 at `home/mount`, in the foreground.
pub fn mount(
    home: &Path,
    port: u16,
    (key, secret): (&str, &str),
    upload: Upload,
) -> Result<Command> {
    let mut command = Command::new("rclone");
    command
        .args(["mount", "secret:"])
        .arg(home.join("mount"))
        .args(["--vfs-cache-mode", "full", "--cache-dir"])
        .arg(home.join("cache"))
        .args(["--config", "", "--rc", "--rc-no-auth", "--rc-addr"])
        .arg(format!("unix://{}", socket(home).display()));
    if upload == Upload::AtOnce {
        // With none at all it would upload while a file is closed, where nobody can see it.
        command.args(["--vfs-write-back", "1ms"]);
    }
    let settings = [
        ("STORE_TYPE", "s3"),
        ("STORE_PROVIDER", "Other"),
        ("STORE_REGION", "us-east-1"),
        ("STORE_ENDPOINT", &format!("http://127.0.0.1:{port}")),
        ("STORE_ACCESS_KEY_ID", key),
        ("STORE_SECRET_ACCESS_KEY", secret),
        ("SECRET_TYPE", "crypt"),
        ("SECRET_REMOTE", "store:bucket"),
        ("SECRET_PASSWORD", &obscured(secret)?),
    ];
    for (name, value) in settings {
        command.env(format!("RCLONE_CONFIG_{name}"), value);
    }
    Ok(command)
}

/// Waits until nothing is left to upload; answers since when that is so.
pub fn publish(home: &Path) -> Result<Instant> {
    let mut since = Instant::now();
    // The kernel tells of a closed file a little later, so the queue may be empty and fill again.
    while since.elapsed() < QUIET {
        let told = ask(home, "vfs/stats")?;
        let cache = &told["diskCache"];
        let count = |name: &str| {
            let count = cache[name].as_u64();
            count.with_context(|| format!("rclone does not tell {name}"))
        };
        ensure!(
            count("erroredFiles")? == 0,
            "rclone failed to upload a file"
        );
        if count("uploadsInProgress")? + count("uploadsQueued")? > 0 {
            since = Instant::now();
        }
        std::thread::sleep(EVERY);
    }
    Ok(since)
}

/// Asks the mount itself; a program started for that would take a part of the machine.
fn ask(home: &Path, what: &str) -> Result<serde_json::Value> {
    let mut socket = UnixStream::connect(socket(home)).context("rclone does not listen")?;
    write!(
        socket,
        "POST /{what} HTTP/1.0\r\nHost: rclone\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).with_context(|| format!("rclone answers {answer}"))
}

fn socket(home: &Path) -> PathBuf {
    home.join("rc")
}

/// As rclone wants its passwords written.
fn obscured(password: &str) -> Result<String> {
    let output = Command::new("rclone")
        .args(["obscure", password])
        .stderr(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "rclone does not obscure a password"
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
