//! One runtime for each process, waiting in it, and what a forked child must not touch.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use pyo3::PyResult;
use pyo3::Python;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

use crate::failure;

/// How long Ctrl-C waits at most until a call notices.
const SLICE: Duration = Duration::from_millis(100);

/// The runtime, and the process that it belongs to. Locked by nobody who does not hold Python's own lock, which a thread that
/// forks holds: no child finds it locked.
static RUNTIME: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);

/// This process's runtime; made at its first use. It lives as long as the process, as do the vaults' background tasks.
pub(crate) fn runtime(_: Python<'_>) -> PyResult<&'static Runtime> {
    let mut made = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, runtime)) = *made
        && owner == process
    {
        return Ok(runtime);
    }
    let built = Builder::new_multi_thread()
        .enable_all()
        .thread_name("coffre")
        .build()?;
    let runtime: &'static Runtime = Box::leak(Box::new(built));
    *made = Some((process, runtime));
    Ok(runtime)
}

/// Waits for work of the library with Python's lock released. Signals are looked after: if one raises, the work is dropped,
/// which undoes it or has it done, as each method of the library says.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    work: impl Future<Output = coffre::Result<T>> + Send,
) -> PyResult<T> {
    let runtime = runtime(py)?;
    let mut work = pin!(work);
    loop {
        let slice = || runtime.block_on(async { tokio::time::timeout(SLICE, work.as_mut()).await });
        let done = py.detach(slice);
        // Also of what came at the very end: it would be raised where Python ignores it, in a finalizer.
        py.check_signals()?;
        if let Ok(done) = done {
            return done.map_err(|error| failure::raised(py, error));
        }
    }
}

/// Something that belongs to the process that made it, until it is taken. A child of that process has a copy without the
/// threads that serve it and with its locks as they happened to be: it is not to be used there, and not even to be dropped.
pub(crate) struct Owned<T> {
    value: Mutex<Option<T>>,
    process: u32,
}

impl<T: Clone> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(Some(value)),
            process: std::process::id(),
        }
    }

    /// `None` once it was taken.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<Option<T>> {
        Ok(self.slot(py)?.clone())
    }

    /// Takes it out; it is nobody's any more.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Option<T>> {
        Ok(self.slot(py)?.take())
    }

    /// Puts back what was taken.
    pub(crate) fn put_back(&self, py: Python<'_>, value: T) -> PyResult<()> {
        *self.slot(py)? = Some(value);
        Ok(())
    }

    /// Refuses in a forked child.
    fn slot(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Option<T>>> {
        if self.process == std::process::id() {
            Ok(self.value.lock().unwrap_or_else(PoisonError::into_inner))
        } else {
            Err(failure::forked(py))
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            let value = self.value.get_mut();
            std::mem::forget(value.unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
