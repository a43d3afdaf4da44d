//! What Python cannot do itself: a vault and its open files, as plain calls that the package around them makes pleasant.
//!
//! Every call that may wait lets other Python threads run meanwhile and ends early at Ctrl-C.

mod failure;
mod file;
mod listing;
mod mount;
mod process;
mod secret;
mod stat;
mod vault;

use pyo3::pymodule;

#[pymodule]
mod _coffre {
    #[pymodule_export]
    use crate::file::OpenFile;
    #[pymodule_export]
    use crate::listing::Listing;
    #[pymodule_export]
    use crate::mount::Mount;
    #[pymodule_export]
    use crate::secret::new_key_file;
    #[pymodule_export]
    use crate::vault::OpenVault;
    #[pymodule_export]
    use crate::vault::init;
    #[pymodule_export]
    use crate::vault::open;
}
