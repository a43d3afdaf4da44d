//! Mounts a Coffre vault: translates FUSE requests, calls the library, replies. It decides nothing.

mod convert;
mod errno;
mod mount;
mod point;
mod requests;

pub use mount::AllowOther;
pub use mount::Mount;
pub use mount::MountError;
pub use mount::MountOptions;
pub use mount::Writing;
pub use mount::check_mount_point;
pub use point::MountPoint;
pub use point::unmount;
