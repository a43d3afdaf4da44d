//! `coffre doctor`: everything a bug report needs, as it was found and not as it was declared; no secret, no name of
//! a file.

mod machine;
mod state;
mod store;
mod text;

use coffre::Error;
use serde::Serialize;

use crate::exit;
use crate::exit::Failure;
use crate::settings::Context;

/// Gather what a bug report needs: versions, what the store does, state, queue, last errors
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre doctor work
  coffre --json doctor work > report.json
  coffre doctor --read-only work

Tries the store out with objects of its own under `.coffre-probe/`, 16 MiB written and 16 MiB
read, and removes them again; --read-only writes nothing. Works while the vault is mounted, while
the store is away, and without the passphrase, which it never asks for: what needs it is left out
unless flags, environment or profile give it. Nothing secret and no file's name is in the report.
Exit code 0 if nothing is wrong, else that of the first thing that is.")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Write nothing to the store
    #[arg(long)]
    read_only: bool,
}

/// All of it, section by section.
#[derive(Serialize)]
struct Report {
    versions: machine::Versions,
    limits: machine::Limits,
    store: store::Section,
    state: state::Section,
    vault: state::Vault,
    problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Serialize)]
struct Problem {
    what: String,
    code: u8,
}

/// What is wrong, as it is found.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, code: u8, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Problem { what, code });
    }

    /// An error of the library with the code that belongs to it; without the path of a file in the vault.
    fn error(&mut self, error: &Error) {
        let error = anyhow::Error::new(error.without_path());
        self.add(exit::code(&error), exit::message(&error));
    }
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    let spinner = context.output.spinner("looking");
    let mut problems = Problems::default();
    let trial = match args.read_only {
        true => store::Trial::Reading,
        false => store::Trial::Writing,
    };
    let versions = machine::versions();
    let limits = machine::limits();
    let store = store::look(&target, trial, &mut problems).await;
    let state = state::look(&target, &mut problems);
    let vault = state::ask(context, &target, &mut problems).await;
    spinner.finish_and_clear();
    let report = Report {
        versions,
        limits,
        store,
        state,
        vault,
        problems: problems.0,
    };
    context.output.object(&report);
    text::show(context.output, &report);
    let Some(first) = report.problems.first() else {
        return Ok(());
    };
    let more = match report.problems.len() {
        1 => String::new(),
        count => format!(" ({} more above)", count - 1),
    };
    Err(Failure::error(first.code, format!("{}{more}", first.what)))
}
