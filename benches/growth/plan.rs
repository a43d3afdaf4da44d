//! What a run does: read from the arguments once.

use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// What a run does.
#[derive(Debug)]
pub struct Plan {
    /// Files in the vault when it is measured, each time.
    pub sizes: Vec<u64>,
    /// Files that are created while it is measured.
    pub created: u64,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
}

const USAGE: &str = "\
cargo xtask bench growth [--most 1000000] [--quick] [--json FILE] [--svg FILE]";
const LEAST: u64 = 10_000;

impl Plan {
    pub fn from_arguments(arguments: &[String]) -> Result<Self> {
        let (mut least, mut most, mut created) = (LEAST, 1_000_000, 5000);
        let (mut json, mut svg) = (None, None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match argument.as_str() {
                "--most" => most = value()?.parse()?,
                // For trying the tool itself.
                "--quick" => (least, most, created) = (1000, 10_000, 1000),
                "--json" => json = Some(value()?.into()),
                "--svg" => svg = Some(value()?.into()),
                _ => bail!("{USAGE}"),
            }
        }
        let sizes: Vec<u64> = std::iter::successors(Some(least), |size| Some(size * 10))
            .take_while(|size| *size <= most)
            .collect();
        if sizes.is_empty() {
            bail!("a vault of less than {least} files has not grown\n{USAGE}");
        }
        Ok(Self {
            sizes,
            created,
            json,
            svg,
        })
    }
}
