//! `coffre key`: the slots by which a vault opens.

use std::path::PathBuf;

use coffre::Error;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre::vault::SlotInfo;
use coffre_format::id::SlotId;
use coffre_format::keyslot::KeyFile;
use coffre_format::keyslot::RecoveryCode;
use coffre_format::keyslot::Secret;
use coffre_format::keyslot::SlotKind;
use serde::Serialize;

use crate::commands::Instead;
use crate::commands::init;
use crate::commands::refuse_mounted;
use crate::exit;
use crate::exit::Failure;
use crate::output::Output;
use crate::secret;
use crate::session;
use crate::settings::Context;
use crate::units;

/// List and change what opens a vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre key list work
  coffre key passphrase work
  coffre key add work --new-key-file ~/coffre.key
  coffre key remove work 3f9c…

A new slot makes a guess cost as much as the costliest slot of the vault does; one for a changed
passphrase opens without the key file. A removed passphrase no longer opens the vault as it is
stored from now on. A provider that kept the old key slot and learns the old passphrase could
still read the vault.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the key slots
    List {
        /// Vault: a URI, a local folder, or a profile
        vault: String,
    },
    /// Add a passphrase or a key file
    Add {
        /// Vault: a URI, a local folder, or a profile
        vault: String,
        #[command(flatten)]
        new: New,
        /// The new slot opens with this key file alone; generated if it does not exist
        #[arg(long, value_name = "F")]
        new_key_file: Option<PathBuf>,
        /// A name for the slot
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Remove a key slot
    Remove {
        /// Vault: a URI, a local folder, or a profile
        vault: String,
        /// Its id, or the beginning of it, as `key list` shows it
        slot: String,
    },
    /// Change the passphrase: a new slot in place of the one that opens now
    Passphrase {
        /// Vault: a URI, a local folder, or a profile
        vault: String,
        #[command(flatten)]
        new: New,
    },
    /// Make a new recovery code; the older ones stop working
    Recovery {
        /// Vault: a URI, a local folder, or a profile
        vault: String,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// Read the new passphrase from this file instead of asking
    #[arg(long, value_name = "F")]
    new_passphrase_file: Option<PathBuf>,
    /// Accept a weak passphrase
    #[arg(long)]
    weak: bool,
}

impl New {
    fn passphrase(&self) -> anyhow::Result<Secret> {
        let source = self.new_passphrase_file.as_deref().map(secret::of_file);
        let passphrase = secret::new_passphrase(source.transpose()?, self.weak)?;
        Ok(Secret::Passphrase(passphrase))
    }
}

/// A slot, for scripts.
#[derive(Serialize)]
struct Shown {
    id: String,
    kind: &'static str,
    label: String,
    created: i64,
    kdf_memory: Option<u64>,
    current: bool,
    listed: bool,
    present: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (vault, access) = match &args.action {
        Action::List { vault } => (vault, Access::ReadOnly),
        Action::Add { vault, .. }
        | Action::Remove { vault, .. }
        | Action::Passphrase { vault, .. }
        | Action::Recovery { vault } => (vault, Access::ReadWrite),
    };
    let target = context.target(vault)?;
    refuse_mounted(&target, Instead::Unmount).await?;
    session::with_filesystem(context, &target, access, |filesystem| async move {
        act(&filesystem, args.action, context.output).await
    })
    .await
}

async fn act(filesystem: &Volume, action: Action, output: Output) -> anyhow::Result<()> {
    match action {
        Action::List { .. } => {
            for slot in filesystem.slots().await? {
                show(output, &slot);
            }
            Ok(())
        }
        Action::Add {
            new,
            new_key_file,
            label,
            ..
        } => {
            let secret = match new_key_file {
                None => new.passphrase()?,
                Some(path) => {
                    let text = init::key_file_at(&path, output)?;
                    let file = KeyFile::new(text.as_bytes()).map_err(Error::Secret)?;
                    Secret::KeyFile(file)
                }
            };
            added(output, filesystem.add_slot(&secret, &label).await?);
            Ok(())
        }
        Action::Remove { slot, .. } => remove(filesystem, &slot, output).await,
        Action::Passphrase { new, .. } => {
            let old = current(filesystem).await?;
            if !matches!(
                kind(&old),
                Some(SlotKind::Passphrase | SlotKind::PassphraseAndKeyFile)
            ) {
                return Err(Error::Usage(
                    "open the vault with the passphrase that is to be changed; `key add` adds one beside a \
                     recovery code or key file"
                        .to_owned(),
                )
                .into());
            }
            if kind(&old) == Some(SlotKind::PassphraseAndKeyFile) {
                output.note("note: the new passphrase opens the vault without the key file");
            }
            let id = filesystem
                .add_slot(&new.passphrase()?, "passphrase")
                .await?;
            filesystem.remove_slot(old.id).await?;
            added(output, id);
            Ok(())
        }
        Action::Recovery { .. } => recovery(filesystem, output).await,
    }
}

async fn recovery(filesystem: &Volume, output: Output) -> anyhow::Result<()> {
    let before = filesystem.slots().await?;
    let code = RecoveryCode::generate().map_err(Error::Secret)?;
    let text = code.to_text();
    let id = filesystem
        .add_slot(&Secret::Recovery(code), "recovery code")
        .await?;
    // Shown before the old ones go: there is never a moment without one.
    output.object(&serde_json::json!({ "slot": id.to_string(), "recovery_code": text.as_str() }));
    output.line("Recovery code (shown this once; write it down and keep it apart):\n");
    output.line(format_args!("    {}\n", text.as_str()));
    let old = before
        .iter()
        .filter(|slot| kind(slot) == Some(SlotKind::Recovery));
    for slot in old {
        filesystem.remove_slot(slot.id).await?;
    }
    Ok(())
}

async fn remove(filesystem: &Volume, prefix: &str, output: Output) -> anyhow::Result<()> {
    let slots = filesystem.slots().await?;
    let prefix = prefix.to_lowercase();
    let mut found = slots
        .iter()
        .filter(|slot| slot.id.to_string().starts_with(&prefix));
    let (Some(slot), None) = (found.next(), found.next()) else {
        let what =
            format!("no key slot, or more than one, begins with {prefix}; see `coffre key list`");
        return Err(Failure::error(exit::NOT_FOUND, what));
    };
    let others = slots
        .iter()
        .filter(|other| other.id != slot.id && other.record.is_some());
    if others.count() == 0 {
        let what = "this is the only key slot: without it nobody could open the vault again; add another one first";
        return Err(Failure::error(exit::FAILED, what));
    }
    filesystem.remove_slot(slot.id).await?;
    output.object(&serde_json::json!({ "removed": slot.id.to_string() }));
    output.line(format_args!("removed key slot {}", slot.id));
    Ok(())
}

async fn current(filesystem: &Volume) -> anyhow::Result<SlotInfo> {
    let slots = filesystem.slots().await?;
    let current = slots.into_iter().find(|slot| slot.current);
    current.ok_or_else(|| {
        Failure::error(
            exit::NOT_FOUND,
            "the key slot that opened the vault is gone",
        )
    })
}

fn kind(slot: &SlotInfo) -> Option<SlotKind> {
    let recorded = slot
        .record
        .as_ref()
        .and_then(|record| SlotKind::try_from(record.kind).ok());
    recorded.or(slot.header.map(|header| header.kind))
}

fn added(output: Output, id: SlotId) {
    output.object(&serde_json::json!({ "slot": id.to_string() }));
    output.line(format_args!("added key slot {id}"));
}

fn show(output: Output, slot: &SlotInfo) {
    let record = slot.record.as_ref();
    let shown = Shown {
        id: slot.id.to_string(),
        kind: match kind(slot) {
            Some(SlotKind::Passphrase) => "passphrase",
            Some(SlotKind::PassphraseAndKeyFile) => "passphrase and key file",
            Some(SlotKind::Recovery) => "recovery code",
            Some(SlotKind::KeyFile) => "key file",
            None => "unknown",
        },
        label: record.map_or(String::new(), |record| record.label.clone()),
        created: record.map_or(0, |record| record.created.seconds),
        kdf_memory: slot.header.map(|header| u64::from(header.params.m) * 1024),
        current: slot.current,
        listed: slot.record.is_some(),
        present: slot.header.is_some(),
    };
    output.object(&shown);
    let mut remarks = Vec::new();
    if shown.current {
        remarks.push("opened this session");
    }
    if !shown.listed {
        remarks.push("NOT LISTED in the vault: not made by its owner, or removed");
    }
    if !shown.present {
        remarks.push("its object is missing or altered");
    }
    output.line(format_args!(
        "{}  {:<24} {:<16} {} UTC  {}",
        shown.id,
        shown.kind,
        shown.label,
        units::date(shown.created),
        remarks.join(", ")
    ));
}
