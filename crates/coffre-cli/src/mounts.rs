//! Which vaults are mounted where: each mounted vault's state folder says so in `mount.json`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use coffre::Error;
use serde::Deserialize;
use serde::Serialize;

/// A mount, as its daemon wrote it down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mounted {
    /// As the user wrote it.
    pub vault: String,
    /// Where it is mounted.
    pub dir: PathBuf,
    /// The vault's state folder.
    pub state: PathBuf,
    /// The daemon.
    pub pid: u32,
    /// Whether it may be changed.
    pub read_only: bool,
}

impl Mounted {
    /// Writes it down, whole or not at all.
    pub fn save(&self) -> anyhow::Result<()> {
        let path = place(&self.state);
        let temporary = path.with_extension("json.new");
        let text = serde_json::to_vec(self)?;
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|error| {
                drop(fs::remove_file(&temporary));
                Error::io("write", &path, error)
                    .at_the_start(&self.state)
                    .into()
            })
    }
}

/// Forgets the mount of a state folder.
pub fn forget(state: &Path) {
    let _ = fs::remove_file(place(state));
}

/// The mount of a state folder, as written down (its daemon may be gone).
pub fn of_state(state: &Path) -> Option<Mounted> {
    let text = fs::read(place(state)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// All mounts under a root of state folders.
pub fn all(root: &Path) -> Vec<Mounted> {
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    folders
        .filter_map(|folder| of_state(&folder.path()))
        .collect()
}

/// The mount at a folder.
pub fn at(root: &Path, dir: &Path) -> Option<Mounted> {
    let dir = canonical(dir);
    all(root).into_iter().find(|mounted| mounted.dir == dir)
}

/// Without symlinks, as far as the path can be looked at (a dead mount cannot).
pub fn canonical(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    // Only the parent is asked: the folder itself may be a mount whose daemon is gone.
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => parent.join(name),
            Err(_) => absolute,
        },
        _ => absolute,
    }
}

/// Whether something is mounted there, as far as it can be looked at.
pub fn is_mounted(dir: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|metadata| metadata.dev());
    match (device(dir), dir.parent().map(device)) {
        (Ok(own), Some(Ok(above))) => own != above,
        _ => true,
    }
}

fn place(state: &Path) -> PathBuf {
    state.join("mount.json")
}
