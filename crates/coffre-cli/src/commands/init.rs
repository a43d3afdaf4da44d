//! `coffre init`: makes a vault.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use coffre::Error;
use coffre::store::Prefix;
use coffre::store::Store;
use coffre::vault::Access;
use coffre::vault::Setup;
use coffre::vault::StateDir;
use coffre::vault::Vault;
use coffre_format::id::SlotId;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::KeyFile;
use coffre_format::keyslot::RecoveryCode;
use coffre_format::keyslot::Secret;
use coffre_format::name::ObjectName;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::commands::user;
use crate::exit;
use crate::exit::Failure;
use crate::output::Output;
use crate::secret;
use crate::settings::Context;
use crate::settings::Target;
use crate::units;

/// Make a new vault
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coffre init ~/vault
  coffre init 's3://bucket/prefix?region=eu-central-1'
  coffre init --passphrase-file pass.txt 's3://bucket/prefix?endpoint=https://s3.example.org'
  coffre init --key-file ~/coffre.key work

Credentials of a store come from its service's usual environment (AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY for S3) or from a profile, never from the command line.
With --key-file, a file that does not exist yet is generated; passphrase and key file are then
needed together, unless --no-passphrase is given.")]
pub struct Args {
    /// Where: an empty prefix or folder (a URI, a local path, or a profile)
    vault: String,
    /// Accept a weak passphrase
    #[arg(long)]
    weak: bool,
    /// Make no recovery code
    #[arg(long)]
    no_recovery: bool,
    /// Let the key file alone open the vault
    #[arg(long, requires = "key_file")]
    no_passphrase: bool,
    /// Memory that one guess at the passphrase takes
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = units::parse_size)]
    kdf_memory: u64,
}

/// What scripts learn.
#[derive(Serialize)]
struct Made<'a> {
    vault: String,
    id: String,
    recovery_code: Option<&'a str>,
}

/// Runs it.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let target = context.target(&args.vault)?;
    let store = Store::open(&target.uri)?;
    // Before anybody thinks of a passphrase.
    refuse_used(&store).await?;
    let mut secrets = vec![(first_secret(context, &target, &args)?, "first".to_owned())];
    probe(&store).await?;
    let mut shown = None;
    if !args.no_recovery {
        let code = RecoveryCode::generate().map_err(Error::Secret)?;
        shown = Some(code.to_text());
        secrets.push((Secret::Recovery(code), "recovery code".to_owned()));
    }
    let vault = create(&target, store, secrets, kdf(args.kdf_memory)?).await?;
    tell(context.output, &target, &vault, shown);
    Ok(())
}

/// Makes the vault in a store that was found empty.
pub async fn create(
    target: &Target,
    store: Store,
    secrets: Vec<(Secret, String)>,
    kdf: KdfParams,
) -> anyhow::Result<Vault> {
    let state = StateDir::open(&target.state_root, &target.uri, Access::ReadWrite)?;
    let name = rustix::system::uname();
    let (uid, gid) = user();
    let setup = Setup {
        secrets,
        kdf,
        device_name: name.nodename().to_string_lossy().into_owned(),
        uid,
        gid,
    };
    Ok(Vault::make(store, state, setup).await?)
}

/// Argon2id's cost with this much memory.
pub fn kdf(memory: u64) -> anyhow::Result<KdfParams> {
    let kib = u32::try_from(memory / 1024).unwrap_or(u32::MAX);
    if !(KdfParams::FLOOR.m..=1024 * 1024).contains(&kib) {
        return Err(
            Error::Usage("a guess must take between 64M and 1G of memory".to_owned()).into(),
        );
    }
    Ok(KdfParams {
        m: kib,
        ..KdfParams::DEFAULT
    })
}

