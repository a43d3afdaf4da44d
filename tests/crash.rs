//! `kill -9` at any moment: what was fsynced is there, the rest is a prefix, and nobody has to repair anything.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coffre_tests::command::Machine;
use coffre_tests::mounted::can_mount;

const ROUNDS: usize = 10;

/// Content of file `index` of a round: some inline, some in the journal, some in whole blocks.
fn content(round: usize, index: usize) -> Vec<u8> {
    let length = [17, 3_000, 70_000, 131_072, 400_000][index % 5];
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(format!("{round} {index}").as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Makes files one after the other until the file system is gone; every third is fsynced.
fn write_until_killed(
    folder: &Path,
    round: usize,
    made: &AtomicUsize,
    synced: &AtomicUsize,
    stop: &AtomicBool,
) {
    for index in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let attempt = || -> std::io::Result<()> {
            let mut file = File::create(folder.join(format!("{index:06}")))?;
            file.write_all(&content(round, index))?;
            if index % 3 == 0 {
                file.sync_all()?;
                synced.store(index + 1, Ordering::SeqCst);
            }
            Ok(())
        };
        if attempt().is_err() {
            return;
        }
        made.store(index + 1, Ordering::SeqCst);
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn ten_kills_during_writes_lose_nothing_that_was_fsynced() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let (store, mount) = (machine.path("store"), machine.path("mount"));
    fs::create_dir(&mount).unwrap();
    machine.ok(&["init", "--kdf-memory", "64M", &store]);
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut daemon = machine
            .command(&["mount", "--foreground", &store, &mount])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let guard = Unmount(Path::new(&mount));
        let folder = Path::new(&mount).join(format!("round {round}"));
        for _ in 0..3000 {
            if machine_is_mounted(&mount) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(machine_is_mounted(&mount), "round {round}: not mounted");
        fs::create_dir(&folder).unwrap();
        verify_rounds(&mount, round);
        let (made, synced, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let writer = {
            let (folder, made, synced, stop) =
                (folder.clone(), made.clone(), synced.clone(), stop.clone());
            std::thread::spawn(move || write_until_killed(&folder, round, &made, &synced, &stop))
        };
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        std::thread::sleep(Duration::from_millis(
            150 + u64::from(u16::from_le_bytes(random)) % 1500,
        ));
        let promised = synced.load(Ordering::SeqCst);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        stop.store(true, Ordering::Relaxed);
        drop(guard);
        writer.join().unwrap();
        assert!(
            made.load(Ordering::SeqCst) > 0,
            "round {round}: nothing was written before the kill"
        );
        fs::write(
            machine.dir.path().join(format!("promised {round}")),
            promised.to_string(),
        )
        .unwrap();
        total += promised;
    }
    assert!(total > 0, "nothing was ever fsynced");
    let listed = machine.ok(&["ls", &store, "/"]);
    assert_eq!(listed.lines().count(), ROUNDS);
    machine.ok(&["check", "--data", &store]);
    // And once more through a mount, for the last round.
    machine.ok(&["mount", &store, &mount]);
    let _guard = Unmount(Path::new(&mount));
    verify_all(&machine, &mount);
    machine.ok(&["unmount", &mount]);
    machine.ok(&["check", "--data", &store]);
}

fn machine_is_mounted(mount: &str) -> bool {
    fs::read_to_string("/proc/mounts")
        .unwrap()
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(mount))
}

/// Folders of earlier rounds are still there.
fn verify_rounds(mount: &str, rounds: usize) {
    for round in 0..rounds {
        assert!(
            Path::new(mount).join(format!("round {round}")).exists(),
            "round {round} is gone"
        );
    }
}

fn verify_all(machine: &Machine, mount: &str) {
    for round in 0..ROUNDS {
        let promised =
            fs::read_to_string(machine.dir.path().join(format!("promised {round}"))).unwrap();
        let promised: usize = promised.parse().unwrap();
        let folder = Path::new(mount).join(format!("round {round}"));
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert!(
            names.len() >= promised,
            "round {round}: {} files, {promised} were fsynced",
            names.len()
        );
        for (index, name) in names.iter().enumerate() {
            assert_eq!(
                name.to_str(),
                Some(format!("{index:06}").as_str()),
                "round {round} has a gap"
            );
            let found = fs::read(folder.join(name)).unwrap();
            let expected = content(round, index);
            if index < promised && index % 3 == 0 {
                assert!(
                    found == expected,
                    "round {round}: fsynced file {index} differs"
                );
            } else {
                // The kernel had not handed over all pages of what was never fsynced: a prefix, or zeros for them.
                assert!(
                    found.len() <= expected.len(),
                    "round {round}: file {index} is longer than it was"
                );
            }
        }
    }
}
