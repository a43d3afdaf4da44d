//! The `coffre` command: reads its arguments, runs one verb, and ends with the code that scripts rely on.

mod commands;
mod control;
mod daemon;
mod exit;
mod interrupt;
mod mounts;
mod names;
mod output;
mod requests;
mod secret;
mod session;
mod settings;
mod transfer;
mod tree;
mod units;

use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use tracing_subscriber::EnvFilter;

use crate::output::Output;
use crate::settings::Context;
use crate::settings::Global;

/// Gives back what is freed, however many threads it came from: the bound of memory is one of resident memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A drive that its storage provider cannot read, alter, roll back or hold hostage
#[derive(Debug, Parser)]
#[command(
    name = "coffre",
    version,
    after_help = "VAULT is an address (s3://bucket/prefix?region=…, gcs://, azblob://, swift://, obs://, \
webdav://host/path, sftp://user@host/path), a local folder, or a profile in $XDG_CONFIG_HOME/coffre/config.toml.

Examples:
  coffre init 's3://bucket/vault?region=eu-central-1'
  coffre mount 's3://bucket/vault?region=eu-central-1' ~/cloud
  coffre status ~/cloud
  coffre unmount ~/cloud
  coffre doctor ~/vault              # what a bug report needs, without secrets

Environment: COFFRE_PASSPHRASE, COFFRE_PASSPHRASE_FILE, COFFRE_STATE_DIR, COFFRE_CACHE_DIR, COFFRE_LOG.

Exit codes: 0 done, 1 failed, 2 usage, 3 wrong passphrase or key, 4 does not authenticate, 5 not found, \
6 store unreachable, 7 missing or truncated object or damaged journal, 8 cloned or diverged, 9 busy."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Init(commands::init::Args),
    Mount(commands::mount::Args),
    #[command(visible_alias = "umount")]
    Unmount(commands::unmount::Args),
    Status(commands::status::Args),
    Sync(commands::sync::Args),
    Ls(commands::ls::Args),
    Cat(commands::cat::Args),
    Put(commands::put::Args),
    Get(commands::get::Args),
    Rm(commands::rm::Args),
    Mkdir(commands::mkdir::Args),
    Mv(commands::mv::Args),
    Stat(commands::stat::Args),
    Du(commands::du::Args),
    Check(commands::check::Args),
    Key(commands::key::Args),
    Checkpoint(commands::checkpoint::Args),
    Doctor(commands::doctor::Args),
    Copy(commands::copy::Args),
    Demo(commands::demo::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

fn main() -> ExitCode {
    forbid_dumps();
    let cli = Cli::parse();
    let output = Output::new(cli.global.json, cli.global.quiet);
    log_to_stderr(cli.global.verbose);
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit::code(&error);
            output.error(&error, code);
            ExitCode::from(code)
        }
    }
}

/// A core dump would hold keys. The kernel does not ask the limit where dumps go to a program, so the process is
/// closed to dumps altogether, and to debuggers of the same user with it. Only a debug build can be told otherwise.
fn forbid_dumps() {
    if cfg!(debug_assertions) && std::env::var_os("COFFRE_ALLOW_DUMPS").is_some() {
        return;
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        // We unmount by ourselves; fuser's own attempt finds nothing left.
        0 => "warn,fuser::mnt=error",
        1 => "info,coffre=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("COFFRE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| output::Patient(std::io::stderr()))
        .with_ansi(false)
        // Told where the log goes itself, which panics if that is a file on a full disk.
        .log_internal_errors(false)
        .init();
}

fn run(cli: Cli, output: Output) -> anyhow::Result<()> {
    let context = Context {
        global: cli.global,
        output,
    };
    let verb = match cli.verb {
        Verb::Completions(args) => return commands::completions::run(Cli::command(), &args),
        Verb::Man(args) => return commands::man::run(Cli::command(), args),
        verb => verb,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(dispatch(&context, verb));
    // Threads that still wait for a server are not waited for.
    runtime.shutdown_background();
    done
}

async fn dispatch(context: &Context, verb: Verb) -> anyhow::Result<()> {
    // A mount ends by signals of its own.
    if !matches!(verb, Verb::Mount(_)) {
        interrupt::listen();
    }
    match verb {
        Verb::Init(args) => commands::init::run(context, args).await,
        Verb::Mount(args) => commands::mount::run(context, args).await,
        Verb::Unmount(args) => commands::unmount::run(context, args).await,
        Verb::Status(args) => commands::status::run(context, args).await,
        Verb::Sync(args) => commands::sync::run(context, args).await,
        Verb::Ls(args) => commands::ls::run(context, args).await,
        Verb::Cat(args) => commands::cat::run(context, args).await,
        Verb::Put(args) => commands::put::run(context, args).await,
        Verb::Get(args) => commands::get::run(context, args).await,
        Verb::Rm(args) => commands::rm::run(context, args).await,
        Verb::Mkdir(args) => commands::mkdir::run(context, args).await,
        Verb::Mv(args) => commands::mv::run(context, args).await,
        Verb::Stat(args) => commands::stat::run(context, args).await,
        Verb::Du(args) => commands::du::run(context, args).await,
        Verb::Check(args) => commands::check::run(context, args).await,
        Verb::Key(args) => commands::key::run(context, args).await,
        Verb::Checkpoint(args) => commands::checkpoint::run(context, args).await,
        Verb::Doctor(args) => commands::doctor::run(context, args).await,
        Verb::Copy(args) => commands::copy::run(context, args).await,
        Verb::Demo(args) => commands::demo::run(context, args).await,
        Verb::Completions(_) | Verb::Man(_) => Ok(()),
    }
}
