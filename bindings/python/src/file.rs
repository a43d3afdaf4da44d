//! An open file: one that is read or changed where it is, or one that takes another's place when it is committed.

use std::sync::Arc;

use bytes::Bytes;
use coffre::File;
use coffre::Replacement;
use pyo3::Bound;
use pyo3::PyErr;
use pyo3::PyResult;
use pyo3::Python;
use pyo3::pybacked::PyBackedBytes;
use pyo3::pyclass;
use pyo3::pymethods;
use pyo3::types::PyAnyMethods;
use pyo3::types::PyBytes;

use crate::failure;
use crate::process::Owned;
use crate::process::wait;
use crate::stat::Stat;
use crate::stat::stat;

/// What one step of a long read or write moves, in bytes. Python's bytes are copied step by step, so that a vault does not
/// hold on to all of a long one until it has sealed its last part.
const STEP: usize = 1024 * 1024;

pub(crate) enum Opened {
    InPlace(File),
    Replacing(Replacement),
}

impl Opened {
    fn file(&self) -> &File {
        match self {
            Self::InPlace(file) => file,
            Self::Replacing(replacement) => replacement.file(),
        }
    }
}

/// An open file. Positions and lengths are in bytes.
#[pyclass(frozen, module = "coffre._coffre")]
pub(crate) struct OpenFile(Owned<Arc<Opened>>);

impl OpenFile {
    pub(crate) fn new(opened: Opened) -> Self {
        Self(Owned::new(Arc::new(opened)))
    }

    fn opened(&self, py: Python<'_>) -> PyResult<Arc<Opened>> {
        self.0.get(py)?.ok_or_else(|| failure::closed(py, "file"))
    }
}

#[pymethods]
impl OpenFile {
    /// The bytes from `start` up to `end`, as far as there are any.
    fn read_at<'py>(&self, py: Python<'py>, start: u64, end: u64) -> PyResult<Bound<'py, PyBytes>> {
        let opened = self.opened(py)?;
        read(py, opened.file(), start, end)
    }

    /// Writes all of it at `offset`. Answers how much was written, which is less where a later part failed.
    fn write_at(&self, py: Python<'_>, offset: u64, content: PyBackedBytes) -> PyResult<usize> {
        let opened = self.opened(py)?;
        let mut written = 0;
        let done = wait(py, write(opened.file(), offset, &content, &mut written));
        settled(done, written)
    }

    /// The same at the end of the file, wherever that is.
    fn append(&self, py: Python<'_>, content: PyBackedBytes) -> PyResult<usize> {
        let opened = self.opened(py)?;
        let mut written = 0;
        let done = wait(py, async {
            let end = opened.file().metadata().await?.size;
            write(opened.file(), end, &content, &mut written).await
        });
        settled(done, written)
    }

    /// Cuts it to this length, or extends it with zeros.
    fn truncate(&self, py: Python<'_>, size: u64) -> PyResult<()> {
        let opened = self.opened(py)?;
        wait(py, opened.file().set_len(size))
    }

    /// What is known of it.
    fn stat(&self, py: Python<'_>) -> PyResult<Stat> {
        let opened = self.opened(py)?;
        Ok(stat(&wait(py, opened.file().metadata())?))
    }

    /// Puts a replacement in its place; `new` refuses if something has the name. The file is closed then, also where it failed.
    fn commit(&self, py: Python<'_>, new: bool) -> PyResult<()> {
        let opened = self.0.take(py)?;
        let opened = opened.ok_or_else(|| failure::closed(py, "file"))?;
        match Arc::try_unwrap(opened) {
            Ok(Opened::Replacing(replacement)) if new => {
                wait(py, replacement.commit_new()).map(drop)
            }
            Ok(Opened::Replacing(replacement)) => wait(py, replacement.commit()).map(drop),
            Ok(Opened::InPlace(_)) => Ok(()),
            Err(shared) => {
                self.0.put_back(py, shared)?;
                Err(failure::in_use(py))
            }
        }
    }

    /// Closes it; a replacement that was not committed is gone.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.take(py).map(drop)
    }
}

/// What a file holds in a range, read into Python's memory directly.
pub(crate) fn read<'py>(
    py: Python<'py>,
    file: &File,
    start: u64,
    end: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut end = end.max(start);
    if end - start > STEP as u64 {
        end = end.min(wait(py, file.metadata())?.size).max(start);
    }
    let length = usize::try_from(end - start)?;
    if length <= STEP {
        let bytes = wait(py, file.read_at(start..end))?;
        return Ok(PyBytes::new(py, &bytes));
    }
    let (bytes, filled) = fill(py, length, |into| wait(py, file.read_into(start, into)))?;
    if filled == length {
        return Ok(bytes);
    }
    // Somebody cut the file meanwhile.
    use pyo3::types::PyBytesMethods;
    let there = bytes.as_bytes().get(..filled).unwrap_or_default();
    Ok(PyBytes::new(py, there))
}

/// New bytes for Python, and how many of them were filled. `PyBytes::new_with` writes zeros first, and by that touches all of
/// the memory once more; what Python's own `bytes(length)` takes from the system is zero without that.
#[allow(unsafe_code)]
fn fill<'py>(
    py: Python<'py>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> PyResult<usize>,
) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    let bytes = py.get_type::<PyBytes>().call1((length,))?;
    let bytes = bytes.cast_into_exact::<PyBytes>()?;
    // SAFETY: the object has `length` bytes, all initialized, and nobody but this function knows it before it returns; Python
    // shares no object among calls for bytes longer than one.
    let into = unsafe {
        let begin = pyo3::ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
        std::slice::from_raw_parts_mut(begin, length)
    };
    let filled = fill(into)?;
    Ok((bytes, filled))
}

/// Writes step by step, and counts what is done.
async fn write(
    file: &File,
    offset: u64,
    content: &[u8],
    written: &mut usize,
) -> coffre::Result<()> {
    for part in content.chunks(STEP) {
        let at = offset + *written as u64;
        file.write_at(at, Bytes::copy_from_slice(part)).await?;
        *written += part.len();
    }
    Ok(())
}

/// A write that failed after some of it was done tells of what was done; the next one will fail at once. One that a signal cut
/// off raises whatever the signal's handler raised.
fn settled(done: PyResult<()>, written: usize) -> PyResult<usize> {
    let failed = |error: &PyErr| {
        Python::attach(|py| error.is_instance_of::<pyo3::exceptions::PyOSError>(py))
    };
    match done {
        Err(error) if written > 0 && failed(&error) => Ok(written),
        done => done.map(|()| written),
    }
}
