//! A folder that is being listed, or all below it, batch by batch.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use coffre::Entries;
use pyo3::Py;
use pyo3::PyResult;
use pyo3::Python;
use pyo3::pyclass;
use pyo3::pymethods;
use pyo3::types::PyBytes;
use tokio::sync::Mutex;

use crate::process::Owned;
use crate::process::wait;
use crate::stat::Stat;
use crate::stat::stat;

/// Entries that one call answers at most.
const BATCH: usize = 1024;

/// An iterator over batches of `(path, stat)`.
#[pyclass(frozen, module = "coffre._coffre")]
pub(crate) struct Listing(Owned<Arc<Mutex<Entries>>>);

impl Listing {
    pub(crate) fn new(entries: Entries) -> Self {
        Self(Owned::new(Arc::new(Mutex::new(entries))))
    }
}

#[pymethods]
impl Listing {
    /// The next entries; none at the end.
    fn batch(&self, py: Python<'_>) -> PyResult<Vec<(Py<PyBytes>, Stat)>> {
        let Some(entries) = self.0.get(py)? else {
            return Ok(Vec::new());
        };
        let found = wait(py, async {
            let mut entries = entries.lock().await;
            let mut found = Vec::new();
            while found.len() < BATCH {
                match entries.next().await? {
                    Some(entry) => found.push(entry),
                    None => break,
                }
            }
            Ok(found)
        })?;
        let shown = found.iter().map(|entry| {
            let path = PyBytes::new(py, entry.path.as_os_str().as_bytes());
            (path.unbind(), stat(&entry.metadata))
        });
        Ok(shown.collect())
    }

    /// Ends it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.take(py).map(drop)
    }
}
