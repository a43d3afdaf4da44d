//! What a run does: read from the arguments once, kept in its folder.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde::Serialize;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Many small files in many folders.
    Files,
    /// One large file, over and over.
    Rewrite,
    /// One very large folder.
    Directory,
    /// Several programs at once, for a time.
    Mixed,
}

/// What a run does, and what it is held to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Bound of resident memory, in bytes.
    pub memory: u64,
    /// Bound of what may wait for upload on this disk, in bytes.
    #[serde(default = "queue")]
    pub queue: u64,
    /// Address of the store; a folder beside the mount where there is none.
    pub store: Option<String>,
    pub workloads: Vec<Workload>,
    /// Small files to create, list and remove.
    pub files: u64,
    /// Length of the file that is rewritten, in MiB.
    pub rewritten: u64,
    /// How often it is written.
    pub rewrites: u64,
    /// Entries of the large folder.
    pub entries: u64,
    /// How long programs work at once.
    pub minutes: u64,
}

const USAGE: &str = "\
cargo xtask soak [--memory 512M] [--queue 2G] [--only files,rewrite,directory,mixed] [--minutes 60]
                 [--store URI] [--divide N] [--dir DIR | --continue DIR]";

/// Less than a rewritten file, so that the bound is felt.
fn queue() -> u64 {
    2 << 30
}

impl Plan {
    fn new() -> Self {
        Self {
            memory: 512 << 20,
            queue: queue(),
            store: None,
            workloads: vec![
                Workload::Files,
                Workload::Rewrite,
                Workload::Directory,
                Workload::Mixed,
            ],
            files: 200_000,
            rewritten: 2048,
            rewrites: 10,
            entries: 1_000_000,
            minutes: 60,
        }
    }

    /// The run's folder and its plan: a new one, or the one that is to be continued.
    pub fn from_arguments(arguments: &[String]) -> Result<(PathBuf, Self)> {
        let mut plan = Self::new();
        let mut folder = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let value = arguments.next().with_context(|| USAGE.to_owned())?;
            match argument.as_str() {
                "--continue" => return Self::load(Path::new(value)),
                "--dir" => folder = Some(PathBuf::from(value)),
                "--memory" => plan.memory = size(value)?,
                "--queue" => plan.queue = size(value)?,
                "--minutes" => plan.minutes = value.parse()?,
                "--store" => plan.store = Some(value.clone()),
                "--only" => plan.workloads = workloads(value)?,
                "--divide" => plan.divide(value.parse()?),
                _ => bail!("{USAGE}"),
            }
        }
        let folder = folder.unwrap_or_else(|| PathBuf::from(format!("target/soak-{}", now())));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let file = folder.join("plan.json");
        if file.exists() {
            bail!(
                "{} holds a run; continue it with --continue",
                folder.display()
            );
        }
        std::fs::write(&file, serde_json::to_vec_pretty(&plan)?)?;
        Ok((folder, plan))
    }

    fn load(folder: &Path) -> Result<(PathBuf, Self)> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("there is no run in {}", folder.display()))?;
        let text = std::fs::read(folder.join("plan.json"))
            .with_context(|| format!("there is no run in {}", folder.display()))?;
        Ok((folder, serde_json::from_slice(&text)?))
    }

    /// The same in small, for trying the tool itself.
    fn divide(&mut self, by: u64) {
        self.files = (self.files / by).max(8000);
        self.entries = (self.entries / by).max(8000);
        self.rewritten = (self.rewritten / by).max(128);
    }
}

fn workloads(names: &str) -> Result<Vec<Workload>> {
    names
        .split(',')
        .map(|name| {
            serde_json::from_value(name.into()).with_context(|| format!("no workload {name}"))
        })
        .collect()
}

fn size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "M" => 1 << 20,
        "G" => 1 << 30,
        other => bail!("{other} is not a unit; use M or G"),
    };
    Ok(digits.parse::<u64>()? * unit)
}

#[allow(clippy::disallowed_methods)] // names a folder
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
