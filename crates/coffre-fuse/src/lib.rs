//! Mounts a Coffre vault: translates FUSE requests, calls the library, replies. It decides nothing.

mod convert;
mod errno;
pub mod kernel;
mod mount;
mod point;
mod requests;

pub use kernel::AllowOther;
pub use kernel::MountOptions;
pub use kernel::Writing;
pub use mount::Mount;
pub use mount::MountError;
pub use mount::check_mount_point;
pub use point::MountPoint;
pub use point::unmount;
