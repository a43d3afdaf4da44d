//! `coffre du`: how much is below a path, and how much the store holds.

use std::ffi::OsString;

use crate::commands::ask;
use crate::names::Name;
use crate::requests::Item;
use crate::requests::Request;
use crate::settings::Context;
use crate::units;

/// Show how much space files use, and how much the store holds
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre du work
  coffre du work /photos /documents

The last line compares the store with what files use: replaced and removed content stays
in the store until it is swept.")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// Files or folders in it
    #[arg(default_value = "/")]
    paths: Vec<OsString>,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let paths = args.paths.iter().map(|path| Request::Usage {
        path: Name::from(path.as_os_str()),
    });
    let requests = paths.chain([Request::Stored]).collect();
    let output = context.output;
    ask(context, &args.vault, requests, |item| match item {
        Item::Usage(usage) => {
            output.object(&usage);
            output.line(format_args!(
                "{:>12}  {} files, {} folders  {}",
                units::size(usage.bytes),
                usage.files,
                usage.folders,
                usage.path
            ));
        }
        Item::Stored(stored) => {
            output.object(&stored);
            output.line(format_args!(
                "{:>12}  in the store, of which {} hold nothing that is in use: content that was replaced or removed, \
                 and padding",
                units::size(stored.stored_bytes),
                units::size(stored.unused_bytes)
            ));
        }
        Item::Entry(_) | Item::Status(_) => {}
    })
    .await
}
