//! `coffre stat`: everything about one file or folder.

use std::ffi::OsString;

use crate::commands::ask;
use crate::names::Name;
use crate::requests::Item;
use crate::requests::Request;
use crate::settings::Context;
use crate::units;

/// Show what a vault knows about a file or folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  coffre stat work /photos/2026/sea.jpg")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Files or folders in it
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// What a symlink points to, instead of the link
    #[arg(short = 'L', long)]
    follow: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let requests = args.paths.iter().map(|path| Request::Stat {
        path: Name::from(path.as_os_str()),
        follow: args.follow,
    });
    let output = context.output;
    ask(context, &args.vault, requests.collect(), |item| {
        let Item::Entry(entry) = item else { return };
        output.object(&entry);
        let target = entry.target.as_ref();
        let target = target.map_or(String::new(), |target| format!(" -> {target}"));
        output.line(format_args!("{}{target}", entry.path));
        output.line(format_args!("  kind       {}", entry.kind));
        output.line(format_args!(
            "  size       {} ({}), {} stored without holes",
            entry.size,
            units::size(entry.size),
            units::size(entry.allocated)
        ));
        output.line(format_args!(
            "  mode       {} ({})",
            entry.mode, entry.permissions
        ));
        output.line(format_args!("  owner      {}:{}", entry.uid, entry.gid));
        output.line(format_args!("  links      {}", entry.links));
        output.line(format_args!("  inode      {}", entry.inode));
        output.line(format_args!(
            "  modified   {} UTC",
            units::date(entry.mtime)
        ));
        output.line(format_args!(
            "  changed    {} UTC",
            units::date(entry.ctime)
        ));
        output.line(format_args!(
            "  created    {} UTC",
            units::date(entry.btime)
        ));
    })
    .await
}
