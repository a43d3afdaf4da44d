//! Everything that can go wrong, by what the caller can do about it.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use coffre_format::FormatError;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file operation is refused: the caller asked for something that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// ENOENT
    #[error("no such file or directory")]
    NoEntry,
    /// EEXIST
    #[error("it exists already")]
    Exists,
    /// ENOTDIR
    #[error("not a directory")]
    NotDirectory,
    /// EISDIR
    #[error("is a directory")]
    IsDirectory,
    /// ENOTEMPTY
    #[error("directory is not empty")]
    NotEmpty,
    /// EINVAL
    #[error("invalid argument")]
    Invalid,
    /// ENAMETOOLONG
    #[error("name is too long")]
    NameTooLong,
    /// ENODATA
    #[error("no such attribute")]
    NoAttribute,
    /// ERANGE / E2BIG
    #[error("too large")]
    TooLarge,
    /// EFBIG
    #[error("file would become too large")]
    FileTooLarge,
    /// ENOSPC
    #[error("no space left")]
    NoSpace,
    /// EMLINK
    #[error("too many links")]
    TooManyLinks,
    /// EBADF
    #[error("the handle is not open for that")]
    BadHandle,
    /// EROFS
    #[error("opened read-only")]
    ReadOnly,
    /// EPERM
    #[error("not permitted")]
    NotPermitted,
    /// ENXIO
    #[error("no data or hole there")]
    NothingThere,
    /// EOPNOTSUPP
    #[error("not supported")]
    Unsupported,
    /// ELOOP
    #[error("too many symbolic links")]
    Loop,
    /// ESTALE
    #[error("the file is gone")]
    Stale,
}

/// What went wrong. The message says what happened, to which object or path, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation that cannot be done as asked.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The same, of a path.
    #[error("{}: {refusal}", .path.display())]
    At {
        /// Which.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// The store did not answer, after retries.
    #[error(
        "the store cannot be reached ({operation} {object}): {why}; nothing is lost, try again when it is back"
    )]
    Unreachable {
        /// What was tried ("read", "write", "list", …).
        operation: &'static str,
        /// On what.
        object: String,
        /// The store's words, without credentials.
        why: String,
    },
    /// The store refuses these credentials, or the location is configured wrongly.
    #[error(
        "the store refuses to {operation} {object}: {why}; check the credentials and the address"
    )]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The store's words, without credentials.
        why: String,
    },
    /// The store takes no more: a quota, or its disk.
    #[error(
        "the store has no room left ({operation} {object}): {why}; delete something else there or raise the quota"
    )]
    Full {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The store's words, without credentials.
        why: String,
    },
    /// An object that must be there is not.
    #[error("{object} is missing from the store{}", of_path(.path))]
    Missing {
        /// Its name.
        object: String,
        /// The file it belongs to, where known.
        path: Option<String>,
    },
    /// An object is shorter than it must be.
    #[error("{object} is truncated{}", of_path(.path))]
    Truncated {
        /// Its name.
        object: String,
        /// The file it belongs to, where known.
        path: Option<String>,
    },
    /// An object is not what was written: altered, swapped or damaged.
    #[error("{object} does not authenticate{}: it was altered or damaged in the store ({why})", of_path(.path))]
    Forged {
        /// Its name.
        object: String,
        /// The file it belongs to, where known.
        path: Option<String>,
        /// What was found.
        why: String,
    },
    /// The store offers an older state than this device has seen.
    #[error(
        "the store was rolled back: {what}. Nothing was changed; ask the provider, or wait until the newer state is offered again"
    )]
    Rollback {
        /// Which commit of which device is gone.
        what: String,
    },
    /// The store holds another vault than this device knows under this address.
    #[error("another vault is at this address (expected {expected}, found {found})")]
    WrongVault {
        /// Known vault id.
        expected: String,
        /// Offered vault id.
        found: String,
    },
    /// A copy of this device's state publishes on the same chain.
    #[error(
        "device {device} exists twice (its state folder was copied or restored); this one continues as a new device"
    )]
    DeviceCloned {
        /// The device id.
        device: String,
    },
    /// No slot opens with what was presented.
    #[error("wrong passphrase or key: none of the vault's key slots opens with it")]
    WrongSecret,
    /// A secret or key derivation parameter that cannot be used.
    #[error("{0}")]
    Secret(FormatError),
    /// There is no vault at the address.
    #[error("no vault at {location}; create one with `coffre init`")]
    NoVault {
        /// The address.
        location: String,
    },
    /// `init` where something is already.
    #[error("{location} is not empty ({found}); choose an empty prefix or folder")]
    NotEmpty {
        /// The address.
        location: String,
        /// An example of what is there.
        found: String,
    },
    /// Made by a newer Coffre.
    #[error("{0}")]
    Unsupported(String),
    /// A local file (journal, anchor, outbox) is damaged below what was known to be synced.
    #[error("{} is damaged at byte {offset}: {why}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What was found.
        why: String,
    },
    /// Another process has this vault open.
    #[error("{what}")]
    Busy {
        /// Who, and what to do.
        what: String,
    },
    /// The local disk failed.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The local disk takes no changes at the moment.
    #[error(
        "no change can be accepted: cannot {operation} {}: {source}; what was accepted before is kept and \
         written as soon as that disk takes it: make room there, or see why it fails", .path.display()
    )]
    DiskRefuses {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The folder that keeps what is not uploaded yet cannot be used.
    #[error(
        "cannot {operation} {}: {source}; the state folder keeps what is not uploaded yet: make it writable, \
         make room on its disk, or choose another with --state-dir (`coffre ls`, `cat` and `get` write nothing)",
        .path.display()
    )]
    StateFolder {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// An address, option or argument that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// This device and another have both published without knowing of each other.
    #[error("{0}")]
    Diverged(String),
}

