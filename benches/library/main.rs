//! The library in its three languages: `read_bytes` of Python beside the Rust call it is made of, and many small files beside
//! `rclone copy` into a crypt remote. `library --python PYTHON [--rounds 5] [--gibibytes 1] [--json FILE]`.

use std::path::Path;
use std::path::PathBuf;
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
const SMALL_FILES: usize = 10_000;
const SMALL: usize = 4096;

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

    /// Seconds that the Rust call takes.
    async fn read_by_rust(&self) -> Result<f64> {
        let location = Vault::at(&self.at("store"))?.state_dir(self.at("state"));
        let files = location.open(&Self::secret()?).await?.files().await?;
        let begin = Instant::now();
        let content = files.read("/big").await?;
        let seconds = begin.elapsed().as_secs_f64();
        if content.len() as u64 != files.metadata("/big").await?.size {
            bail!("the file was not read whole");
        }
        files.close().await?;
        Ok(seconds)
    }

    /// Seconds that a measurement in Python takes.
    fn by_python(&self, python: &Path, what: &str) -> Result<f64> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/library/python.py");
        let output = Command::new(python)
            .args([program, what])
            .args([self.at("store"), self.at("state"), self.at("passphrase")])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start Python")?;
        let told = String::from_utf8(output.stdout)?;
        told.trim().parse().context("Python measured nothing")
    }

    /// Seconds that `rclone copy` takes for as many files as small; `None` where it is not installed.
    fn by_rclone(&self, round: usize) -> Result<Option<f64>> {
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
            .output();
        let Ok(obscured) = obscured else {
            return Ok(None);
        };
        let obscured = String::from_utf8(obscured.stdout)?;
        let config = format!(
            "[sealed]\ntype = crypt\nremote = {}\npassword = {}\n",
            self.at(&format!("rclone-{round}")),
            obscured.trim(),
        );
        std::fs::write(self.at("rclone.conf"), config)?;
        let begin = Instant::now();
        let status = Command::new("rclone")
            .args([
                "--config",
                &self.at("rclone.conf"),
                "copy",
                &self.at("small"),
                "sealed:",
            ])
            .status()?;
        if !status.success() {
            bail!("rclone copy: {status}");
        }
        Ok(Some(begin.elapsed().as_secs_f64()))
    }
}

/// With bytes of which none can be guessed from the others.
fn fill(into: &mut [u8]) -> Result<()> {
    use std::io::Read;
    Ok(std::fs::File::open("/dev/urandom")?.read_exact(into)?)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = Asked::parse()?;
    let place = Place::make(asked.bytes).await?;
    let (mut rust, mut python) = (Vec::new(), Vec::new());
    for _ in 0..asked.rounds {
        rust.push(place.read_by_rust().await?);
        python.push(place.by_python(&asked.python, "read")?);
    }
    let (mut small, mut rclone) = (Vec::new(), Vec::new());
    for round in 0..asked.rounds {
        small.push(place.by_python(&asked.python, "write")?);
        rclone.extend(place.by_rclone(round)?);
    }
    let told = serde_json::json!({
        "bytes": asked.bytes,
        "rounds": asked.rounds,
        "read_rust": rust,
        "read_python": python,
        "small_files": SMALL_FILES,
        "write_python": small,
        "write_rclone_crypt": rclone,
    });
    if let Some(file) = &asked.json {
        std::fs::write(file, serde_json::to_string_pretty(&told)?)?;
    }
    let gibibytes = asked.bytes as f64 / f64::from(1 << 30);
    let (rust, python) = (median(rust), median(python));
    println!(
        "read {gibibytes} GiB: Rust {:.2} GiB/s, Python {:.2} GiB/s",
        gibibytes / rust,
        gibibytes / python
    );
    println!("  Python beside Rust: {:.2} (bar 0.80)", rust / python);
    let small = median(small);
    println!("write {SMALL_FILES} files of {SMALL} bytes and publish: Python {small:.2} s");
    if rclone.is_empty() {
        println!("  rclone is not installed");
    } else {
        let rclone = median(rclone);
        println!(
            "  rclone copy into a crypt remote {rclone:.2} s: {:.1} times as long (bar 5)",
            rclone / small
        );
    }
    Ok(())
}
