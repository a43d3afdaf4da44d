//! How much is done in each workload.

use std::time::Duration;

use crate::rest::Rest;

pub struct Sizes {
    /// Length of the big file, in MiB.
    pub big: u64,
    /// Lengths of the files for random access, in MiB.
    pub narrow: u64,
    pub wide: u64,
    /// Small files of 4 KiB.
    pub small: usize,
    /// Folders of the tree, each with ten in it, each of which has ten files.
    pub folders: usize,
    /// Operations of each random or syncing workload.
    pub operations: usize,
    /// How long a sustained workload goes on.
    pub sustained: Duration,
    /// Before each workload.
    pub rest: Rest,
}

impl Sizes {
    pub const FULL: Self = Self {
        big: 1024,
        narrow: 64,
        wide: 4096,
        small: 5000,
        folders: 20,
        operations: 2000,
        sustained: Duration::from_secs(60),
        rest: Rest {
            least: Duration::from_secs(2),
            most: Duration::from_secs(60),
        },
    };
    pub const QUICK: Self = Self {
        big: 128,
        narrow: 16,
        wide: 256,
        small: 500,
        folders: 2,
        operations: 200,
        sustained: Duration::from_secs(3),
        rest: Rest {
            least: Duration::from_millis(200),
            most: Duration::from_secs(5),
        },
    };
}