fn of_path(path: &Option<String>) -> String {
    path.as_ref()
        .map(|path| format!(" ({path})"))
        .unwrap_or_default()
}

impl Error {
    /// A failed operation on a local file.
    #[doc(hidden)]
    pub fn io(
        operation: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            operation,
            path: path.as_ref().to_owned(),
            source: Arc::new(source.into()),
        }
    }

    /// What a failed operation on a local file means to whoever wants to change something.
    #[must_use]
    pub(crate) fn refusing_changes(self) -> Self {
        match self {
            Self::Io {
                operation,
                path,
                source,
            } => Self::DiskRefuses {
                operation,
                path,
                source,
            },
            other => other,
        }
    }

    /// What a failed operation in the state folder means to whoever wants to begin.
    #[must_use]
    #[doc(hidden)]
    pub fn at_the_start(self, state: &Path) -> Self {
        match self {
            Self::Io {
                operation,
                path,
                source,
            } if path.starts_with(state) => Self::StateFolder {
                operation,
                path,
                source,
            },
            other => other,
        }
    }

    /// What a format error means when it was found in `object`.
    #[doc(hidden)]
    pub fn of_object(object: impl std::fmt::Display, error: FormatError) -> Self {
        let object = object.to_string();
        match error {
            FormatError::Truncated { .. } => Self::Truncated { object, path: None },
            FormatError::Unsupported { .. } => Self::Unsupported(format!("{object}: {error}")),
            FormatError::WrongSecret => Self::WrongSecret,
            FormatError::BadSecret { .. } | FormatError::KdfPolicy { .. } | FormatError::Random => {
                Self::Secret(error)
            }
            FormatError::Forged { .. }
            | FormatError::Malformed { .. }
            | FormatError::TooLarge { .. } => Self::Forged {
                object,
                path: None,
                why: error.to_string(),
            },
            _ => Self::Forged {
                object,
                path: None,
                why: error.to_string(),
            },
        }
    }

    /// Why a file operation was refused, if that is what happened.
    ///
    /// ```
    /// # async fn example(files: coffre::Filesystem) -> coffre::Result<()> {
    /// match files.read("/notes.txt").await {
    ///     Err(error) if error.refusal() == Some(coffre::Refusal::NoEntry) => println!("no notes yet"),
    ///     read => drop(read?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) | Self::At { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// The same error, saying which path it is about.
    #[must_use]
    #[doc(hidden)]
    pub fn at(self, path: &Path) -> Self {
        match self {
            Self::Refused(refusal) => Self::At {
                path: path.to_owned(),
                refusal,
            },
            other => other.with_path(&path.to_string_lossy()),
        }
    }

    /// Whether it is the same trouble again, wherever it was met this time.
    pub(crate) fn is_same_failure(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Io { source, .. }, Self::Io { source: again, .. }) => {
                source.kind() == again.kind() && source.raw_os_error() == again.raw_os_error()
            }
            _ => self.to_string() == other.to_string(),
        }
    }

    /// The same error, naming the file that is affected.
    #[doc(hidden)]
    pub fn with_path(mut self, file: &str) -> Self {
        if let Self::Missing { path, .. }
        | Self::Truncated { path, .. }
        | Self::Forged { path, .. } = &mut self
        {
            path.get_or_insert_with(|| file.to_owned());
        }
        self
    }

    /// Whether what it is about is lost or spoilt, and asking again will not help.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::Truncated { .. }
                | Self::Forged { .. }
                | Self::Damaged { .. }
        )
    }

    /// The same without the path of a file: for logs, which lie on the disk unsealed.
    #[must_use]
    #[doc(hidden)]
    pub fn without_path(&self) -> Self {
        let mut error = self.clone();
        if let Self::Missing { path, .. }
        | Self::Truncated { path, .. }
        | Self::Forged { path, .. } = &mut error
        {
            *path = None;
        }
        error
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(kind(&error), error)
    }
}

