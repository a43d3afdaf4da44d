//! What a run does: read from the arguments once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::finding::Scenario;
use crate::link::Line;
use crate::systems::System;

/// A line, and how much is sent over it.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub name: &'static str,
    pub line: Line,
    /// Length of the large file, in MiB.
    pub large: u64,
    /// How long `ls -lR` may take, in seconds, where somebody has said.
    pub list_most: Option<f64>,
}

const ROUTES: [Route; 2] = [
    Route {
        name: "30 ms, 200 Mbit/s",
        line: Line {
            round_trip: Duration::from_millis(30),
            bits_per_second: 200_000_000,
        },
        large: 512,
        list_most: Some(2.0),
    },
    Route {
        name: "100 ms, 20 Mbit/s",
        line: Line {
            round_trip: Duration::from_millis(100),
            bits_per_second: 20_000_000,
        },
        large: 32,
        list_most: None,
    },
];

/// What a run does.
#[derive(Debug)]
pub struct Plan {
    pub routes: Vec<Route>,
    pub scenarios: Vec<Scenario>,
    pub systems: Vec<System>,
    /// Small files that are uploaded.
    pub small: u64,
    /// Files that are listed, and files of the folder that is renamed.
    pub many: u64,
    /// Reads here and there, at most.
    pub reads: u64,
    /// How long the editor works.
    pub editing: Duration,
    /// How long a system may take for one thing.
    pub patience: Duration,
    pub json: Option<PathBuf>,
}

const USAGE: &str = "\
cargo xtask bench wan [--link 30,100] [--only small,list,write,read,random,rename,editor]
                      [--systems coffre,rclone,s3fs] [--minutes 10] [--patience SECONDS] [--quick] [--json FILE]";

impl Plan {
    fn new() -> Self {
        Self {
            routes: ROUTES.to_vec(),
            scenarios: Scenario::ALL.to_vec(),
            systems: System::ALL.to_vec(),
            small: 1000,
            many: 10_000,
            reads: 200,
            editing: Duration::from_secs(600),
            patience: Duration::from_secs(900),
            json: None,
        }
    }

    pub fn from_arguments(arguments: &[String]) -> Result<Self> {
        let mut plan = Self::new();
        if arguments.iter().any(|argument| argument == "--quick") {
            plan.make_small();
        }
        let routes = plan.routes.clone();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match argument.as_str() {
                "--quick" => {}
                "--link" => plan.routes = chosen(value()?, &routes, |route| millis(*route))?,
                "--only" => {
                    plan.scenarios =
                        chosen(value()?, &Scenario::ALL, |scenario| scenario.name().into())?;
                }
                "--systems" => {
                    plan.systems = chosen(value()?, &System::ALL, |system| system.name().into())?;
                }
                "--minutes" => plan.editing = Duration::from_secs(60 * value()?.parse::<u64>()?),
                "--patience" => plan.patience = Duration::from_secs(value()?.parse()?),
                "--json" => plan.json = Some(value()?.into()),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(plan)
    }

    /// For trying the tool itself.
    fn make_small(&mut self) {
        self.small = 100;
        self.many = 1000;
        self.reads = 20;
        self.editing = Duration::from_secs(60);
        self.patience = Duration::from_secs(120);
        for route in &mut self.routes {
            route.large /= 8;
        }
    }
}

fn millis(route: Route) -> String {
    route.line.round_trip.as_millis().to_string()
}

fn chosen<T: Copy>(names: &str, all: &[T], name_of: impl Fn(&T) -> String) -> Result<Vec<T>> {
    let names = names.split(',');
    names
        .map(|name| {
            let found = all.iter().find(|one| name_of(one) == name);
            found.copied().with_context(|| format!("{name}?\n{USAGE}"))
        })
        .collect()
}
