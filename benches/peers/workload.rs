//! What is measured: each workload by name, in the order of the table, and what it asks of a file system.

use serde::Deserialize;
use serde::Serialize;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    SequentialWrite,
    SequentialReadCold,
    SequentialReadWarm,
    Create,
    StatWarm,
    Rename,
    Unlink,
    RemoveTree,
    ListCold,
    ReadSmallCold,
    RandomReadNarrow,
    RandomReadWide,
    RandomWrite,
    Fsync,
    FsyncSustained,
    FsyncStall,
    SqliteWal,
    SqliteWalSustained,
    SqliteWalStall,
    SqliteRollback,
    SqliteRollbackSustained,
    SqliteRollbackStall,
    Untar,
    GrepCold,
    GitClone,
    GitStatusWarm,
    GitStatusCold,
    CargoBuild,
}

/// Workloads that share what they work on, and can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    Big,
    Small,
    Random,
    Sync,
    Sqlite,
    Tree,
    Git,
    Cargo,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// More is better.
    Rate(&'static str),
    /// The longest that one operation took, in milliseconds: less is better.
    Stall,
}

/// What a system has to do for its figure to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    /// An fsync returns when the content is safe.
    Sync,
    /// That, and what is on the disk is ciphertext.
    SealedSync,
}

impl Workload {
    pub const ALL: [Self; 28] = [
        Self::SequentialWrite,
        Self::SequentialReadCold,
        Self::SequentialReadWarm,
        Self::Create,
        Self::StatWarm,
        Self::Rename,
        Self::Unlink,
        Self::RemoveTree,
        Self::ListCold,
        Self::ReadSmallCold,
        Self::RandomReadNarrow,
        Self::RandomReadWide,
        Self::RandomWrite,
        Self::Fsync,
        Self::FsyncSustained,
        Self::FsyncStall,
        Self::SqliteWal,
        Self::SqliteWalSustained,
        Self::SqliteWalStall,
        Self::SqliteRollback,
        Self::SqliteRollbackSustained,
        Self::SqliteRollbackStall,
        Self::Untar,
        Self::GrepCold,
        Self::GitClone,
        Self::GitStatusWarm,
        Self::GitStatusCold,
        Self::CargoBuild,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SequentialWrite => "sequential write with fsync",
            Self::SequentialReadCold => "sequential read cold",
            Self::SequentialReadWarm => "sequential read warm",
            Self::Create => "create files of 4 KiB",
            Self::StatWarm => "stat warm",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::RemoveTree => "rm -r of a tree",
            Self::ListCold => "ls -lR cold",
            Self::ReadSmallCold => "read small files cold",
            Self::RandomReadNarrow => "random read of 4 KiB cold, small file",
            Self::RandomReadWide => "random read of 4 KiB cold, large file",
            Self::RandomWrite => "random write of 4 KiB",
            Self::Fsync => "fsync of 4 KiB",
            Self::FsyncSustained => "fsync of 4 KiB, sustained",
            Self::FsyncStall => "fsync of 4 KiB, longest of them",
            Self::SqliteWal => "SQLite, WAL",
            Self::SqliteWalSustained => "SQLite, WAL, sustained",
            Self::SqliteWalStall => "SQLite, WAL, longest of them",
            Self::SqliteRollback => "SQLite, rollback journal",
            Self::SqliteRollbackSustained => "SQLite, rollback journal, sustained",
            Self::SqliteRollbackStall => "SQLite, rollback journal, longest of them",
            Self::Untar => "untar",
            Self::GrepCold => "grep -r cold",
            Self::GitClone => "git clone",
            Self::GitStatusWarm => "git status warm",
            Self::GitStatusCold => "git status cold",
            Self::CargoBuild => "cargo build",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Self::SequentialWrite | Self::SequentialReadCold | Self::SequentialReadWarm => {
                Unit::Rate("MB/s")
            }
            Self::FsyncStall | Self::SqliteWalStall | Self::SqliteRollbackStall => Unit::Stall,
            Self::SqliteWal
            | Self::SqliteWalSustained
            | Self::SqliteRollback
            | Self::SqliteRollbackSustained => Unit::Rate("transactions/s"),
            Self::RemoveTree | Self::ListCold | Self::Untar => Unit::Rate("entries/s"),
            Self::GrepCold | Self::GitClone | Self::GitStatusWarm | Self::GitStatusCold => {
                Unit::Rate("files/s")
            }
            Self::CargoBuild => Unit::Rate("modules/s"),
            _ => Unit::Rate("/s"),
        }
    }

    pub fn asks(self) -> Asks {
        match self {
            Self::SequentialWrite => Asks::SealedSync,
            Self::RandomWrite
            | Self::Fsync
            | Self::FsyncSustained
            | Self::FsyncStall
            | Self::SqliteWal
            | Self::SqliteWalSustained
            | Self::SqliteWalStall
            | Self::SqliteRollback
            | Self::SqliteRollbackSustained
            | Self::SqliteRollbackStall => Asks::Sync,
            _ => Asks::Nothing,
        }
    }
}

impl Group {
    pub const ALL: [Self; 8] = [
        Self::Big,
        Self::Small,
        Self::Random,
        Self::Sync,
        Self::Sqlite,
        Self::Tree,
        Self::Git,
        Self::Cargo,
    ];
}
