//! The verbs, one file each.

pub mod cat;
pub mod check;
pub mod checkpoint;
pub mod completions;
pub mod copy;
pub mod demo;
pub mod doctor;
pub mod du;
pub mod get;
pub mod init;
pub mod key;
pub mod ls;
pub mod man;
pub mod mkdir;
pub mod mount;
pub mod mv;
pub mod put;
pub mod rm;
pub mod stat;
pub mod status;
pub mod sync;
pub mod unmount;

use coffre::Error;
use coffre::vault::Access;

use crate::control::Call;
use crate::control::Line;
use crate::control::client::Daemon;
use crate::exit;
use crate::exit::Failure;
use crate::interrupt;
use crate::mounts;
use crate::requests;
use crate::requests::Item;
use crate::requests::Request;
use crate::requests::State;
use crate::session;
use crate::settings::Context;
use crate::settings::Target;

/// Has a vault's file system answer requests, in this process or in the one that has it mounted; `each` sees
/// the pieces. All of them in one session, so that changes are uploaded once.
async fn ask(
    context: &Context,
    vault: &str,
    requests: Vec<Request>,
    mut each: impl FnMut(Item),
) -> anyhow::Result<()> {
    let target = context.target(vault)?;
    let state = target.state();
    if let Some(first) = Daemon::find(&state).await {
        let mut daemon = Some(first);
        for request in requests {
            let connected = match daemon.take() {
                Some(daemon) => Some(daemon),
                None => Daemon::find(&state).await,
            };
            let Some(connected) = connected else {
                let what = "the vault was unmounted meanwhile; try again".to_owned();
                return Err(Error::Busy { what }.into());
            };
            let call = Call::Request(request);
            connected
                .call(&call, |line| {
                    if let Line::Item(item) = line {
                        each(item);
                    }
                })
                .await?;
        }
        return Ok(());
    }
    let access = match requests.iter().any(Request::writes) {
        true => Access::ReadWrite,
        false => Access::ReadOnly,
    };
    session::with_filesystem(context, &target, access, |filesystem| async move {
        for request in requests {
            interrupt::check()?;
            let (items, mut answers) = tokio::sync::mpsc::channel(256);
            let work = async {
                let items = items;
                requests::answer(&filesystem, request, &items).await
            };
            let show = async {
                while let Some(item) = answers.recv().await {
                    each(item);
                }
            };
            tokio::join!(work, show).0?;
        }
        Ok(())
    })
    .await
}

/// How a mounted vault is, from the process that has it.
async fn state_of(daemon: Daemon) -> anyhow::Result<Box<State>> {
    let mut found = None;
    let call = Call::Request(Request::Status);
    daemon
        .call(&call, |line| {
            if let Line::Item(Item::Status(state)) = line {
                found = Some(state);
            }
        })
        .await?;
    found.ok_or_else(|| anyhow::anyhow!("the process that has the vault mounted told nothing"))
}

/// What to do with a vault that is mounted, where a verb does not go through the mount.
#[derive(Clone, Copy)]
enum Instead<'a> {
    /// Content does not go through the control socket: while a vault is mounted, its folder is the way.
    There(&'a str),
    /// The verb wants the vault for itself.
    Unmount,
}

/// Refuses a vault that is mounted on this machine, and says what to do.
async fn refuse_mounted(target: &Target, instead: Instead<'_>) -> anyhow::Result<()> {
    let state = target.state();
    if Daemon::find(&state).await.is_none() {
        return Ok(());
    }
    let mounted = mounts::of_state(&state);
    if mounted
        .as_ref()
        .is_some_and(|mounted| !mounts::is_mounted(&mounted.dir))
    {
        // The kernel has let go and its daemon is about to end: the vault is free in a moment.
        return Ok(());
    }
    let dir = mounted.map_or_else(
        || "its mount".to_owned(),
        |mounted| mounted.dir.display().to_string(),
    );
    let there = match instead {
        Instead::There(what) => format!("{what} there, or "),
        Instead::Unmount => String::new(),
    };
    Err(Failure::error(
        exit::BUSY,
        format!(
            "{} is mounted at {dir}; {there}unmount it first with `coffre unmount {dir}`",
            target.written
        ),
    ))
}

/// Who owns what this user makes.
fn user() -> (u32, u32) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    (uid.as_raw(), gid.as_raw())
}
