//! What was asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::de::DeserializeOwned;

use crate::sizes::Sizes;
use crate::system::System;
use crate::workload::Group;

const RUNS: usize = 5;

pub struct Arguments {
    pub sizes: Sizes,
    pub runs: usize,
    pub systems: Vec<System>,
    pub groups: Vec<Group>,
    /// Where figures are kept, after each system of each run.
    pub json: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    /// Figures of an earlier run, to be told again instead of being measured.
    pub from: Option<PathBuf>,
}

const USAGE: &str = "\
peers [--quick] [--runs N] [--only SYSTEM,…] [--workloads GROUP,…] [--sustained SECONDS] [--json FILE] [--plot FILE]
peers --from FILE [--plot FILE]

systems: plain null coffre gocryptfs securefs cryfs encfs rclone
groups: big small random sync sqlite tree git cargo";

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Self {
            sizes: Sizes::FULL,
            runs: RUNS,
            systems: System::ALL.to_vec(),
            groups: Group::ALL.to_vec(),
            json: None,
            plot: None,
            from: None,
        };
        let (mut runs, mut sustained) = (None, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" => bail!("{USAGE}"),
                "--quick" => {
                    (arguments.sizes, arguments.runs) = (Sizes::QUICK, 1);
                    continue;
                }
                _ => {}
            }
            let mut value = || words.next().with_context(|| format!("{word} of what?"));
            match word.as_str() {
                "--runs" => runs = Some(value()?.parse()?),
                "--only" => arguments.systems = listed(&value()?)?,
                "--workloads" => arguments.groups = listed(&value()?)?,
                "--sustained" => sustained = Some(Duration::from_secs(value()?.parse()?)),
                "--json" => arguments.json = Some(value()?.into()),
                "--plot" => arguments.plot = Some(value()?.into()),
                "--from" => arguments.from = Some(value()?.into()),
                _ => bail!("{word} is not understood\n{USAGE}"),
            }
        }
        arguments.runs = runs.unwrap_or(arguments.runs);
        arguments.sizes.sustained = sustained.unwrap_or(arguments.sizes.sustained);
        Ok(arguments)
    }
}

fn listed<T: DeserializeOwned>(words: &str) -> Result<Vec<T>> {
    let each = words.split(',').map(|word| {
        serde_json::from_value(word.into()).with_context(|| format!("no such thing as {word}"))
    });
    each.collect()
}
