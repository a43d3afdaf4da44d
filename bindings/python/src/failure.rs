//! Errors of the library as Python's exceptions, which `coffre._errors` makes: it knows the classes and the numbers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use coffre::Error;
use pyo3::PyErr;
use pyo3::PyResult;
use pyo3::Python;
use pyo3::types::PyAnyMethods;
use pyo3::types::PyBytes;

/// The exception for an error.
pub(crate) fn raised(py: Python<'_>, error: Error) -> PyErr {
    let (kind, number) = kind(&error);
    let path = match &error {
        Error::At { path, .. } => Some(path.as_os_str()),
        Error::Missing { path, .. }
        | Error::Truncated { path, .. }
        | Error::Forged { path, .. } => path.as_deref().map(OsStr::new),
        _ => None,
    };
    let message = match &error {
        // Python adds the path.
        Error::At { refusal, .. } => refusal.to_string(),
        other => other.to_string(),
    };
    made(py, &kind, number, &message, path)
}

/// A vault or file that is used after it was closed.
pub(crate) fn closed(py: Python<'_>, what: &str) -> PyErr {
    made(py, "Closed", None, &format!("the {what} is closed"), None)
}

/// A vault or file that is used in a child of the process that opened it.
pub(crate) fn forked(py: Python<'_>) -> PyErr {
    let message = "it was opened before this process was forked; open it again in this one";
    made(py, "Forked", None, message, None)
}

/// A file that other threads use.
pub(crate) fn in_use(py: Python<'_>) -> PyErr {
    let message = "another thread is reading or writing this file; close it after that";
    made(py, "Busy", None, message, None)
}

/// Something that is not as the call wants it.
pub(crate) fn usage(py: Python<'_>, message: &str) -> PyErr {
    made(py, "Usage", None, message, None)
}

/// A mount that failed.
pub(crate) fn mount(py: Python<'_>, error: &coffre_fuse::MountError) -> PyErr {
    made(py, "Mount", None, &error.to_string(), None)
}

/// The name under which the exception is chosen, and the system's number where the system said it.
fn kind(error: &Error) -> (String, Option<i32>) {
    let name = match error {
        Error::Refused(refusal) | Error::At { refusal, .. } => {
            return (format!("{refusal:?}"), None);
        }
        Error::Io { source, .. }
        | Error::DiskRefuses { source, .. }
        | Error::StateFolder { source, .. } => {
            return ("Io".to_owned(), source.raw_os_error());
        }
        Error::Unreachable { .. } => "Unreachable",
        Error::Denied { .. } => "Denied",
        Error::Full { .. } => "Full",
        Error::Missing { .. } | Error::Truncated { .. } | Error::Forged { .. } => "Tampered",
        Error::Rollback { .. } => "Rollback",
        Error::WrongVault { .. } => "WrongVault",
        Error::WrongSecret => "WrongSecret",
        Error::Secret(_) | Error::Usage(_) => "Usage",
        Error::NoVault { .. } => "NoVault",
        Error::NotEmpty { .. } => "VaultNotEmpty",
        Error::Unsupported(_) => "Newer",
        Error::Busy { .. } => "Busy",
        Error::Diverged(_) | Error::DeviceCloned { .. } => "Diverged",
        Error::Damaged { .. } => "Damaged",
        _ => "Other",
    };
    (name.to_owned(), None)
}

fn made(
    py: Python<'_>,
    kind: &str,
    number: Option<i32>,
    message: &str,
    path: Option<&OsStr>,
) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let path = path.map(|path| PyBytes::new(py, path.as_bytes()));
        let errors = py.import("coffre._errors")?;
        let made = errors.call_method1("made", (kind, number, message, path))?;
        Ok(PyErr::from_value(made))
    };
    make().unwrap_or_else(|error| error)
}
