//! What opens a vault: from a file, a command, the environment, a profile or a person.

use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use coffre::Error;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::Secret;
use zeroize::Zeroizing;

use crate::exit;
use crate::exit::Failure;
use crate::settings::Global;
use crate::settings::Profile;

/// Longest passphrase or key file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

type Bytes = Zeroizing<Vec<u8>>;

/// What a person or program presented; wiped when dropped.
pub struct Presented {
    passphrase: Option<Bytes>,
    key_file: Option<Bytes>,
    /// Whether a person may be asked again after a mistake.
    pub may_ask: bool,
}

impl Presented {
    /// For opening a vault: what flags, environment and profile name; otherwise asks.
    pub fn gather(global: &Global, profile: &Profile) -> anyhow::Result<Self> {
        let key_file = key_file(global, profile)?;
        let passphrase = passphrase(global, profile)?;
        let may_ask = passphrase.is_none();
        let mut presented = Self {
            passphrase,
            key_file,
            may_ask,
        };
        if presented.passphrase.is_none() && presented.key_file.is_none() {
            presented.ask("Passphrase: ")?;
        }
        Ok(presented)
    }

    /// What flags, environment and profile name; nobody is asked.
    pub fn at_hand(global: &Global, profile: &Profile) -> anyhow::Result<Option<Self>> {
        let presented = Self {
            passphrase: passphrase(global, profile)?,
            key_file: key_file(global, profile)?,
            may_ask: false,
        };
        let something = presented.passphrase.is_some() || presented.key_file.is_some();
        Ok(something.then_some(presented))
    }

    /// Asks a person for the passphrase.
    pub fn ask(&mut self, prompt: &str) -> anyhow::Result<()> {
        self.passphrase = Some(typed(prompt)?);
        Ok(())
    }

    /// The secrets that this may be, in the order in which they are worth a try.
    pub fn candidates(&self) -> anyhow::Result<Vec<Secret>> {
        let passphrase = self.passphrase.as_deref().map(Vec::as_slice);
        let key_file = self.key_file.as_deref().map(Vec::as_slice);
        Ok(Secret::candidates(passphrase, key_file).map_err(Error::Secret)?)
    }

    /// Hands it to the process at the other end of a pipe.
    pub fn send(&self, mut pipe: impl Write) -> io::Result<()> {
        for part in [&self.passphrase, &self.key_file] {
            let bytes = part.as_ref().map_or(&[][..], |bytes| bytes.as_slice());
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            pipe.write_all(&length.to_le_bytes())?;
            pipe.write_all(bytes)?;
        }
        pipe.flush()
    }

    /// What [`Presented::send`] wrote.
    pub fn receive(mut pipe: impl Read) -> io::Result<Self> {
        let mut part = || -> io::Result<Option<Bytes>> {
            let mut length = [0; 4];
            pipe.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            let bytes = read_bounded(&mut pipe.by_ref().take(length), length)?;
            Ok((!bytes.is_empty()).then_some(bytes))
        };
        Ok(Self {
            passphrase: part()?,
            key_file: part()?,
            may_ask: false,
        })
    }
}

/// The passphrase of a new slot: typed twice by a person, or read once from where the flags say. `source` is
/// for slots added later, whose passphrase has flags of its own.
pub fn new_passphrase(source: Option<Bytes>, weak: bool) -> anyhow::Result<Passphrase> {
    let text = match source {
        Some(text) => text,
        None => {
            let first = typed("New passphrase: ")?;
            check_strength(&first, weak)?;
            if typed("The same again: ")? != first {
                return Err(Error::Usage(
                    "the two passphrases differ; nothing was done".to_owned(),
                )
                .into());
            }
            first
        }
    };
    check_strength(&text, weak)?;
    Ok(Passphrase::new(&text).map_err(Error::Secret)?)
}

