//! Making and opening vaults, and what is done with the files in one.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use coffre::Error;
use coffre::Filesystem;
use coffre::KdfParams;
use coffre::Location;
use coffre::OpenOptions;
use coffre::Refusal;
use coffre::Secret;
use coffre::SetAttributes;
use coffre::SetTime;
use coffre::Vault;
use coffre_fuse::Writing;
use pyo3::Bound;
use pyo3::Py;
use pyo3::PyAny;
use pyo3::PyResult;
use pyo3::Python;
use pyo3::pybacked::PyBackedBytes;
use pyo3::pyclass;
use pyo3::pyfunction;
use pyo3::pymethods;
use pyo3::types::PyBytes;
use pyo3::types::PyDict;
use pyo3::types::PyDictMethods;

use crate::failure;
use crate::file;
use crate::file::OpenFile;
use crate::file::Opened;
use crate::listing::Listing;
use crate::mount::Mount;
use crate::process::Owned;
use crate::process::wait;
use crate::secret::Presented;
use crate::stat::Stat;
use crate::stat::stat;
use crate::stat::timestamp;

/// Where a vault is, as the caller says it.
fn location(
    py: Python<'_>,
    url: &str,
    options: &HashMap<String, String>,
    state_dir: Option<PathBuf>,
) -> PyResult<Location> {
    let parsed = Vault::at(url).map_err(|error| failure::raised(py, error))?;
    let mut location = options
        .iter()
        .fold(parsed, |location, (key, value)| location.option(key, value));
    if let Some(folder) = state_dir {
        location = location.state_dir(folder);
    }
    Ok(location)
}

/// Makes a vault that the passphrase, the key file, or both together open. Answers its recovery code, which opens it too.
#[pyfunction]
#[pyo3(signature = (url, passphrase, key_file, *, options, state_dir, weak, light_kdf))]
#[allow(clippy::too_many_arguments)] // they have names in Python
pub(crate) fn init(
    py: Python<'_>,
    url: &str,
    passphrase: Option<&Bound<'_, PyAny>>,
    key_file: Option<&Bound<'_, PyAny>>,
    options: HashMap<String, String>,
    state_dir: Option<PathBuf>,
    weak: bool,
    light_kdf: bool,
) -> PyResult<String> {
    let presented = Presented::read(passphrase, key_file)?;
    if let Some(Ok(text)) = presented.passphrase().map(std::str::from_utf8)
        && let Some(why) = coffre::weakness(text)
        && !weak
    {
        return Err(failure::usage(py, &why));
    }
    let mut location = location(py, url, &options, state_dir)?;
    if light_kdf {
        location = location.kdf(KdfParams::FLOOR);
    }
    let mut secrets = vec![presented.for_a_new_vault(py)?];
    let recovery = coffre::RecoveryCode::generate();
    let recovery = recovery.map_err(|error| failure::raised(py, Error::Secret(error)))?;
    let code = recovery.to_text();
    secrets.push(Secret::Recovery(recovery));
    wait(py, async {
        // It is of no more use here, and the next who wants the vault would have to wait for it.
        location.create(secrets).await.map(drop)
    })?;
    Ok(code.as_str().to_owned())
}

/// Unlocks a vault and opens its files.
#[pyfunction]
#[pyo3(signature = (url, passphrase, key_file, *, options, state_dir, cache_dir, read_only, memory, cache))]
#[allow(clippy::too_many_arguments)] // they have names in Python
pub(crate) fn open(
    py: Python<'_>,
    url: &str,
    passphrase: Option<&Bound<'_, PyAny>>,
    key_file: Option<&Bound<'_, PyAny>>,
    options: HashMap<String, String>,
    state_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    read_only: bool,
    memory: Option<u64>,
    cache: Option<u64>,
) -> PyResult<OpenVault> {
    let candidates = Presented::read(passphrase, key_file)?.candidates(py)?;
    let mut location = location(py, url, &options, state_dir)?;
    if read_only {
        location = location.read_only();
    }
    let files = wait(py, async {
        let vault = unlock(&location, &candidates).await?;
        let mut options = vault.options()?;
        options.cache_dir = cache_dir.unwrap_or(options.cache_dir);
        options.memory = memory.unwrap_or(options.memory);
        options.cache = cache.unwrap_or(options.cache);
        vault.files_with(options).await
    })?;
    Ok(OpenVault {
        files: Owned::new(files),
        read_only,
    })
}

/// With the first secret that fits.
async fn unlock(location: &Location, candidates: &[Secret]) -> coffre::Result<Vault> {
    let mut last = Error::WrongSecret;
    for secret in candidates {
        match location.open(secret).await {
            Err(error @ Error::WrongSecret) => last = error,
            opened => return opened,
        }
    }
    Err(last)
}

