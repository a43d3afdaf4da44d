//! What a store really does with objects, tried out under a prefix of its own; what it declares is not asked.
//!
//! A vault needs put, get of a range, list, stat and delete, each visible to the next. `init` and `check` know the
//! prefix, so that what a probe could not remove is told as what it is and stands in nobody's way.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use futures::TryStreamExt;
use opendal::ErrorKind;
use opendal::Operator;
use serde::Serialize;

use crate::clock;
use crate::error::Error;
use crate::error::Result;
use crate::store::Store;
use crate::store::failure::failed;

/// Where the objects of probes lie.
pub(super) const PREFIX: &str = ".coffre-probe/";
/// A small object, and one as large as a full pack, in bytes.
const SMALL: usize = 4096;
const LARGE: usize = 16 << 20;
/// Leftovers that are told.
const LEFT_MOST: usize = 1000;

/// How an operation went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As a vault needs it.
    Good,
    /// Stores differ in this, and a vault does not depend on it.
    Note(String),
    /// Not as a vault needs it.
    Wrong(String),
}

/// What was tried and how it went.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// In words.
    pub what: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// How long it took.
    pub milliseconds: u64,
}

/// One probe of one store.
pub struct Probe {
    operator: Operator,
    store: Store,
    /// Begins the names of its objects.
    stem: String,
}

impl Probe {
    /// Under names that no other probe uses.
    pub fn new(store: &Store) -> Result<Self> {
        let mut unique = [0; 8];
        getrandom::fill(&mut unique)
            .map_err(|_| Error::Secret(coffre_format::FormatError::Random))?;
        Ok(Self {
            operator: store.operator()?,
            store: store.clone(),
            stem: format!("{PREFIX}{:016x}", u64::from_le_bytes(unique)),
        })
    }

    /// Tries everything. Fails where not even a first object can be written.
    pub async fn run(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let small = Bytes::from(noise(SMALL)?);
        let name = self.name("small");
        let begin = Instant::now();
        self.write(&name, small.clone()).await?;
        note(&mut findings, "write", begin, Verdict::Good);
        self.reads(&name, &small, &mut findings).await;
        self.listings(&name, &mut findings).await;
        self.large(&mut findings).await?;
        self.overwrite(&name, &small, &mut findings).await?;
        self.deletion(&name, &mut findings).await;
        Ok(findings)
    }

    /// Seconds by which the store's clock is ahead of this machine's, where it tells times.
    pub async fn clock_difference(&self) -> Option<i64> {
        let name = self.name("clock");
        self.write(&name, Bytes::from_static(b"tick")).await.ok()?;
        let now = clock::now().seconds;
        let there = self.operator.stat(&name).await.ok()?;
        Some(there.last_modified()?.into_inner().as_second() - now)
    }

    /// Removes what it has put, as far as it can.
    pub async fn clean(&self) -> Result<()> {
        for part in ["small", "large", "clock"] {
            self.remove(&self.name(part)).await?;
        }
        // A folder, where the store has folders; another probe may still use it.
        drop(self.operator.delete(PREFIX).await);
        Ok(())
    }

    /// Names of what other probes have left behind.
    pub async fn leftovers(&self) -> Result<Vec<String>> {
        let mut names = self.list().await?;
        names.retain(|name| !name.starts_with(&self.stem));
        names.truncate(LEFT_MOST);
        Ok(names)
    }

