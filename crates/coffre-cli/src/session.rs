//! Opening a vault and its file system for one verb, and closing them with everything uploaded.

use std::future::Future;
use std::time::Duration;

use coffre::Error;
use coffre::fs::Damage;
use coffre::fs::Fsync;
use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::store::Outbox;
use coffre::store::Reader;
use coffre::tree::Nodes;
use coffre::vault::Access;
use coffre::vault::StateDir;
use coffre::vault::Vault;

use crate::exit;
use crate::exit::Failure;
use crate::interrupt;
use crate::output::Output;
use crate::secret::Presented;
use crate::settings::Context;
use crate::settings::Target;
use crate::units;

/// Mistakes that a person may make with the passphrase.
const ATTEMPTS: usize = 3;
/// Decoded nodes that a verb without a file system keeps, in bytes.
const NODE_MEMORY: u64 = 128 << 20;

/// Bounds of an open file system.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Resident memory.
    pub memory: Option<u64>,
    /// Local cache.
    pub cache: Option<u64>,
    /// What may wait for its upload.
    pub queue: Option<u64>,
    /// What fsync waits for.
    pub fsync: Fsync,
    /// What a damaged journal is.
    pub damage: Damage,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory: None,
            cache: None,
            queue: None,
            fsync: Fsync::Local,
            damage: Damage::Refuse,
        }
    }
}

/// Unlocks a vault with what flags, environment, profile or a person present.
pub async fn unlock(context: &Context, target: &Target, access: Access) -> anyhow::Result<Vault> {
    let mut presented = Presented::gather(&context.global, &target.profile)?;
    let mut attempt = 1;
    loop {
        let opened = unlock_with(target, &presented, access).await;
        match opened {
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
            Ok(vault) => {
                for warning in vault.heads().warnings {
                    context.output.note(format_args!("note: {warning}"));
                }
                return Ok(vault);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Unlocks a vault with the first candidate that opens a slot.
pub async fn unlock_with(
    target: &Target,
    presented: &Presented,
    access: Access,
) -> anyhow::Result<Vault> {
    let mut refused = Error::WrongSecret;
    for secret in presented.candidates()? {
        let store = target.store()?;
        let state = StateDir::open(&target.state_root, &target.uri, access)?;
        match Vault::unlock(store, state, &secret, access).await {
            Ok(vault) => return Ok(vault),
            Err(error @ Error::WrongSecret) => refused = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.into())
}

/// Opens the file system of an unlocked vault.
pub async fn filesystem(
    target: &Target,
    vault: Vault,
    access: Access,
    bounds: Bounds,
) -> anyhow::Result<Volume> {
    let local = target.uri.local_path().is_some();
    let options = Options {
        memory: target.memory(bounds.memory)?,
        cache: target.cache_size(bounds.cache)?,
        fsync: bounds.fsync,
        queue: target.queue(bounds.queue)?,
        damage: bounds.damage,
        ..Options::new(access, target.cache(), local)
    };
    Ok(Volume::open(vault, options).await?)
}

/// Nodes of a vault, for verbs that read its published tree and nothing else.
pub fn nodes(vault: &Vault) -> anyhow::Result<Nodes> {
    // An outbox that stays empty: what is published is in the store.
    let outbox = Outbox::look(&vault.state().path().join("heads").join("outbox"))?;
    let reader = Reader::new(vault.store().clone(), None, outbox);
    Ok(Nodes::new(reader, vault.ring(), NODE_MEMORY))
}

/// Runs `work` on the vault's file system, then uploads what it changed. Ctrl-C stops the work between two
/// files; what was done by then is kept, and what was not uploaded stays in the journal for the next time.
pub async fn with_filesystem<T, W>(
    context: &Context,
    target: &Target,
    access: Access,
    work: impl FnOnce(Volume) -> W,
) -> anyhow::Result<T>
where
    W: Future<Output = anyhow::Result<T>>,
{
    let vault = unlock(context, target, access).await?;
    let filesystem = filesystem(target, vault, access, Bounds::default()).await?;
    let done = work(filesystem.clone()).await;
    let closed = close(&filesystem, access, context.output).await;
    match (done, closed) {
        (Ok(value), closed) => closed.map(|()| value),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(closing)) => {
            context.output.note(format_args!("coffre: {closing:#}"));
            Err(error)
        }
    }
}

/// Uploads everything and stops; Ctrl-C leaves the rest in the journal.
pub async fn close(filesystem: &Volume, access: Access, output: Output) -> anyhow::Result<()> {
    if access == Access::ReadOnly {
        filesystem.close_now().await?;
        return Ok(());
    }
    let waiting = filesystem.status().unpublished_bytes;
    let bar = output.bytes_bar(waiting, "uploading");
    let closed = tokio::select! {
        closed = filesystem.close() => Some(closed),
        () = watch(filesystem, &bar, waiting) => None,
    };
    bar.finish_and_clear();
    let why = match closed {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) => error.into(),
        None => Failure::error(exit::FAILED, "interrupted"),
    };
    // What is not uploaded now must at least be durable here.
    let left = filesystem.close_now().await;
    let left = left.map_or(waiting, |status| status.unpublished_bytes);
    Err(Failure::error(
        exit::code(&why),
        format!(
            "{why}. {} wait in the journal on this machine; the next command that writes to this vault, or a mount, \
             uploads them",
            units::size(left)
        ),
    ))
}

/// Moves the bar as the backlog shrinks; ends with the next Ctrl-C.
async fn watch(filesystem: &Volume, bar: &indicatif::ProgressBar, total: u64) {
    let before = interrupt::count();
    while interrupt::count() == before {
        let left = filesystem.status().unpublished_bytes;
        bar.set_position(total.saturating_sub(left));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
