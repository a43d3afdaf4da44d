//! Exit codes: the one place where an error becomes a number that scripts rely on.

use std::io;

use coffre::Error;
use coffre::Refusal;
use coffre_format::FormatError;
use coffre_fuse::MountError;

/// Something else went wrong.
pub const FAILED: u8 = 1;
/// The command line or a setting cannot be used.
pub const USAGE: u8 = 2;
/// Wrong passphrase or key.
pub const SECRET: u8 = 3;
/// Does not authenticate: forged, rolled back, another vault.
pub const FORGED: u8 = 4;
/// No such vault, file, folder or key slot.
pub const NOT_FOUND: u8 = 5;
/// The store cannot be reached, or refuses.
pub const UNREACHABLE: u8 = 6;
/// Missing or truncated object, damaged journal.
pub const MISSING: u8 = 7;
/// Cloned or diverged, where the verb cannot go on.
pub const DIVERGED: u8 = 8;
/// Another process has the vault.
pub const BUSY: u8 = 9;

/// An error with the exit code that belongs to it: decided here, or relayed from the process that has the
/// vault mounted.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened, where, and what to do.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// An error of this program, ready to be returned.
    pub fn error(code: u8, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self {
            message: message.into(),
            code,
        })
    }
}

/// What an error says, with its context, each thing once: causes often stand in the text above them already.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.ends_with(&cause) {
            message.push_str(": ");
            message.push_str(&cause);
        }
    }
    message
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return code_of(error);
        }
        match cause.downcast_ref::<MountError>() {
            Some(MountError::NoMountPoint(_)) => return NOT_FOUND,
            Some(
                MountError::InUse(_) | MountError::AlreadyMounted(_) | MountError::Detached(_),
            ) => return BUSY,
            _ => {}
        }
        if cause.downcast_ref::<FormatError>().is_some() {
            return SECRET;
        }
    }
    FAILED
}

fn code_of(error: &Error) -> u8 {
    match error {
        Error::Usage(_) => USAGE,
        Error::WrongSecret => SECRET,
        Error::Secret(FormatError::Random) => FAILED,
        Error::Secret(_) => SECRET,
        Error::Forged { .. } | Error::Rollback { .. } | Error::WrongVault { .. } => FORGED,
        Error::NoVault { .. } | Error::Refused(Refusal::NoEntry) => NOT_FOUND,
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
        Error::Unreachable { .. } | Error::Denied { .. } | Error::Full { .. } => UNREACHABLE,
        Error::Missing { .. } | Error::Truncated { .. } | Error::Damaged { .. } => MISSING,
        Error::DeviceCloned { .. } | Error::Diverged(_) => DIVERGED,
        Error::Busy { .. } => BUSY,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_does_not_hide_the_code() {
        let error = anyhow::Error::new(Error::WrongSecret).context("while opening");
        assert_eq!(code(&error), SECRET);
        assert_eq!(code(&Failure::error(BUSY, "in use").context("more")), BUSY);
        assert_eq!(code(&anyhow::anyhow!("anything")), FAILED);
    }

    #[test]
    fn nothing_is_said_twice() {
        let error = anyhow::Error::new(Error::Refused(Refusal::ReadOnly));
        assert_eq!(message(&error), "opened read-only");
        let error = error.context("while publishing");
        assert_eq!(message(&error), "while publishing: opened read-only");
    }

    #[test]
    fn a_local_file_that_is_not_there_is_not_found() {
        let gone = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(code_of(&Error::io("read", "x", gone)), NOT_FOUND);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(code_of(&Error::io("read", "x", denied)), FAILED);
    }
}
