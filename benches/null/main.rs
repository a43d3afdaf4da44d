//! The limit of FUSE: a file system that keeps names and lengths in memory and content nowhere, mounted as the drive is.
//! An fsync is one write of 4 KiB and one fdatasync of a file on the disk.
//!
//! `null MOUNT FILE` mounts it until it is unmounted.
#![allow(missing_docs)]

mod requests;
mod tree;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use coffre_fuse::AllowOther;
use coffre_fuse::MountOptions;
use coffre_fuse::Writing;
use coffre_fuse::kernel;

use requests::Null;
use tree::Tree;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(mount), Some(disk)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("null MOUNT FILE");
    };
    let owner = mount.metadata()?;
    let null = Null {
        tree: Tree::new(0o755),
        uid: owner.uid(),
        gid: owner.gid(),
        disk: File::create(disk)?,
    };
    let options = MountOptions {
        writing: Writing::Allowed,
        allow_other: AllowOther::No,
        threads: kernel::threads(),
    };
    let session = fuser::Session::new(null, &mount, &kernel::config("null", options))?;
    let session = session.spawn()?;
    kernel::widen_readahead(&mount);
    Ok(session.join()?)
}
