//! `coffre man`: the manual, as man pages.

use std::path::PathBuf;

use coffre::Error;

use crate::output::pipe;

/// Print the manual as a man page, or write one page for each verb
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre man | man -l -
  coffre man --dir ~/.local/share/man/man1")]
pub struct Args {
    /// Write coffre.1, coffre-init.1, … into this folder
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
}

/// Runs it on the description of the whole command.
pub fn run(command: clap::Command, args: Args) -> anyhow::Result<()> {
    if let Some(dir) = args.dir {
        return clap_mangen::generate_to(command, &dir)
            .map_err(|error| Error::io("write", &dir, error).into());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    pipe(&page)
}
