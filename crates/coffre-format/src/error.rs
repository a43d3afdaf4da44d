//! What can be wrong with bytes: the one error type of this crate.

/// Why bytes were not accepted, or could not be made.
///
/// `what` names the kind of object ("pack frame", "commit", "key slot"); the caller adds which one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Fewer bytes than the object must have.
    #[error("{what} is truncated")]
    Truncated {
        /// Kind of object.
        what: &'static str,
    },
    /// The bytes do not authenticate, or are not what an authentic pointer or name promised.
    #[error("{what} does not authenticate")]
    Forged {
        /// Kind of object.
        what: &'static str,
    },
    /// Authentic or clear bytes that break a rule of the format.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Kind of object.
        what: &'static str,
        /// The rule that is broken.
        why: &'static str,
    },
    /// Made by a newer Coffre.
    #[error("{what} has version {version}, which this program does not know; use a newer one")]
    Unsupported {
        /// Kind of object.
        what: &'static str,
        /// The version found.
        version: u32,
    },
    /// Larger than the format allows.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Kind of object.
        what: &'static str,
        /// The bound, in bytes.
        limit: u64,
    },
    /// Key derivation parameters outside the accepted range; nothing was derived.
    #[error("key derivation parameters are refused: {why}")]
    KdfPolicy {
        /// Which bound is violated.
        why: &'static str,
    },
    /// The passphrase, key file or recovery code does not open this slot.
    #[error("the passphrase or key does not open this key slot")]
    WrongSecret,
    /// The secret cannot be used as it was given (empty, not UTF-8, mistyped code, wrong file).
    #[error("the secret cannot be used: {why}")]
    BadSecret {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, FormatError>;
