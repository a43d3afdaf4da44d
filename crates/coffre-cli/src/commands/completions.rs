//! `coffre completions`: a completion script for a shell.

use crate::output::pipe;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  coffre completions bash > ~/.local/share/bash-completion/completions/coffre"
)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Runs it on the description of the whole command.
pub fn run(mut command: clap::Command, args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "coffre", &mut script);
    pipe(&script)
}