fn first_secret(context: &Context, target: &Target, args: &Args) -> anyhow::Result<Secret> {
    let key_file = context
        .global
        .key_file
        .as_ref()
        .or(target.profile.key_file.as_ref());
    let key_file = key_file
        .map(|path| key_file_at(path, context.output))
        .transpose()?;
    if let (Some(file), true) = (&key_file, args.no_passphrase) {
        let file = KeyFile::new(file.as_bytes()).map_err(Error::Secret)?;
        return Ok(Secret::KeyFile(file));
    }
    let source = secret::passphrase(&context.global, &target.profile)?;
    let passphrase = secret::new_passphrase(source, args.weak)?;
    Ok(match key_file {
        None => Secret::Passphrase(passphrase),
        Some(file) => {
            let file = KeyFile::new(file.as_bytes()).map_err(Error::Secret)?;
            Secret::PassphraseAndKeyFile(passphrase, file)
        }
    })
}

/// The key file at a path; generated where nothing is there.
pub fn key_file_at(path: &Path, output: Output) -> anyhow::Result<Zeroizing<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => return Ok(Zeroizing::new(text)),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("read", path, error).into());
        }
        Err(_) => {}
    }
    let text = KeyFile::generate().map_err(Error::Secret)?;
    write_private(path, text.as_bytes())?;
    output.note(format_args!(
        "generated the key file {}: keep a copy of it, apart from the vault",
        path.display()
    ));
    Ok(text)
}

/// A new file that only its owner can read, on the disk before this returns.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| Error::io("write", path, error).into())
}

async fn refuse_used(store: &Store) -> anyhow::Result<()> {
    let listing = store.list(Prefix::All).await?;
    let ours = listing
        .objects
        .first()
        .map(|object| object.name.to_string());
    match ours.or_else(|| listing.foreign.first().cloned()) {
        None => Ok(()),
        Some(found) => Err(Error::NotEmpty {
            location: store.uri().canonical().to_owned(),
            found,
        }
        .into()),
    }
}

/// Everything a vault needs of a store, tried once on an object that is taken away again.
pub async fn probe(store: &Store) -> anyhow::Result<()> {
    let id = SlotId::random().map_err(Error::Secret)?;
    let name = ObjectName::Slot(id);
    let bytes = Bytes::from(id.0.repeat(64));
    let tried = try_object(store, &name, &bytes).await;
    let removed = store.delete(&name).await;
    tried?;
    removed?;
    match store.length(&name).await? {
        None => Ok(()),
        Some(_) => Err(lacking("a deleted object is still there")),
    }
}

async fn try_object(store: &Store, name: &ObjectName, bytes: &Bytes) -> anyhow::Result<()> {
    store.put(name, bytes.clone()).await?;
    let read = store.read(name, 100..300).await?;
    if bytes.get(100..300) != Some(&read[..]) {
        return Err(lacking("a range of an object reads as something else"));
    }
    if store.length(name).await? != Some(bytes.len() as u64) {
        return Err(lacking("an object has another length than was written"));
    }
    let listing = store.list(Prefix::Slots).await?;
    if !listing.objects.iter().any(|object| object.name == *name) {
        return Err(lacking("an object that was just written is not listed"));
    }
    Ok(())
}

fn lacking(what: &str) -> anyhow::Error {
    Failure::error(
        exit::FAILED,
        format!("this store cannot hold a vault: {what}"),
    )
}

fn tell(output: Output, target: &Target, vault: &Vault, code: Option<Zeroizing<String>>) {
    output.object(&Made {
        vault: target.uri.canonical().to_owned(),
        id: vault.id().to_string(),
        recovery_code: code.as_ref().map(|code| code.as_str()),
    });
    output.line(format_args!(
        "made vault {} at {}",
        vault.id(),
        target.written
    ));
    if let Some(code) = code {
        output.line(format_args!(
            "\nRecovery code (shown this once; write it down and keep it apart):\n"
        ));
        output.line(format_args!("    {}\n", code.as_str()));
        output.line("It opens the vault like the passphrase. Without either, nobody can ever open it again.");
    }
    output.line(format_args!("\nNext: coffre mount {} DIR", target.written));
}
