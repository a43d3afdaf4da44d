//! The library in its three languages: `read_bytes` of Python beside the Rust call it is made of, and many small files beside
//! `rclone copy` into a crypt remote. `library --python PYTHON [--rounds 5] [--gibibytes 1] [--json FILE]`.

use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use coffre::KdfParams;
use coffre::Secret;
use coffre::Vault;
use tokio::io::AsyncWriteExt;

const PASSPHRASE: &str = "correct horse battery staple";
/// What this program is told when it is to measure the Rust call: the store and the state folder follow.
const ALONE: &str = "read";
const SMALL_FILES: usize = 10_000;
const SMALL: usize = 4096;
/// Where S3 is served, to whoever knows this key; on this machine alone.
const ADDRESS: &str = "127.0.0.1:19043";
const KEY: &str = "measured";

struct Asked {
    python: PathBuf,
    rounds: usize,
    bytes: u64,
    json: Option<PathBuf>,
}

impl Asked {
    fn parse() -> Result<Self> {
        let mut asked = Self {
            python: "python3".into(),
            rounds: 5,
            bytes: 1 << 30,
            json: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name} of what?"))?;
            match name.as_str() {
                "--python" => asked.python = value.into(),
                "--rounds" => asked.rounds = value.parse()?,
                "--gibibytes" => asked.bytes = value.parse::<u64>()? << 30,
                "--json" => asked.json = Some(value.into()),
                _ => bail!("{name} is none of --python, --rounds, --gibibytes and --json"),
            }
        }
        Ok(asked)
    }
}

