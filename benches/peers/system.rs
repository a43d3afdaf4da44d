//! The file systems that are compared: their names, and what each can be held to.

use serde::Deserialize;
use serde::Serialize;

use crate::workload::Asks;
use crate::workload::Workload;

/// A file system under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// The disk itself.
    Plain,
    /// A FUSE file system that keeps no content: the limit.
    Null,
    /// This drive, its store in a local folder.
    Coffre,
    /// Peers, their ciphertext on the same disk.
    Gocryptfs,
    Securefs,
    Cryfs,
    Encfs,
    Rclone,
}

impl System {
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Null,
        Self::Coffre,
        Self::Gocryptfs,
        Self::Securefs,
        Self::Cryfs,
        Self::Encfs,
        Self::Rclone,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain folder",
            Self::Null => "null",
            Self::Coffre => "coffre",
            Self::Gocryptfs => "gocryptfs",
            Self::Securefs => "securefs",
            Self::Cryfs => "CryFS",
            Self::Encfs => "EncFS",
            Self::Rclone => "rclone crypt",
        }
    }

    /// Whether it is what coffre is compared with.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Plain | Self::Null | Self::Coffre)
    }

    /// Whether it gives back what was written, also after a remount.
    pub fn keeps_content(self) -> bool {
        self != Self::Null
    }

    /// Whether an fsync returns when the content is safe.
    pub fn syncs(self) -> bool {
        !matches!(self, Self::Cryfs | Self::Rclone)
    }

    /// Whether all that is on the disk is ciphertext.
    pub fn seals(self) -> bool {
        !matches!(self, Self::Plain | Self::Null | Self::Rclone)
    }

    /// Whether it does what the workload asks, so that its figure may be compared.
    pub fn does(self, workload: Workload) -> bool {
        match workload.asks() {
            Asks::Nothing => true,
            Asks::Sync => self.syncs(),
            Asks::SealedSync => self.syncs() && self.seals(),
        }
    }
}
