//! A full or read-only disk under the real command: what programs, people and scripts see, and that it goes on.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use coffre_tests::command::Machine;
use coffre_tests::content::noise;
use coffre_tests::mounted::can_mount;
use coffre_tests::small_disk::SmallDisk;

const PLANTED: &str = "grandfathers-violin-4417";
/// Only so that a defect is no endless test.
const HANG: Duration = Duration::from_secs(90);

fn state_disk(machine: &Machine, bytes: u64) -> Option<SmallDisk> {
    SmallDisk::mount(Path::new(&machine.path("state")), bytes)
}

/// As a careful program writes.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn programs_see_a_full_disk_and_go_on_when_there_is_room() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let Some(disk) = state_disk(&machine, 12 << 20) else {
        return;
    };
    let vault = machine.init("vault");
    let dir = machine.folder("mount");
    machine.ok(&["mount", &vault, &dir]);
    let dir = Path::new(&dir);
    let kept = noise(300_000, 1);
    write(&dir.join("kept"), &kept).unwrap();
    assert_eq!(errno(write(&dir.join(PLANTED), &noise(40 << 20, 2))), 28);
    // What is there is there, and can be deleted; what is new is refused.
    assert!(fs::read(dir.join("kept")).unwrap() == kept);
    let begin = Instant::now();
    let refused = loop {
        let status = machine.ok(&["status", dir.to_str().unwrap()]);
        match status.contains("no change can be accepted") {
            true => break errno(write(&dir.join("more"), b"more")),
            false => assert!(begin.elapsed() < HANG, "{status}"),
        }
    };
    assert_eq!(refused, 28);
    // However often it is tried, nothing is left lying about.
    for _ in 0..20 {
        assert_eq!(errno(write(&dir.join("more"), b"more")), 28);
    }
    let state = fs::read_dir(machine.path("state")).unwrap().next();
    let state = state.unwrap().unwrap().path();
    for folder in ["journal", "open", "outbox"] {
        let count = fs::read_dir(state.join(folder)).unwrap().count();
        assert!(count <= 4, "{count} files in {folder}");
    }
    fs::remove_file(dir.join(PLANTED)).unwrap();
    // The daemon lives, although not even its log can be written.
    assert!(machine.ok(&["ls", &vault]).contains("kept"));

    disk.resize(200 << 20);
    let later = noise(20 << 20, 3);
    while let Err(error) = write(&dir.join("later"), &later) {
        assert_eq!(error.raw_os_error(), Some(28));
        assert!(begin.elapsed() < HANG, "it does not resume");
        std::thread::sleep(Duration::from_millis(200));
    }
    machine.ok(&["sync", dir.to_str().unwrap()]);
    let status = machine.ok(&["status", dir.to_str().unwrap()]);
    assert!(!status.contains("warning"), "{status}");
    let log = fs::read_to_string(state.join("daemon.log")).unwrap();
    assert!(log.contains("No space left"), "{log}");
    assert!(!log.contains(PLANTED) && !log.contains("panicked"), "{log}");
    machine.ok(&["unmount", dir.to_str().unwrap()]);
    machine.ok(&["check", "--data", &vault]);
    machine.ok(&["get", &vault, "/kept", &machine.path("got-kept")]);
    machine.ok(&["get", &vault, "/later", &machine.path("got-later")]);
    assert!(fs::read(machine.path("got-kept")).unwrap() == kept);
    assert!(fs::read(machine.path("got-later")).unwrap() == later);
}

#[test]
fn a_start_without_a_free_byte_says_what_to_do_and_reading_needs_none() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let Some(disk) = state_disk(&machine, 32 << 20) else {
        return;
    };
    let vault = machine.init("vault");
    let (dir, file) = (machine.folder("mount"), machine.path("passphrase"));
    machine.ok(&["put", &vault, &file, "/kept"]);
    disk.fill();
    for arguments in [
        vec!["mount", &vault, &dir],
        vec!["put", &vault, &file, "/more"],
    ] {
        let text = machine.fails(1, &arguments);
        assert!(
            text.contains("No space left") && text.contains("make room"),
            "{text}"
        );
        assert!(text.contains(&machine.path("state")), "{text}");
    }
    // Even of what another machine has done meanwhile, which cannot be written down here.
    let other = Machine::new();
    other.ok(&["put", &vault, &file, "/of-another"]);
    let output = machine.run(&["ls", &vault]);
    let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.contains("kept") && out.contains("of-another"),
        "{out}{err}"
    );
    assert!(err.contains("would not be noticed"), "{err}");
    let kept = machine.ok(&["cat", &vault, "/kept"]);
    assert!(kept.starts_with("correct horse"));
    let text = machine.fails(1, &["init", "--no-recovery", &machine.path("another")]);
    assert!(text.contains("No space left"), "{text}");
    disk.empty();
    // Nothing half is left behind that would be in the way now.
    machine.ok(&["mount", &vault, &dir]);
    write(&Path::new(&dir).join("more"), b"more").unwrap();
    machine.ok(&["unmount", &dir]);
    assert_eq!(machine.ok(&["cat", &vault, "/more"]), "more");
    machine.ok(&["check", "--data", &vault]);
}

#[test]
fn a_read_only_or_unusable_state_folder_is_named_and_can_be_read_from() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let Some(disk) = state_disk(&machine, 32 << 20) else {
        return;
    };
    let vault = machine.init("vault");
    let (dir, file) = (machine.folder("mount"), machine.path("passphrase"));
    machine.ok(&["put", &vault, &file, "/kept"]);
    disk.make_read_only();
    for arguments in [
        vec!["mount", &vault, &dir],
        vec!["put", &vault, &file, "/more"],
    ] {
        let text = machine.fails(1, &arguments);
        assert!(
            text.contains("Read-only file system") && text.contains("--state-dir"),
            "{text}"
        );
    }
    assert!(machine.ok(&["ls", &vault]).contains("kept"));
    assert!(
        machine
            .ok(&["cat", &vault, "/kept"])
            .starts_with("correct horse")
    );
    // No folder can be made where a file is.
    let within = format!("{file}/state");
    for verb in ["ls", "mount"] {
        let mut arguments = vec!["--state-dir", &within, verb, &vault];
        arguments.extend((verb == "mount").then_some(dir.as_str()));
        let text = machine.fails(1, &arguments);
        assert!(
            text.contains(&within) && text.contains("--state-dir"),
            "{text}"
        );
    }
}
