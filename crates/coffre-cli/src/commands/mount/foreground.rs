//! A mount in the foreground: once what opens the vault is known, this program begins anew in the same process.
//!
//! Asking on a terminal, reading a passphrase from the environment and running a command leave copies of it that
//! nobody can wipe. A new image of the program has none of them; it is handed the secrets in a file that lies in
//! memory and is gone when it is read.

use std::io::IsTerminal;
use std::io::Seek;
use std::io::Write;
use std::os::unix::process::CommandExt;

use anyhow::Context as _;
use coffre::Error;
use rustix::fs::MemfdFlags;

use crate::commands::mount;
use crate::commands::mount::ATTEMPTS;
use crate::commands::mount::Args;
use crate::daemon;
use crate::daemon::Terminal;
use crate::exit;
use crate::secret::Presented;
use crate::session;
use crate::settings::Context;
use crate::settings::Target;

/// Set in the new image: which attempt it is, and whether a person may be asked for another.
pub(super) const ANEW: &str = "COFFRE_MOUNT_ANEW";
const MAY_ASK: &str = " ask";

/// Begins anew with these secrets. Returns only what went wrong.
pub(super) fn begin_anew(presented: &Presented, attempt: usize) -> anyhow::Error {
    let begun = || -> std::io::Result<std::convert::Infallible> {
        let program = std::env::current_exe()?;
        let secrets = rustix::fs::memfd_create("coffre", MemfdFlags::CLOEXEC)?;
        let mut secrets = std::fs::File::from(secrets);
        presented.send(&mut secrets)?;
        secrets.flush()?;
        secrets.rewind()?;
        let may_ask = if presented.may_ask { MAY_ASK } else { "" };
        Err(std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(ANEW, format!("{attempt}{may_ask}"))
            .env_remove("COFFRE_PASSPHRASE")
            .stdin(secrets)
            .exec())
    };
    match begun() {
        Ok(never) => match never {},
        Err(error) => Error::io("start", "this program again", error).into(),
    }
}

/// The new image.
pub(super) async fn go_on(
    context: &Context,
    target: Target,
    args: &Args,
    told: &str,
) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        return Err(Error::Usage(format!("{ANEW} is set by `coffre mount` itself only")).into());
    }
    let attempt = told.strip_suffix(MAY_ASK).unwrap_or(told);
    let attempt: usize = attempt.parse().unwrap_or(ATTEMPTS);
    let mut presented = mount::receive()?;
    presented.may_ask = told.ends_with(MAY_ASK);
    let null = std::fs::File::open("/dev/null").context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    let vault = match session::unlock_with(&target, &presented, mount::access(args)).await {
        Ok(vault) => vault,
        Err(error) => {
            let mistaken = exit::code(&error) == exit::SECRET;
            let again = mistaken && presented.may_ask && attempt < ATTEMPTS;
            if !again
                || presented
                    .ask("That does not open it. Passphrase: ")
                    .is_err()
            {
                return Err(error);
            }
            return Err(begin_anew(&presented, attempt + 1));
        }
    };
    drop(presented);
    let said = vault.heads().warnings;
    said.iter().for_each(|note| mount::tell_note(context, note));
    let dir = mount::usable_folder(&args.dir, &target, mount::allow_other(args))?;
    let plan = mount::plan(target, dir, args, Terminal::Followed);
    daemon::run(&plan, vault, |mounted, notes| {
        let news = notes.iter().filter(|note| !said.contains(note));
        news.for_each(|note| mount::tell_note(context, note));
        mount::tell(context, mounted);
        Ok(())
    })
    .await
}
