//! Secrets from Python: copied into memory that is wiped, and told apart.

use coffre::Error;
use coffre::FormatError;
use coffre::KeyFile;
use coffre::Passphrase;
use coffre::Secret;
use pyo3::Bound;
use pyo3::PyAny;
use pyo3::PyResult;
use pyo3::Python;
use pyo3::exceptions::PyTypeError;
use pyo3::pyfunction;
use pyo3::types::PyAnyMethods;
use pyo3::types::PyByteArray;
use pyo3::types::PyByteArrayMethods;
use pyo3::types::PyBytes;
use pyo3::types::PyBytesMethods;
use pyo3::types::PyString;
use pyo3::types::PyStringMethods;
use pyo3::types::PyTypeMethods;
use zeroize::Zeroizing;

use crate::failure;

/// What a caller presented. Which of them the vault knows is found out by trying.
pub(crate) struct Presented {
    passphrase: Option<Zeroizing<Vec<u8>>>,
    key_file: Option<Zeroizing<Vec<u8>>>,
}

impl Presented {
    pub(crate) fn read(
        passphrase: Option<&Bound<'_, PyAny>>,
        key_file: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self {
            passphrase: passphrase.map(bytes).transpose()?,
            key_file: key_file.map(bytes).transpose()?,
        })
    }

    pub(crate) fn passphrase(&self) -> Option<&[u8]> {
        self.passphrase.as_deref().map(Vec::as_slice)
    }

    /// What is to open a new vault.
    pub(crate) fn for_a_new_vault(&self, py: Python<'_>) -> PyResult<Secret> {
        let made = match (&self.passphrase, &self.key_file) {
            (Some(text), Some(file)) => both(text, file),
            (Some(text), None) => Secret::passphrase(text),
            (None, Some(file)) => Secret::key_file(file),
            (None, None) => {
                return Err(failure::usage(
                    py,
                    "a vault needs a passphrase or a key file",
                ));
            }
        };
        made.map_err(|error| failure::raised(py, Error::Secret(error)))
    }

    /// What this may be, in the order in which it is worth a try.
    pub(crate) fn candidates(&self, py: Python<'_>) -> PyResult<Vec<Secret>> {
        let key_file = self.key_file.as_deref().map(Vec::as_slice);
        let candidates = Secret::candidates(self.passphrase(), key_file);
        candidates.map_err(|error| failure::raised(py, Error::Secret(error)))
    }
}

/// The text of a new key file, where it can be wiped.
#[pyfunction]
pub(crate) fn new_key_file(py: Python<'_>) -> PyResult<Bound<'_, PyByteArray>> {
    let text = KeyFile::generate();
    let text = text.map_err(|error| failure::raised(py, Error::Secret(error)))?;
    Ok(PyByteArray::new(py, text.as_bytes()))
}

fn both(text: &[u8], file: &[u8]) -> Result<Secret, FormatError> {
    let (passphrase, file) = (Passphrase::new(text)?, KeyFile::new(file)?);
    Ok(Secret::PassphraseAndKeyFile(passphrase, file))
}

fn bytes(value: &Bound<'_, PyAny>) -> PyResult<Zeroizing<Vec<u8>>> {
    if let Ok(value) = value.cast::<PyByteArray>() {
        return Ok(Zeroizing::new(value.to_vec()));
    }
    if let Ok(value) = value.cast::<PyBytes>() {
        return Ok(Zeroizing::new(value.as_bytes().to_vec()));
    }
    if let Ok(value) = value.cast::<PyString>() {
        return Ok(Zeroizing::new(value.to_cow()?.as_bytes().to_vec()));
    }
    let found = value.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "a secret is str, bytes or bytearray, not {found}"
    )))
}
