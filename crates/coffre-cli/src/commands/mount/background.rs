//! A mount in the background: this program is started again behind it, and told what opens the vault over a pipe.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use coffre::Error;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;

use crate::commands::mount;
use crate::commands::mount::ATTEMPTS;
use crate::commands::mount::Args;
use crate::daemon;
use crate::daemon::Terminal;
use crate::exit;
use crate::exit::Failure;
use crate::mounts::Mounted;
use crate::secret::Presented;
use crate::session;
use crate::settings::Context;
use crate::settings::Target;

/// Set in the process that stays behind the mount: secrets come through its standard input.
pub(super) const BEHIND: &str = "COFFRE_BEHIND_MOUNT";
/// A log that has grown beyond is begun anew, in bytes.
const LOG_MAX: u64 = 4 << 20;

/// What the process behind the mount tells the one that started it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Ready {
        mounted: Mounted,
        /// What the user should know.
        notes: Vec<String>,
    },
    Failed {
        message: String,
        code: u8,
    },
}

/// Starts this program again behind the mount and waits until the folder can be used.
pub(super) async fn in_background(context: &Context, target: &Target) -> anyhow::Result<Mounted> {
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
        // Not the service that a manager waits for.
        .env_remove("NOTIFY_SOCKET")
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
        Told::Ready { mounted, notes } => {
            notes
                .iter()
                .for_each(|note| mount::tell_note(context, note));
            Ok(mounted)
        }
        Told::Failed { message, code } => Err(Failure::error(code, message)),
    }
}

fn log_file(state: &Path) -> anyhow::Result<std::fs::File> {
    let path = state.join("daemon.log");
    let fail = |error| Error::io("write", &path, error).at_the_start(state);
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
pub(super) async fn behind(target: Target, args: &Args) -> anyhow::Result<()> {
    // Not of the terminal's session: closing it, or Ctrl-C there, does not reach the mount.
    rustix::process::setsid().context("a session of its own")?;
    let mounted = async {
        if std::io::stdin().is_terminal() {
            return Err(
                Error::Usage(format!("{BEHIND} is set by `coffre mount` itself only")).into(),
            );
        }
        let presented = mount::receive()?;
        let dir = mount::usable_folder(&args.dir, &target, mount::allow_other(args))?;
        let vault = session::unlock_with(&target, &presented, mount::access(args)).await?;
        anyhow::Ok((mount::plan(target, dir, args, Terminal::Left), vault))
    };
    let mut told = false;
    let served = match mounted.await {
        Ok((plan, vault)) => {
            daemon::run(&plan, vault, |mounted, notes| {
                told = true;
                say(&Told::Ready {
                    mounted: mounted.clone(),
                    notes: notes.to_vec(),
                })?;
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
