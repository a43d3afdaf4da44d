//! A mounted vault: a folder that every program of this machine sees.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use coffre::Filesystem;
use coffre_fuse::AllowOther;
use coffre_fuse::MountOptions;
use coffre_fuse::Writing;
use pyo3::PyResult;
use pyo3::Python;
use pyo3::pyclass;
use pyo3::pymethods;

use crate::failure;
use crate::process::Owned;
use crate::process::runtime;

type Mounted = Arc<Mutex<Option<coffre_fuse::Mount>>>;

/// A mount, until it is unmounted.
#[pyclass(frozen, module = "coffre._coffre")]
pub(crate) struct Mount(Owned<Mounted>);

impl Mount {
    pub(crate) fn start(
        py: Python<'_>,
        files: &Filesystem,
        path: PathBuf,
        writing: Writing,
        allow_other: bool,
    ) -> PyResult<Self> {
        let options = MountOptions {
            writing,
            allow_other: match allow_other {
                true => AllowOther::Yes,
                false => AllowOther::No,
            },
            threads: coffre_fuse::kernel::threads(),
        };
        let (volume, handle) = (files.volume().clone(), runtime(py)?.handle().clone());
        let started =
            py.detach(move || coffre_fuse::Mount::start(volume, Path::new(&path), options, handle));
        let mount = started.map_err(|error| failure::mount(py, &error))?;
        Ok(Self(Owned::new(Arc::new(Mutex::new(Some(mount))))))
    }
}

#[pymethods]
impl Mount {
    /// Unmounts it, if nothing uses it, and waits until it is. What programs wrote is in the vault then.
    fn unmount(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mounted) = self.0.get(py)? else {
            return Ok(());
        };
        let ended = py.detach(|| {
            let mut mounted = mounted.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mount) = mounted.take() else {
                return Ok(());
            };
            match mount.point().unmount() {
                // Unmounted from elsewhere, which is as well.
                Ok(()) | Err(coffre_fuse::MountError::Detached(_)) => mount.wait(),
                Err(error) => {
                    *mounted = Some(mount);
                    Err(error)
                }
            }
        });
        ended.map_err(|error| failure::mount(py, &error))?;
        self.0.take(py).map(drop)
    }
}
