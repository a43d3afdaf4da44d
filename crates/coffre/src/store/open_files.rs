//! Open files of packs: the ones used last, never more than a few.
//!
//! A folder may hold many thousands of packs, and a process may open a thousand files.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use coffre_format::id::PackName;

/// Files that stay open.
const OPEN_MOST: usize = 32;

/// The files used last, newest first.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<VecDeque<(PackName, Arc<File>)>>);

impl OpenFiles {
    /// The file of a pack, from before or by `open`.
    pub(super) fn get(
        &self,
        name: PackName,
        open: impl FnOnce() -> std::io::Result<File>,
    ) -> std::io::Result<Arc<File>> {
        if let Some(file) = self.take_up(name) {
            return Ok(file);
        }
        let file = Arc::new(open()?);
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.push_front((name, file.clone()));
        files.truncate(OPEN_MOST);
        Ok(file)
    }

    /// Closes the file of a pack that is no longer here.
    pub(super) fn close(&self, name: PackName) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(known, _)| *known != name);
    }

    fn take_up(&self, name: PackName) -> Option<Arc<File>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = files.iter().position(|(known, _)| *known == name)?;
        let found = files.remove(index)?;
        let file = found.1.clone();
        files.push_front(found);
        Some(file)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn few_files_stay_open_and_the_used_ones_do() {
        let open_files = OpenFiles::default();
        let name = |index: usize| PackName([index as u8; 16]);
        let open = || File::open("/dev/null");
        let first = open_files.get(name(0), open).unwrap();
        let others: Vec<_> = (1..OPEN_MOST * 3)
            .map(|index| {
                assert!(Arc::ptr_eq(
                    &open_files.get(name(0), || panic!("it is open")).unwrap(),
                    &first
                ));
                Arc::downgrade(&open_files.get(name(index), open).unwrap())
            })
            .collect();
        let open_now = others.iter().filter(|file| file.strong_count() > 0).count();
        assert_eq!(open_now, OPEN_MOST - 1);
        open_files.close(name(0));
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
