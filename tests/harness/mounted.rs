//! A vault mounted in this process.

use std::path::Path;
use std::path::PathBuf;

use coffre::fs::Volume;
use coffre_fuse::AllowOther;
use coffre_fuse::Mount;
use coffre_fuse::MountOptions;
use coffre_fuse::Writing;
use tokio::runtime::Runtime;

use crate::World;

/// A mounted vault; unmounted and published when it is closed.
pub struct Mounted {
    pub runtime: Runtime,
    pub files: Volume,
    mount: Option<Mount>,
    path: PathBuf,
}

/// Whether this machine can mount at all; says why not.
pub fn can_mount() -> bool {
    let can = Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("skipped: there is no /dev/fuse on this machine");
    }
    can
}

impl Mounted {
    /// Mounts the vault of a world on a machine, creating the vault if there is none.
    pub fn new(world: &World, machine: &str) -> Self {
        Self::start(world, machine, AllowOther::No)
    }

    /// The same for all users, as far as modes allow.
    pub fn for_all(world: &World, machine: &str) -> Self {
        // The way there is for them, too.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(world.dir.path(), open).unwrap();
        Self::start(world, machine, AllowOther::Yes)
    }

    fn start(world: &World, machine: &str, allow_other: AllowOther) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let files = runtime.block_on(async {
            if world
                .store()
                .list(coffre::store::Prefix::Slots)
                .await
                .unwrap()
                .objects
                .is_empty()
            {
                drop(world.create(machine).await);
            }
            world.files(machine).await
        });
        let path = world.dir.path().join(format!("mount-{machine}"));
        std::fs::create_dir_all(&path).unwrap();
        let options = MountOptions {
            writing: Writing::Allowed,
            allow_other,
            threads: 4,
        };
        let mount = Mount::start(files.clone(), &path, options, runtime.handle().clone()).unwrap();
        Self {
            runtime,
            files,
            mount: Some(mount),
            path,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts and publishes everything.
    pub fn close(mut self) {
        self.unmount();
        self.runtime.block_on(self.files.close()).unwrap();
    }

    fn unmount(&mut self) {
        if let Some(mount) = self.mount.take() {
            coffre_fuse::unmount(&self.path).unwrap();
            mount.wait().unwrap();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mount) = self.mount.take() {
            let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
            let _ = mount.wait();
        }
    }
}