    /// Removes leftovers.
    pub async fn remove_leftovers(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.remove(name).await?;
        }
        Ok(())
    }

    async fn reads(&self, name: &str, there: &Bytes, findings: &mut Vec<Finding>) {
        let begin = Instant::now();
        let read = self.read(name, 0..SMALL as u64).await;
        note(findings, "read back", begin, same(read, there));
        let begin = Instant::now();
        let read = self.read(name, 1000..1100).await;
        note(
            findings,
            "read a range",
            begin,
            same(read, &there.slice(1000..1100)),
        );
        let begin = Instant::now();
        let past = 4000..SMALL as u64 + 904;
        let read = self.operator.read_with(name).range(past).await;
        let verdict = match read.map(|buffer| buffer.to_bytes()) {
            Ok(bytes) if bytes == there.slice(4000..) => {
                Verdict::Note("answers what there is".into())
            }
            Ok(_) => Verdict::Wrong("answers other bytes".into()),
            Err(error) => Verdict::Note(format!("answers an error ({})", error.kind())),
        };
        note(findings, "read a range past the end", begin, verdict);
        let begin = Instant::now();
        let verdict = match self.operator.stat(name).await {
            Ok(found) if found.content_length() == SMALL as u64 => Verdict::Good,
            Ok(found) => Verdict::Wrong(format!("{} instead of {SMALL}", found.content_length())),
            Err(error) => Verdict::Wrong(failed("look at", name, &error).to_string()),
        };
        note(findings, "tell the length", begin, verdict);
    }

    async fn listings(&self, name: &str, findings: &mut Vec<Finding>) {
        let begin = Instant::now();
        let verdict = match self.list().await {
            Ok(names) if names.iter().any(|other| other == name) => Verdict::Good,
            Ok(_) => Verdict::Wrong("a listing does not show what was just written".into()),
            Err(error) => Verdict::Wrong(error.to_string()),
        };
        note(findings, "list after a write", begin, verdict);
    }

    async fn large(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let large = Bytes::from(noise(LARGE)?);
        let name = self.name("large");
        let begin = Instant::now();
        let written = self.write(&name, large.clone()).await;
        note(findings, "write 16 MiB", begin, good(written));
        let begin = Instant::now();
        let read = self.read(&name, 0..LARGE as u64).await;
        note(findings, "read 16 MiB", begin, same(read, &large));
        Ok(())
    }

    async fn overwrite(
        &self,
        name: &str,
        first: &Bytes,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let second = Bytes::from(noise(SMALL)?);
        let begin = Instant::now();
        let verdict = match self.write(name, second.clone()).await {
            Err(error) => Verdict::Note(format!("refused: {error}")),
            Ok(()) => match self.read(name, 0..SMALL as u64).await {
                Ok(bytes) if bytes == second => Verdict::Note("the new bytes are there".into()),
                Ok(bytes) if bytes == *first => {
                    Verdict::Note("the old bytes are still there".into())
                }
                Ok(_) => Verdict::Wrong("it then has bytes that nobody wrote".into()),
                Err(error) => Verdict::Wrong(error.to_string()),
            },
        };
        note(findings, "write over it", begin, verdict);
        Ok(())
    }

    async fn deletion(&self, name: &str, findings: &mut Vec<Finding>) {
        let begin = Instant::now();
        let deleted = self.remove(name).await;
        note(findings, "delete", begin, good(deleted));
        let begin = Instant::now();
        let verdict = match self.operator.stat(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Verdict::Good,
            Err(error) => Verdict::Wrong(failed("look at", name, &error).to_string()),
            Ok(_) => Verdict::Wrong("it is still there".into()),
        };
        note(findings, "look for what was deleted", begin, verdict);
        let begin = Instant::now();
        let deleted = self.remove(name).await;
        note(findings, "delete what is not there", begin, good(deleted));
        let begin = Instant::now();
        let verdict = match self.list().await {
            Ok(names) if names.iter().any(|other| other == name) => {
                Verdict::Wrong("a listing still shows what was deleted".into())
            }
            Ok(_) => Verdict::Good,
            Err(error) => Verdict::Wrong(error.to_string()),
        };
        note(findings, "list after a delete", begin, verdict);
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.stem)
    }

    async fn write(&self, name: &str, bytes: Bytes) -> Result<()> {
        let written = self.store.writing()?.write(name, bytes).await;
        written
            .map(drop)
            .map_err(|error| failed("write", name, &error))
    }

    async fn read(&self, name: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        let read = self.operator.read_with(name).range(range).await;
        read.map(|buffer| buffer.to_bytes())
            .map_err(|error| failed("read", name, &error))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let deleted = self.operator.delete(name).await;
        deleted.map_err(|error| failed("delete", name, &error))
    }

    async fn list(&self) -> Result<Vec<String>> {
        let failed = |error: opendal::Error| failed("list", PREFIX, &error);
        let mut entries = match self.operator.lister(PREFIX).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        while let Some(entry) = match entries.try_next().await {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            entry => entry.map_err(failed)?,
        } {
            if entry.metadata().is_file() && names.len() <= 2 * LEFT_MOST {
                names.push(entry.path().to_owned());
            }
        }
        Ok(names)
    }
}

fn noise(length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(|_| Error::Secret(coffre_format::FormatError::Random))?;
    Ok(bytes)
}

fn note(findings: &mut Vec<Finding>, what: &'static str, begin: Instant, verdict: Verdict) {
    let took: Duration = begin.elapsed();
    findings.push(Finding {
        what,
        verdict,
        milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
}

fn good(done: Result<()>) -> Verdict {
    match done {
        Ok(()) => Verdict::Good,
        Err(error) => Verdict::Wrong(error.to_string()),
    }
}

fn same(read: Result<Bytes>, expected: &Bytes) -> Verdict {
    match read {
        Ok(bytes) if bytes == *expected => Verdict::Good,
        Ok(bytes) => Verdict::Wrong(format!(
            "{} bytes that are not what was written",
            bytes.len()
        )),
        Err(error) => Verdict::Wrong(error.to_string()),
    }
}
