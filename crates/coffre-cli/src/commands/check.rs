//! `coffre check`: every promise of the format, verified; damage is named by path.

use coffre::vault::Access;
use coffre::vault::CheckReport;
use coffre::vault::Damage;
use coffre::vault::Depth;
use coffre::vault::check;

use crate::commands::Instead;
use crate::commands::refuse_mounted;
use crate::exit;
use crate::exit::Failure;
use crate::output::Output;
use crate::session;
use crate::settings::Context;
use crate::units;

/// Verify a vault; name what is damaged
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre check work
  coffre check --data work

Without --data every object's presence and length, every commit and the whole tree are verified;
with it, every byte of content. What is published is checked, and the vault must not be mounted
here: `coffre unmount DIR` first.
Exit code 4: something does not authenticate; 7: something is missing or truncated.")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Read and verify all content, too
    #[arg(long)]
    data: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    refuse_mounted(&target, Instead::Unmount).await?;
    let vault = session::unlock(context, &target, Access::ReadOnly).await?;
    let nodes = session::nodes(&vault)?;
    let root = vault.heads().base.commit.body.root;
    let depth = if args.data {
        Depth::Data
    } else {
        Depth::Structure
    };
    let bar = context.output.bytes_bar(0, "checking");
    let report = check(&vault, &nodes, &root, depth, &|progress| {
        bar.set_position(progress.bytes);
    })
    .await?;
    bar.finish_and_clear();
    show(context.output, &report, args.data);
    verdict(&report)
}

fn show(output: Output, report: &CheckReport, data: bool) {
    output.object(report);
    for problem in &report.problems {
        output.line(format_args!("DAMAGED {}: {}", problem.object, problem.what));
        for path in &problem.paths {
            output.line(format_args!("    affects {path}"));
        }
    }
    for note in &report.notes {
        output.line(format_args!("note: {note}"));
    }
    output.line(format_args!(
        "{} files and {} folders, {} of content in {} packs; {} commits, {} nodes, {} frames{}",
        report.files,
        report.directories,
        units::size(report.content_bytes),
        report.packs,
        report.commits,
        report.nodes,
        report.frames,
        if data {
            " verified"
        } else {
            "; content not read (--data reads it)"
        }
    ));
    output.line(format_args!(
        "{} in the store, {} of them used by nothing",
        units::size(report.stored_bytes),
        units::size(report.unused_bytes)
    ));
    if report.is_sound() {
        output.line("no damage");
    }
}

fn verdict(report: &CheckReport) -> anyhow::Result<()> {
    if report.is_sound() {
        return Ok(());
    }
    let absent = |damage| matches!(damage, Damage::Missing | Damage::Truncated);
    let code = match report.problems.iter().all(|problem| absent(problem.damage)) {
        true => exit::MISSING,
        false => exit::FORGED,
    };
    let count = report.problems.len();
    Err(Failure::error(
        code,
        format!(
            "{count} {} found; restore the objects from a copy of the store, or the files from elsewhere",
            if count == 1 {
                "damage was"
            } else {
                "damages were"
            }
        ),
    ))
}
