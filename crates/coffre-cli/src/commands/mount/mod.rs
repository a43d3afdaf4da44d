//! `coffre mount`: a vault as a folder.

mod background;
mod foreground;

use std::os::fd::AsFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use coffre::Error;
use coffre::fs::Damage;
use coffre::fs::Fsync;
use coffre::vault::Access;
use coffre_fuse::AllowOther;

use crate::control::client::Daemon;
use crate::daemon::Plan;
use crate::daemon::Terminal;
use crate::exit;
use crate::exit::Failure;
use crate::mounts;
use crate::mounts::Mounted;
use crate::secret::Presented;
use crate::session::Bounds;
use crate::settings::Context;
use crate::settings::Target;
use crate::units;

pub use background::start;

/// Mistakes that a person may make with the passphrase.
const ATTEMPTS: usize = 3;
/// Less than systemd waits for a service that it stops, in seconds.
const LINGER: u64 = 60;

/// Mount a vault as a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre mount work ~/cloud
  coffre mount 's3://bucket/vault?region=eu-central-1' ~/cloud --cache-size 50G
  coffre mount --foreground --read-only work /mnt/cloud

Returns when the folder can be used; `coffre unmount DIR` ends it, `coffre status DIR` tells
what is not uploaded yet. A process stays behind the mount; its log is daemon.log in the
vault's state folder.")]
pub struct Args {
    /// Vault: a URI, a local folder, or a profile
    vault: String,
    /// An empty folder
    dir: PathBuf,
    /// Stay in the foreground until unmounted or Ctrl-C
    #[arg(long)]
    foreground: bool,
    /// Refuse changes
    #[arg(long)]
    read_only: bool,
    /// What fsync waits for: the journal on this disk, or a commit in the store
    #[arg(long, value_enum, default_value = "local")]
    fsync: Wait,
    /// Let other users use the mount, as far as modes allow
    #[arg(long)]
    allow_other: bool,
    /// Bound of memory, at least 96M [default: 512M]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    memory: Option<u64>,
    /// Bound of the cache on this disk [default: 10G; none for a vault in a local folder]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    cache_size: Option<u64>,
    /// Bound of what waits on this disk for its upload, at least 64M; writers are slowed down from half of it on
    /// [default: what the disk has free, less a twentieth of the disk or a gibibyte; half of it where the disk is nearly full]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    queue_size: Option<u64>,
    /// How long an upload may go on after SIGTERM, Ctrl-C or the end of the terminal; the rest stays in the journal
    #[arg(long, value_name = "SECONDS", default_value_t = LINGER)]
    linger: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    Local,
    Remote,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    if std::env::var_os(background::BEHIND).is_some() {
        return background::behind(target, &args).await;
    }
    if let Ok(told) = std::env::var(foreground::ANEW) {
        return foreground::go_on(context, target, &args, &told).await;
    }
    target.memory(args.memory)?;
    usable_folder(&args.dir, &target, allow_other(&args))?;
    if Daemon::find(&target.state()).await.is_some() {
        let place = mounts::of_state(&target.state()).map(|mounted| mounted.dir);
        let place = place.unwrap_or_default();
        return Err(Failure::error(
            exit::BUSY,
            format!(
                "{} is mounted already, at {}",
                target.written,
                place.display()
            ),
        ));
    }
    if args.foreground {
        let presented = Presented::gather(&context.global, &target.profile)?;
        return Err(foreground::begin_anew(&presented, 1));
    }
    let mounted = background::in_background(context, &target).await?;
    tell(context, &mounted);
    Ok(())
}

/// What a new image of this program was handed. Not through the standard library's buffer of standard input, which
/// would keep the passphrase.
fn receive() -> anyhow::Result<Presented> {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned();
    let received = pipe.and_then(|pipe| Presented::receive(std::fs::File::from(pipe)));
    received.context("read the passphrase from the pipe")
}

fn tell(context: &Context, mounted: &Mounted) {
    context.output.object(mounted);
    context
        .output
        .line(format_args!("mounted at {}", mounted.dir.display()));
}

fn tell_note(context: &Context, note: &str) {
    context.output.note(format_args!("note: {note}"));
}

fn access(args: &Args) -> Access {
    if args.read_only {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    }
}

fn plan(target: Target, dir: PathBuf, args: &Args, terminal: Terminal) -> Plan {
    Plan {
        target,
        dir,
        access: access(args),
        bounds: Bounds {
            memory: args.memory,
            cache: args.cache_size,
            queue: args.queue_size,
            fsync: match args.fsync {
                Wait::Local => Fsync::Local,
                Wait::Remote => Fsync::Remote,
            },
            // Whoever only looks may see what was before the damage, and is told.
            damage: Damage::ShowBefore,
        },
        allow_other: allow_other(args),
        terminal,
        linger: Duration::from_secs(args.linger),
    }
}

fn allow_other(args: &Args) -> AllowOther {
    if args.allow_other {
        AllowOther::Yes
    } else {
        AllowOther::No
    }
}

/// The folder to mount at: there, empty, and not holding what the mount itself needs.
pub fn usable_folder(
    dir: &Path,
    target: &Target,
    allow_other: AllowOther,
) -> anyhow::Result<PathBuf> {
    let needed = [
        Some(target.state()),
        Some(target.cache()),
        target.uri.local_path().map(Path::to_owned),
    ];
    let canonical = mounts::canonical(dir);
    if let Some(inside) = needed
        .into_iter()
        .flatten()
        .find(|path| path.starts_with(&canonical))
    {
        let what = format!(
            "{} is inside {}, so mounting there would hide what the mount needs",
            inside.display(),
            dir.display()
        );
        return Err(Error::Usage(what).into());
    }
    coffre_fuse::check_mount_point(dir, allow_other)?;
    dir.canonicalize()
        .map_err(|error| Error::io("mount at", dir, error).into())
}
