//! A type for each id, hash and number, so that none can be taken for another.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::error::FormatError;
use crate::error::Result;
use crate::random;

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// The number of bytes.
            pub const LENGTH: usize = $length;

            /// Reads one from a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self> {
                let bytes = bytes.try_into().map_err(|_| FormatError::Truncated { what: stringify!($name) })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = FormatError;

            fn from_str(text: &str) -> Result<Self> {
                let malformed = FormatError::Malformed { what: stringify!($name), why: "not lower-case hex of its length" };
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| malformed.clone())?;
                let bytes = bytes.try_into().map_err(|_| malformed)?;
                Ok(Self(bytes))
            }
        }
    };
}

macro_rules! random_id {
    ($name:ident) => {
        impl $name {
            /// A fresh one from the operating system.
            pub fn random() -> Result<Self> {
                let mut bytes = [0; Self::LENGTH];
                random::fill(&mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

bytes_id!(
    /// Names a vault for its whole life.
    VaultId, 16
);
bytes_id!(
    /// Names a key slot.
    SlotId, 16
);
bytes_id!(
    /// Names a device: the first 16 bytes of a hash of its public key.
    DeviceId, 16
);
bytes_id!(
    /// Names a pack: the first 16 bytes of the BLAKE3 of the whole object.
    PackName, 16
);
bytes_id!(
    /// The random value from which a pack's or journal segment's keys are derived.
    Salt, 16
);
bytes_id!(
    /// BLAKE3 of a whole object.
    ObjectHash, 32
);
bytes_id!(
    /// Keyed hash of a frame's stored bytes ("D"): what a pointer pins.
    Digest, 32
);
bytes_id!(
    /// Keyed hash of a node's records, independent of where they are stored.
    LogicalHash, 32
);
bytes_id!(
    /// Hash of a commit before its signature.
    CommitHash, 32
);
bytes_id!(
    /// An Ed25519 public key.
    PublicKey, 32
);

random_id!(VaultId);
random_id!(SlotId);
random_id!(Salt);

impl ObjectHash {
    /// The hash of a whole object.
    pub fn of(object: &[u8]) -> Self {
        Self(*blake3::hash(object).as_bytes())
    }
}

impl PackName {
    /// The name of the pack with this hash.
    pub fn of(hash: &ObjectHash) -> Self {
        let mut name = [0; 16];
        name.copy_from_slice(&hash.0[..16]);
        Self(name)
    }
}

impl Digest {
    /// What stands before the first frame of a journal.
    pub const NONE: Self = Self([0; 32]);
}

impl CommitHash {
    /// What stands before the first commit of a chain.
    pub const NONE: Self = Self([0; 32]);

    /// The 16 bytes that the object name carries.
    pub fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0[..16]);
        short
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Generation of the root key; rises at rotation.
    Epoch, u32
);
number!(
    /// Place of a commit in its device's chain; the first is 1.
    Seq, u64
);
number!(
    /// Number of a transaction in a device's journal; rises by one.
    Lsn, u64
);
number!(
    /// The random 31-bit number under which one session allocates inodes; never 0.
    SessionPrefix, u32
);
number!(
    /// An inode number.
    Inode, u64
);

impl Inode {
    /// Holds the vault's own records.
    pub const VAULT: Self = Self(0);
    /// The root directory.
    pub const ROOT: Self = Self(1);

    /// The number `counter` of a session: 0 bit ‖ prefix ‖ counter.
    pub fn of_session(prefix: SessionPrefix, counter: u32) -> Self {
        Self((u64::from(prefix.0) << 32) | u64::from(counter))
    }
}
