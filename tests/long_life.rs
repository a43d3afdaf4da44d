//! Long life, in short: a mount keeps to its bounds of memory and open files, whatever is done on it.
//!
//! `cargo xtask soak` does the same for hours; what it measured is in docs/PERFORMANCE.md.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use coffre::fs::Inode;
use coffre::fs::Make;
use coffre::fs::Owner;
use coffre_tests::World;
use coffre_tests::command::Machine;
use coffre_tests::mounted::can_mount;

const MIB: u64 = 1 << 20;
const BOUND: u64 = 128 * MIB;
/// A process may open 1024 by default.
const HANDLES_MOST: usize = 100;
const ENTRIES: u32 = 50_000;

/// The process behind a mount.
struct Daemon {
    process: PathBuf,
}

impl Daemon {
    /// What it took to unlock the vault is not counted: deriving a key needs its memory, once.
    fn watch(pid: u64) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        std::thread::sleep(Duration::from_secs(1));
        fs::write(process.join("clear_refs"), "5").unwrap();
        Self { process }
    }

    /// The most memory since then, in bytes.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(self.process.join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kibibytes: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kibibytes << 10
    }

    fn handles(&self) -> usize {
        fs::read_dir(self.process.join("fd")).unwrap().count()
    }

    fn keeps_its_bounds(&self, after: &str) {
        let (peak, handles) = (self.peak() / MIB, self.handles());
        eprintln!("{after}: {peak} MiB at most, {handles} open files");
        assert!(peak <= BOUND / MIB, "{peak} MiB after {after}");
        assert!(
            handles <= HANDLES_MOST,
            "{handles} open files after {after}"
        );
    }
}

/// Bytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = vec![0; MIB as usize];
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

#[test]
fn a_mount_keeps_to_its_bounds_of_memory_and_open_files() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let folder = machine.folder("mount");
    let told = machine.json(&["mount", &vault, &folder, "--memory", "128M"]);
    let daemon = Daemon::watch(told[0]["pid"].as_u64().unwrap());
    let mount = Path::new(&folder);

    let file = File::create(mount.join("large")).unwrap();
    for megabyte in 0..400 {
        let bytes = noise(megabyte * 7919);
        file.write_all_at(&bytes, megabyte % 250 * MIB).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    daemon.keeps_its_bounds("400 MiB written");
    let large = fs::read(mount.join("large")).unwrap();
    assert!(large[..MIB as usize] == noise(250 * 7919));
    assert!(large[249 * MIB as usize..] == noise(249 * 7919));
    drop(large);
    daemon.keeps_its_bounds("250 MiB read");

    let many = mount.join("many");
    fs::create_dir(&many).unwrap();
    let name = |entry: u32| many.join(format!("entry {entry}"));
    for entry in 0..ENTRIES {
        File::create(name(entry)).unwrap();
    }
    daemon.keeps_its_bounds("50,000 files created in one folder");
    // A little everywhere: each change lies in another node of the tree.
    machine.ok(&["sync", &folder]);
    for entry in (0..ENTRIES).step_by(50) {
        fs::set_permissions(name(entry), fs::Permissions::from_mode(0o600)).unwrap();
    }
    machine.ok(&["sync", &folder]);
    daemon.keeps_its_bounds("one in fifty changed");
    let listed = fs::read_dir(&many).unwrap().count();
    assert_eq!(listed, ENTRIES as usize);
    for entry in (0..ENTRIES).step_by(2) {
        fs::remove_file(name(entry)).unwrap();
    }
    assert_eq!(fs::read_dir(&many).unwrap().count(), ENTRIES as usize / 2);
    daemon.keeps_its_bounds("half of them removed");
    machine.ok(&["unmount", &folder]);
    machine.ok(&["check", &vault]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_long_listing_may_step_far_back() {
    let world = World::local();
    drop(world.create("a").await);
    let files = world.files("a").await;
    let owner = Owner {
        uid: 0,
        gid: 0,
        mode: 0o755,
        umask: 0,
    };
    for entry in 0..6000 {
        let name = format!("entry {entry}");
        let made = files.make(Inode::ROOT, name.as_bytes(), Make::File, owner);
        made.await.unwrap();
    }
    let handle = files.open_directory(Inode::ROOT).await.unwrap();
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let listed = files.read_directory(handle, cookie, 500, false).await;
        let listed = listed.unwrap();
        let Some(last) = listed.last() else { break };
        cookie = last.cookie;
        names.extend(listed.into_iter().map(|listed| listed.name));
    }
    assert_eq!(names.len(), 6002);
    for back in [5900, 1000, 17, 4000, 0] {
        let again = files.read_directory(handle, back as u64, 40, false).await;
        let again: Vec<_> = again
            .unwrap()
            .into_iter()
            .map(|listed| listed.name)
            .collect();
        assert_eq!(again, names[back..back + 40], "from {back}");
    }
    let behind = files.read_directory(handle, u64::MAX, 40, false).await;
    assert!(behind.unwrap().is_empty(), "nothing lies behind the end");
    files.close().await.unwrap();
}