fn check_strength(text: &[u8], weak: bool) -> anyhow::Result<()> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Ok(()); // `Passphrase::new` refuses it with the right words
    };
    match coffre::weakness(text) {
        Some(why) if !weak => Err(Error::Usage(why).into()),
        _ => Ok(()),
    }
}

/// The passphrase from flags, environment or profile, in this order.
pub fn passphrase(global: &Global, profile: &Profile) -> anyhow::Result<Option<Bytes>> {
    if let Some(command) = &global.passphrase_command {
        return of_command(command).map(Some);
    }
    if let Some(file) = &global.passphrase_file {
        return of_file(file).map(Some);
    }
    if let Some(text) = std::env::var_os("COFFRE_PASSPHRASE") {
        return Ok(Some(Zeroizing::new(text.into_encoded_bytes())));
    }
    if let Some(command) = &profile.passphrase_command {
        return of_command(command).map(Some);
    }
    profile.passphrase_file.as_deref().map(of_file).transpose()
}

fn key_file(global: &Global, profile: &Profile) -> anyhow::Result<Option<Bytes>> {
    let file = global.key_file.as_ref().or(profile.key_file.as_ref());
    file.map(|file| of_file(file)).transpose()
}

/// A secret from a file.
pub fn of_file(path: &Path) -> anyhow::Result<Bytes> {
    let opened = std::fs::File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        read_bounded(&mut file.take(LONGEST), length)
    });
    opened.map_err(|error| Error::io("read", path, error).into())
}

/// What a command prints, without its last newline (which `Passphrase` strips).
pub fn of_command(command: &str) -> anyhow::Result<Bytes> {
    let failed = |why: String| {
        Failure::error(
            exit::FAILED,
            format!("the passphrase command failed: {why}"),
        )
    };
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env_remove("COFFRE_PASSPHRASE")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let pipe = child.stdout.take().expect("its output is piped");
    let bytes = read_bounded(&mut pipe.take(LONGEST), LONGEST)
        .map_err(|error| failed(error.to_string()))?;
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    Ok(bytes)
}

/// Reads to the end into one allocation, so that growing leaves no copy of a secret behind.
fn read_bounded(from: &mut impl Read, expected: u64) -> io::Result<Bytes> {
    let room = usize::try_from(expected.clamp(4096, LONGEST)).unwrap_or(4096);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn typed(prompt: &str) -> anyhow::Result<Bytes> {
    match rpassword::prompt_password(prompt) {
        Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
        Err(_) => Err(Failure::error(
            exit::USAGE,
            "a passphrase is needed and there is no terminal to ask on; give --passphrase-file, \
             --passphrase-command, --key-file or COFFRE_PASSPHRASE",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_format::keyslot::RecoveryCode;

    fn presented(passphrase: &str) -> Presented {
        Presented {
            passphrase: Some(Zeroizing::new(passphrase.as_bytes().to_vec())),
            key_file: None,
            may_ask: false,
        }
    }

    #[test]
    fn a_recovery_code_is_taken_for_what_it_is() {
        let code = RecoveryCode::generate().unwrap().to_text();
        let candidates = presented(&code).candidates().unwrap();
        assert!(matches!(
            candidates[..],
            [Secret::Recovery(_), Secret::Passphrase(_)]
        ));
        let candidates = presented("not a code").candidates().unwrap();
        assert!(matches!(candidates[..], [Secret::Passphrase(_)]));
    }

    #[test]
    fn a_pipe_carries_what_was_presented() {
        let mut pipe = Vec::new();
        presented("word\n").send(&mut pipe).unwrap();
        let received = Presented::receive(&pipe[..]).unwrap();
        assert_eq!(received.passphrase.unwrap().as_slice(), b"word\n");
        assert!(received.key_file.is_none());
        assert!(Presented::receive(&pipe[..3]).is_err());
    }

    #[test]
    fn commands_print_passphrases_or_fail() {
        assert_eq!(of_command("printf secret").unwrap().as_slice(), b"secret");
        assert!(of_command("exit 3").is_err());
    }
}