fn kind(error: &Error) -> io::ErrorKind {
    use io::ErrorKind;
    match error {
        Error::Refused(refusal) | Error::At { refusal, .. } => of_refusal(*refusal),
        Error::Io { source, .. }
        | Error::DiskRefuses { source, .. }
        | Error::StateFolder { source, .. } => source.kind(),
        Error::Unreachable { .. } => ErrorKind::HostUnreachable,
        Error::Denied { .. } | Error::WrongSecret => ErrorKind::PermissionDenied,
        Error::Full { .. } => ErrorKind::QuotaExceeded,
        Error::Missing { .. }
        | Error::Truncated { .. }
        | Error::Forged { .. }
        | Error::Rollback { .. }
        | Error::Damaged { .. } => ErrorKind::InvalidData,
        Error::NoVault { .. } => ErrorKind::NotFound,
        Error::NotEmpty { .. } => ErrorKind::AlreadyExists,
        Error::Busy { .. } => ErrorKind::ResourceBusy,
        Error::Usage(_) | Error::Secret(_) => ErrorKind::InvalidInput,
        Error::Unsupported(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

fn of_refusal(refusal: Refusal) -> io::ErrorKind {
    use io::ErrorKind;
    match refusal {
        Refusal::NoEntry => ErrorKind::NotFound,
        Refusal::Exists => ErrorKind::AlreadyExists,
        Refusal::NotDirectory => ErrorKind::NotADirectory,
        Refusal::IsDirectory => ErrorKind::IsADirectory,
        Refusal::NotEmpty => ErrorKind::DirectoryNotEmpty,
        Refusal::Invalid => ErrorKind::InvalidInput,
        Refusal::NameTooLong => ErrorKind::InvalidFilename,
        Refusal::FileTooLarge => ErrorKind::FileTooLarge,
        Refusal::NoSpace => ErrorKind::StorageFull,
        Refusal::TooManyLinks => ErrorKind::TooManyLinks,
        Refusal::ReadOnly => ErrorKind::ReadOnlyFilesystem,
        Refusal::NotPermitted => ErrorKind::PermissionDenied,
        Refusal::Unsupported => ErrorKind::Unsupported,
        Refusal::Stale => ErrorKind::StaleNetworkFileHandle,
        _ => ErrorKind::Other,
    }
}