/// A vault, and where it is.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn secret() -> Result<Secret> {
        Ok(Secret::passphrase(PASSPHRASE)?)
    }

    async fn make(bytes: u64) -> Result<Self> {
        let place = Self {
            folder: tempfile::tempdir()?,
        };
        std::fs::write(place.at("passphrase"), PASSPHRASE)?;
        let location = Vault::at(&place.at("store"))?.state_dir(place.at("state"));
        let vault = location
            .kdf(KdfParams::FLOOR)
            .create(vec![Self::secret()?])
            .await?;
        let files = vault.files().await?;
        let mut big = files.replace("/big").await?;
        // No two blocks are alike, and none can be compressed.
        let mut part = vec![0; 1 << 20];
        let mut left = bytes;
        while left > 0 {
            fill(&mut part)?;
            let length = left.min(part.len() as u64);
            big.write_all(part.get(..length as usize).unwrap_or_default())
                .await?;
            left -= length;
        }
        big.flush().await?;
        big.commit().await?;
        files.close().await?;
        Ok(place)
    }

    /// Seconds that the Rust call takes. In a process of its own, as in Python: memory that a process has used before costs
    /// it less than what is fresh.
    fn read_by_rust(&self) -> Result<f64> {
        let mut alone = Command::new(std::env::current_exe()?);
        told(alone.args([ALONE, &self.at("store"), &self.at("state")]))
    }

    /// Seconds that a measurement in Python takes, of the vault at an address.
    fn by_python(&self, python: &Path, what: &str, address: &str) -> Result<f64> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/library/python.py");
        let mut alone = Command::new(python);
        alone.args([program, what]);
        alone.args([address, &self.at("state"), &self.at("passphrase")]);
        told(&mut alone)
    }

    /// Seconds that `rclone copy` takes for as many files, into a crypt remote over another remote.
    fn by_rclone(&self, over: &str) -> Result<f64> {
        let source = self.folder.path().join("small");
        if !source.exists() {
            std::fs::create_dir(&source)?;
            let mut content = vec![0; SMALL];
            for i in 0..SMALL_FILES {
                fill(&mut content)?;
                std::fs::write(source.join(i.to_string()), &content)?;
            }
        }
        let obscured = Command::new("rclone")
            .args(["obscure", PASSPHRASE])
            .output()?;
        let obscured = String::from_utf8(obscured.stdout)?;
        let config = format!(
            "[sealed]\ntype = crypt\nremote = {over}\npassword = {}\n\n\
             [s3]\ntype = s3\nprovider = Other\naccess_key_id = {KEY}\nsecret_access_key = {KEY}\n\
             endpoint = http://{ADDRESS}\n",
            obscured.trim(),
        );
        std::fs::write(self.at("rclone.conf"), config)?;
        let begin = Instant::now();
        let status = Command::new("rclone")
            .args(["--config", &self.at("rclone.conf")])
            .args(["copy", &self.at("small"), "sealed:"])
            .status()?;
        if !status.success() {
            bail!("rclone copy: {status}");
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    /// An S3 server over a folder, which is rclone's own.
    fn serve(&self) -> Result<Server> {
        std::fs::create_dir_all(self.folder.path().join("s3/vault"))?;
        std::fs::create_dir_all(self.folder.path().join("s3/rclone"))?;
        let child = Command::new("rclone")
            .args(["serve", "s3", "--config", "", "--addr", ADDRESS])
            .arg(format!("--auth-key={KEY},{KEY}"))
            .arg(self.folder.path().join("s3"))
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server(child);
        let begin = Instant::now();
        while std::net::TcpStream::connect(ADDRESS).is_err() {
            if begin.elapsed().as_secs() > 10 {
                bail!("rclone does not serve");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(server)
    }
}

/// The seconds that a process tells.
fn told(alone: &mut Command) -> Result<f64> {
    let output = alone
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", KEY)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {alone:?}"))?;
    let told = String::from_utf8(output.stdout)?;
    told.trim()
        .parse()
        .with_context(|| format!("{alone:?} measured nothing"))
}

async fn read_alone(store: &str, state: &str) -> Result<f64> {
    let location = Vault::at(store)?.state_dir(state);
    let files = location.open(&Place::secret()?).await?.files().await?;
    let begin = Instant::now();
    let content = files.read("/big").await?;
    let seconds = begin.elapsed().as_secs_f64();
    if content.len() as u64 != files.metadata("/big").await?.size {
        bail!("the file was not read whole");
    }
    files.close().await?;
    Ok(seconds)
}

/// Stops it in any case.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// With bytes of which none can be guessed from the others.
fn fill(into: &mut [u8]) -> Result<()> {
    use std::io::Read;
    Ok(std::fs::File::open("/dev/urandom")?.read_exact(into)?)
}

fn median(seconds: &[f64]) -> f64 {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Many small files to one kind of store, in seconds.
#[derive(Default, serde::Serialize)]
struct Small {
    python: Vec<f64>,
    rclone_crypt: Vec<f64>,
}

impl Small {
    fn tell(&self, place: &str) {
        let (python, rclone) = (median(&self.python), median(&self.rclone_crypt));
        println!(
            "{SMALL_FILES} files of {SMALL} bytes to {place}: Python with publish {python:.2} s"
        );
        println!(
            "  rclone copy into a crypt remote {rclone:.2} s: {:.1} times as long (bar 5)",
            rclone / python
        );
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, store, state] = &arguments[..]
        && first == ALONE
    {
        println!("{}", read_alone(store, state).await?);
        return Ok(());
    }
    let asked = Asked::parse()?;
    let place = Place::make(asked.bytes).await?;
    let folder = place.at("store");
    let (mut rust, mut python) = (Vec::new(), Vec::new());
    for _ in 0..asked.rounds {
        rust.push(place.read_by_rust()?);
        python.push(place.by_python(&asked.python, "read", &folder)?);
    }
    let gibibytes = asked.bytes as f64 / f64::from(1 << 30);
    let rates = (gibibytes / median(&rust), gibibytes / median(&python));
    println!(
        "read {gibibytes} GiB: Rust {:.2} GiB/s, Python {:.2} GiB/s",
        rates.0, rates.1
    );
    println!("  Python beside Rust: {:.2} (bar 0.80)", rates.1 / rates.0);

    let (mut here, mut in_s3) = (Small::default(), Small::default());
    if Command::new("rclone")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .is_ok()
    {
        let _server = place.serve()?;
        let bucket = format!("s3://vault?region=us-east-1&endpoint=http://{ADDRESS}");
        place.by_python(&asked.python, "init", &bucket)?;
        for round in 0..asked.rounds {
            here.python
                .push(place.by_python(&asked.python, "write", &folder)?);
            here.rclone_crypt
                .push(place.by_rclone(&place.at(&format!("rclone-{round}")))?);
            in_s3
                .python
                .push(place.by_python(&asked.python, "write", &bucket)?);
            in_s3
                .rclone_crypt
                .push(place.by_rclone(&format!("s3:rclone/{round}"))?);
        }
        here.tell("a folder");
        in_s3.tell("S3 on this machine");
    } else {
        println!("rclone is not installed: nothing to measure small files beside");
    }
    let told = serde_json::json!({
        "bytes": asked.bytes,
        "read_rust": rust,
        "read_python": python,
        "small_files": SMALL_FILES,
        "small_to_folder": here,
        "small_to_s3": in_s3,
    });
    if let Some(file) = &asked.json {
        std::fs::write(file, serde_json::to_string_pretty(&told)?)?;
    }
    Ok(())
}
