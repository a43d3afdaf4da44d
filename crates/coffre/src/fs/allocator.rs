//! Inode numbers: under this session's prefix, in runs for each directory.
//!
//! Children of one directory get neighbouring numbers even while other directories grow, so that one
//! listing's inodes lie in one stretch of the tree.

use std::collections::HashMap;

use coffre_format::id::Inode;
use coffre_format::id::SessionPrefix;

use crate::error::Refusal;

/// First run of a directory, in inodes; each further run is twice as long.
const RUN_FIRST: u32 = 64;
/// The longest run.
const RUN_MOST: u32 = 64 * 1024;
/// Directories whose runs are remembered; beyond that all are forgotten (what is left of them stays unused).
const DIRECTORIES_MOST: usize = 10_000;

struct Run {
    next: u32,
    end: u32,
    length: u32,
}

/// Hands out inode numbers.
pub(crate) struct Allocator {
    prefix: SessionPrefix,
    next: u32,
    runs: HashMap<Inode, Run>,
}

impl Allocator {
    pub(crate) fn new(prefix: SessionPrefix) -> Self {
        Self {
            prefix,
            next: 0,
            runs: HashMap::new(),
        }
    }

    /// A number for a new child of `directory`.
    pub(crate) fn allocate(&mut self, directory: Inode) -> Result<Inode, Refusal> {
        if self.runs.len() >= DIRECTORIES_MOST && !self.runs.contains_key(&directory) {
            self.runs.clear();
        }
        let run = self.runs.entry(directory).or_insert(Run {
            next: 0,
            end: 0,
            length: RUN_FIRST / 2,
        });
        if run.next == run.end {
            run.length = (run.length * 2).min(RUN_MOST);
            let end = self.next.checked_add(run.length).ok_or(Refusal::NoSpace)?;
            (run.next, run.end) = (self.next, end);
            self.next = end;
        }
        let counter = run.next;
        run.next += 1;
        Ok(Inode::of_session(self.prefix, counter))
    }

    /// Whether a number was handed out, so that the prefix must be recorded.
    pub(crate) fn used(&self) -> bool {
        self.next > 0
    }

    pub(crate) fn prefix(&self) -> SessionPrefix {
        self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_one_directory_are_neighbours_and_no_number_is_given_twice() {
        let mut allocator = Allocator::new(SessionPrefix(7));
        let mut given = std::collections::HashSet::new();
        let mut first = Vec::new();
        for round in 0..1_000 {
            for directory in 1..20 {
                let inode = allocator
                    .allocate(Inode(directory))
                    .expect("there are numbers left");
                assert!(given.insert(inode), "{inode} was given twice");
                if directory == 1 && round < 64 {
                    first.push(inode.0);
                }
            }
        }
        assert!(
            first.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{first:?}"
        );
    }
}