/// An open vault. Paths are bytes.
#[pyclass(frozen, module = "coffre._coffre")]
pub(crate) struct OpenVault {
    files: Owned<Filesystem>,
    read_only: bool,
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

impl OpenVault {
    fn files(&self, py: Python<'_>) -> PyResult<Filesystem> {
        let files = self.files.get(py)?;
        files.ok_or_else(|| failure::closed(py, "vault"))
    }
}

#[pymethods]
impl OpenVault {
    /// Whether it takes no changes.
    #[getter]
    fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether it was closed.
    fn is_closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.files.get(py)?.is_none())
    }

    /// The bytes of a file from `start` up to `end`, as far as there are any.
    fn read<'py>(
        &self,
        py: Python<'py>,
        name: PyBackedBytes,
        start: u64,
        end: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let files = self.files(py)?;
        let file = wait(py, files.open(path(&name)))?;
        file::read(py, &file, start, end)
    }

    /// Makes a file with this content, or replaces all of one.
    fn write(&self, py: Python<'_>, name: PyBackedBytes, content: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        // Lent, not copied: nothing of it is kept once it is sealed.
        wait(py, files.write(path(&name), Bytes::from_owner(content)))
    }

    /// Opens a file where it is.
    #[pyo3(signature = (name, *, write, create))]
    fn open(
        &self,
        py: Python<'_>,
        name: PyBackedBytes,
        write: bool,
        create: bool,
    ) -> PyResult<OpenFile> {
        let files = self.files(py)?;
        let mut options = OpenOptions::new();
        options.read(true).write(write).create(create);
        let opened = wait(py, files.open_with(path(&name), &options))?;
        Ok(OpenFile::new(Opened::InPlace(opened)))
    }

    /// Begins what takes the place of a file when it is committed.
    fn replace(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<OpenFile> {
        let files = self.files(py)?;
        let begun = wait(py, files.replace(path(&name)))?;
        Ok(OpenFile::new(Opened::Replacing(begun)))
    }

    /// What is in a folder.
    fn list(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<Listing> {
        let files = self.files(py)?;
        Ok(Listing::new(wait(py, files.list(path(&name)))?))
    }

    /// Everything below a folder, each folder before what is in it.
    fn walk(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<Listing> {
        let files = self.files(py)?;
        Ok(Listing::new(wait(py, files.walk(path(&name)))?))
    }

    /// What is known of a file or folder, or of a symbolic link itself.
    fn stat(&self, py: Python<'_>, name: PyBackedBytes, follow: bool) -> PyResult<Stat> {
        let files = self.files(py)?;
        let found = wait(py, async {
            match follow {
                true => files.metadata(path(&name)).await,
                false => files.symlink_metadata(path(&name)).await,
            }
        })?;
        Ok(stat(&found))
    }

    /// Makes a folder.
    fn mkdir(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.create_dir(path(&name)))
    }

    /// Makes a folder and those above it, as far as they are not there.
    fn makedirs(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.create_dir_all(path(&name)))
    }

    /// Makes a symbolic link.
    fn symlink(&self, py: Python<'_>, target: PyBackedBytes, name: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.symlink(path(&target), path(&name)))
    }

    /// Where a symbolic link leads.
    fn readlink<'py>(&self, py: Python<'py>, name: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let files = self.files(py)?;
        let target = wait(py, files.read_link(path(&name)))?;
        Ok(PyBytes::new(py, target.as_os_str().as_bytes()))
    }

    /// Gives a file or folder another name; replaces what has it.
    fn rename(&self, py: Python<'_>, source: PyBackedBytes, target: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.rename(path(&source), path(&target)))
    }

    /// A copy of a file that shares its content.
    fn copy(&self, py: Python<'_>, source: PyBackedBytes, target: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.copy(path(&source), path(&target)))
    }

    /// Removes a file or a symbolic link.
    fn remove(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<()> {
        self.remove_a(py, &name, What::File)
    }

    /// Removes an empty folder.
    fn rmdir(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<()> {
        self.remove_a(py, &name, What::Folder)
    }

    /// Removes a file, or a folder with everything below.
    fn remove_all(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.remove_all(path(&name)))
    }

    /// Changes permission bits, owner, group and times (nanoseconds since 1970), as far as they are given.
    #[pyo3(signature = (name, *, mode=None, uid=None, gid=None, times=None, size=None))]
    #[allow(clippy::too_many_arguments)] // they have names in Python
    fn set(
        &self,
        py: Python<'_>,
        name: PyBackedBytes,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        times: Option<(i128, i128)>,
        size: Option<u64>,
    ) -> PyResult<()> {
        let files = self.files(py)?;
        let mut set = SetAttributes {
            mode,
            uid,
            gid,
            size,
            ..SetAttributes::default()
        };
        if let Some((atime, mtime)) = times {
            let (Some(atime), Some(mtime)) = (timestamp(atime), timestamp(mtime)) else {
                return Err(failure::raised(py, Refusal::Invalid.into()));
            };
            set.atime = Some(SetTime::At(atime));
            set.mtime = Some(SetTime::At(mtime));
        }
        wait(py, files.set_metadata(path(&name), set)).map(drop)
    }

    /// Sets when it was read and changed last to now.
    fn touch(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<()> {
        let files = self.files(py)?;
        let set = SetAttributes {
            atime: Some(SetTime::Now),
            mtime: Some(SetTime::Now),
            ..SetAttributes::default()
        };
        wait(py, files.set_metadata(path(&name), set)).map(drop)
    }

    /// The value of an extended attribute.
    fn getxattr<'py>(
        &self,
        py: Python<'py>,
        name: PyBackedBytes,
        attribute: PyBackedBytes,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let files = self.files(py)?;
        let value = wait(py, files.xattr(path(&name), OsStr::from_bytes(&attribute)))?;
        Ok(PyBytes::new(py, &value))
    }

    /// Sets an extended attribute.
    fn setxattr(
        &self,
        py: Python<'_>,
        name: PyBackedBytes,
        attribute: PyBackedBytes,
        value: PyBackedBytes,
    ) -> PyResult<()> {
        let files = self.files(py)?;
        let attribute = OsStr::from_bytes(&attribute);
        wait(py, files.set_xattr(path(&name), attribute, &value))
    }

    /// The names of all extended attributes.
    fn listxattr(&self, py: Python<'_>, name: PyBackedBytes) -> PyResult<Vec<Py<PyBytes>>> {
        let files = self.files(py)?;
        let names = wait(py, files.xattrs(path(&name)))?;
        let shown = names.iter().map(|name| PyBytes::new(py, name.as_bytes()));
        Ok(shown.map(Bound::unbind).collect())
    }

    /// Removes an extended attribute.
    fn removexattr(
        &self,
        py: Python<'_>,
        name: PyBackedBytes,
        attribute: PyBackedBytes,
    ) -> PyResult<()> {
        let files = self.files(py)?;
        let attribute = OsStr::from_bytes(&attribute);
        wait(py, files.remove_xattr(path(&name), attribute))
    }

    /// Waits until everything done so far survives a power cut.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.sync())
    }

    /// Uploads now, and waits until the store has everything done so far.
    fn publish(&self, py: Python<'_>) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, files.publish())
    }

    /// What is not in the store yet, and what keeps it.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let files = self.files(py)?;
        let status = py.detach(|| files.status());
        let shown = PyDict::new(py);
        shown.set_item("unpublished_bytes", status.unpublished_bytes)?;
        shown.set_item("unpublished_operations", status.unpublished_operations)?;
        shown.set_item("unpublished_seconds", status.unpublished_seconds)?;
        shown.set_item("queue", status.queue)?;
        shown.set_item("speed", status.speed)?;
        shown.set_item("last_commit", status.last_commit)?;
        shown.set_item("last_commit_time", status.last_commit_time)?;
        shown.set_item("cache_bytes", status.cache_bytes)?;
        shown.set_item("used_bytes", status.used_bytes)?;
        shown.set_item("local_bytes", status.local_bytes)?;
        shown.set_item("local_limit", status.local_limit)?;
        shown.set_item("last_error", status.last_error)?;
        shown.set_item("away_seconds", status.away_seconds)?;
        shown.set_item("away_error", status.away_error)?;
        shown.set_item("advice", status.advice)?;
        shown.set_item("diverged", status.diverged)?;
        shown.set_item("warnings", status.warnings)?;
        Ok(shown)
    }

    /// Mounts it on an empty folder of this machine.
    fn mount(&self, py: Python<'_>, folder: PathBuf, allow_other: bool) -> PyResult<Mount> {
        let files = self.files(py)?;
        let writing = match self.read_only {
            true => Writing::Refused,
            false => Writing::Allowed,
        };
        Mount::start(py, &files, folder, writing, allow_other)
    }

    /// Publishes everything and closes it. Where that fails it stays open.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(files) = self.files.get(py)? else {
            return Ok(());
        };
        wait(py, files.close())?;
        self.files.take(py).map(drop)
    }

    /// Closes it; what is not published yet is kept on this machine for the next time.
    fn close_now(&self, py: Python<'_>) -> PyResult<()> {
        let Some(files) = self.files.take(py)? else {
            return Ok(());
        };
        wait(py, async { files.volume().close_now().await.map(drop) })
    }
}

/// What a name is to be of, if it is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Folder,
}

impl OpenVault {
    fn remove_a(&self, py: Python<'_>, name: &[u8], what: What) -> PyResult<()> {
        let files = self.files(py)?;
        wait(py, async {
            let found = files.symlink_metadata(path(name)).await?;
            match (found.is_dir(), what) {
                (true, What::File) => Err(Error::from(Refusal::IsDirectory).at(path(name))),
                (false, What::Folder) => Err(Error::from(Refusal::NotDirectory).at(path(name))),
                _ => files.remove(path(name)).await,
            }
        })
    }
}
