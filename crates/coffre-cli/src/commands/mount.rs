//! `coffre mount`: a vault as a folder.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use coffre::Error;
use coffre::fs::Fsync;
use coffre::vault::Access;
use coffre_fuse::AllowOther;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;

use crate::control::client::Daemon;
use crate::daemon;
use crate::daemon::Plan;
use crate::exit;
use crate::exit::Failure;
use crate::mounts;
use crate::mounts::Mounted;
use crate::secret::Presented;
use crate::session;
use crate::session::Bounds;
use crate::settings::Context;
use crate::settings::Target;
use crate::units;

/// Set in the process that stays behind the mount: secrets come through its standard input.
const BEHIND: &str = "COFFRE_BEHIND_MOUNT";
/// A log that has grown beyond is begun anew, in bytes.
const LOG_MAX: u64 = 4 << 20;
/// Mistakes that a person may make with the passphrase.
const ATTEMPTS: usize = 3;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    Local,
    Remote,
}

/// What the process behind the mount tells the one that started it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Ready(Mounted),
    Failed { message: String, code: u8 },
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    if std::env::var_os(BEHIND).is_some() {
        return behind(context, target, &args).await;
    }
    target.memory(args.memory)?;
    let dir = usable_folder(&args.dir, &target, allow_other(&args))?;
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
        let vault = session::unlock(context, &target, access(&args)).await?;
        let plan = plan(target, dir, &args);
        return daemon::run(&plan, vault, |mounted| {
            tell(context, mounted);
            Ok(())
        })
        .await;
    }
    let mounted = in_background(context, &target).await?;
    tell(context, &mounted);
    Ok(())
}

fn tell(context: &Context, mounted: &Mounted) {
    context.output.object(mounted);
    context
        .output
        .line(format_args!("mounted at {}", mounted.dir.display()));
}

fn access(args: &Args) -> Access {
    if args.read_only {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    }
}

fn plan(target: Target, dir: PathBuf, args: &Args) -> Plan {
    Plan {
        target,
        dir,
        access: access(args),
        bounds: Bounds {
            memory: args.memory,
            cache: args.cache_size,
            fsync: match args.fsync {
                Wait::Local => Fsync::Local,
                Wait::Remote => Fsync::Remote,
            },
        },
        allow_other: allow_other(args),
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

/// Starts this program again behind the mount and waits until the folder can be used.
async fn in_background(context: &Context, target: &Target) -> anyhow::Result<Mounted> {
    let mut presented = Presented::gather(&context.global, &target.profile)?;
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut attempt = 1;
    loop {
        let started = start(target, &arguments, &presented, context).await;
        match started {
            Err(error)
                if exit::code(&error) == exit::SECRET
                    && presented.may_ask
                    && attempt < ATTEMPTS =>
            {
                attempt += 1;
                if presented
                    .ask("That does not open it. Passphrase: ")
                    .is_err()
                {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// Starts this program with `arguments` behind a mount; they are a `mount` without `--foreground`.
pub async fn start(
    target: &Target,
    arguments: &[impl AsRef<OsStr>],
    presented: &Presented,
    context: &Context,
) -> anyhow::Result<Mounted> {
    let program =
        std::env::current_exe().map_err(|error| Error::io("find", "this program", error))?;
    let log = log_file(&target.state())?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env(BEHIND, "1")
        .env_remove("COFFRE_PASSPHRASE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| Error::io("start", "this program again", error))?;
    let pipe = child
        .stdin
        .take()
        .expect("its input is piped")
        .into_owned_fd();
    let sent = pipe.and_then(|pipe| presented.send(std::fs::File::from(pipe)));
    let told = child.stdout.take().expect("its output is piped");
    let mut told = BufReader::new(told).lines();
    let spinner = context.output.spinner("mounting");
    let line = tokio::select! {
        line = told.next_line() => line,
        _ = tokio::signal::ctrl_c() => {
            child.start_kill()?;
            child.wait().await?;
            return Err(Failure::error(exit::FAILED, "interrupted; nothing was mounted"));
        }
    };
    spinner.finish_and_clear();
    let line = line.ok().flatten().filter(|_| sent.is_ok());
    let Some(line) = line else {
        return Err(anyhow::anyhow!(
            "the process behind the mount ended early; {} says why",
            target.state().join("daemon.log").display()
        ));
    };
    match serde_json::from_str(&line).context("the process behind the mount said something else")? {
        Told::Ready(mounted) => Ok(mounted),
        Told::Failed { message, code } => Err(Failure::error(code, message)),
    }
}

fn log_file(state: &Path) -> anyhow::Result<std::fs::File> {
    let path = state.join("daemon.log");
    let fail = |error| Error::io("write", &path, error);
    let mut private = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
    private.recursive(true).create(state).map_err(fail)?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(fail)?;
    if log.metadata().map_err(fail)?.len() > LOG_MAX {
        log.set_len(0).map_err(fail)?;
    }
    Ok(log)
}

/// The process behind the mount.
async fn behind(context: &Context, target: Target, args: &Args) -> anyhow::Result<()> {
    // Not of the terminal's session: closing it, or Ctrl-C there, does not reach the mount.
    rustix::process::setsid().context("a session of its own")?;
    let mounted = async {
        if std::io::stdin().is_terminal() {
            return Err(
                Error::Usage(format!("{BEHIND} is set by `coffre mount` itself only")).into(),
            );
        }
        let presented = Presented::receive(std::io::stdin().lock())
            .context("read the passphrase from the pipe")?;
        let dir = usable_folder(&args.dir, &target, allow_other(args))?;
        let vault = session::unlock_with(&target, &presented, access(args)).await?;
        for warning in vault.heads().warnings {
            context.output.note(format_args!("note: {warning}"));
        }
        anyhow::Ok((plan(target, dir, args), vault))
    };
    let mut told = false;
    let served = match mounted.await {
        Ok((plan, vault)) => {
            daemon::run(&plan, vault, |mounted| {
                told = true;
                say(&Told::Ready(mounted.clone()))?;
                detach()
            })
            .await
        }
        Err(error) => Err(error),
    };
    match served {
        Err(error) if !told => {
            say(&Told::Failed {
                message: exit::message(&error),
                code: exit::code(&error),
            })?;
            Err(error)
        }
        done => done,
    }
}

fn say(told: &Told) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(told)?;
    text.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&text)?;
    Ok(out.flush()?)
}

/// Lets go of the pipes and of the folder it was started in.
fn detach() -> anyhow::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    std::env::set_current_dir("/")?;
    Ok(())
}
