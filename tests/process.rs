//! The process behind a mount is asked to end, stopped, or pushed aside: what was written arrives, and nothing hangs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use coffre_tests::command::Machine;
use coffre_tests::command::binary;
use coffre_tests::content::noise;
use coffre_tests::daemon::Background;
use coffre_tests::daemon::Foreground;
use coffre_tests::daemon::is_mounted;
use coffre_tests::daemon::is_running;
use coffre_tests::daemon::until;
use coffre_tests::gate::Gate;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::programs::run;
use coffre_tests::s3::S3;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;
use rustix::process::Signal;

/// What another machine finds in the store.
#[track_caller]
fn elsewhere(vault: &str, path: &str) -> Vec<u8> {
    let other = Machine::new();
    let output = other.run(&["cat", vault, path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path}: {said}");
    output.stdout
}

/// A machine with a vault called `work` in a store behind a line that can be held.
fn behind_a_line() -> (Machine, S3, Gate) {
    let machine = Machine::new();
    let s3 = S3::in_process();
    let profile = s3.profile("work", "vault");
    let (_, rest) = profile.split_once("127.0.0.1:").unwrap();
    let port: u16 = rest.split('"').next().unwrap().parse().unwrap();
    let gate = Gate::before(port);
    let profile = profile.replace(&port.to_string(), &gate.port().to_string());
    let folder = Path::new(&machine.folder("config")).join("coffre");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), profile).unwrap();
    machine.ok(&["init", "--no-recovery", "--kdf-memory", "64M", "work"]);
    (machine, s3, gate)
}

#[test]
fn each_signal_ends_a_mount_with_everything_uploaded() {
    if !can_mount() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let machine = Machine::new();
        let vault = machine.init("vault");
        let mount = Foreground::mount(&machine, &vault, &[]);
        fs::write(mount.path("file"), noise(700_000, 1)).unwrap();
        mount.signal(signal);
        let (status, said) = mount.ended();
        assert_eq!(status.code(), Some(0), "{signal:?}: {said}");
        assert!(elsewhere(&vault, "/file") == noise(700_000, 1));
    }
}

#[test]
fn what_cannot_be_uploaded_in_time_is_told_and_waits_for_the_next_mount() {
    if !can_mount() {
        return;
    }
    let (machine, _s3, gate) = behind_a_line();
    let mount = Foreground::mount(&machine, "work", &["--linger", "1"]);
    gate.hold();
    fs::write(mount.path("late"), noise(400_000, 2)).unwrap();
    mount.signal(Signal::TERM);
    let (status, said) = mount.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    for word in ["time for it is over", "KiB are not uploaded", "journal"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    gate.release();
    let again = Background::mount(&machine, "work", &[]);
    assert!(fs::read(again.path("late")).unwrap() == noise(400_000, 2));
    machine.ok(&["unmount", &again.dir]);
    fs::remove_dir_all(machine.path("state")).unwrap();
    let there = machine.run(&["cat", "work", "/late"]).stdout;
    assert!(there == noise(400_000, 2), "the store has all of it");
}

#[test]
fn a_second_ctrl_c_ends_at_once_with_everything_in_the_journal() {
    if !can_mount() {
        return;
    }
    let (machine, _s3, gate) = behind_a_line();
    let mut mount = Foreground::mount(&machine, "work", &["--linger", "100000"]);
    gate.hold();
    fs::write(mount.path("late"), noise(400_000, 3)).unwrap();
    mount.signal(Signal::INT);
    until("it is unmounted", || !is_mounted(&mount.dir));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!mount.has_ended(), "it did not try to upload");
    mount.signal(Signal::INT);
    let (status, said) = mount.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("asked for twice"), "{said}");
    gate.release();
    assert!(machine.run(&["cat", "work", "/late"]).stdout == noise(400_000, 3));
}

#[test]
fn a_mount_in_use_ends_all_the_same() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let mount = Foreground::mount(&machine, &vault, &["--linger", "2"]);
    fs::create_dir(mount.path("folder")).unwrap();
    fs::write(mount.path("folder/file"), "written").unwrap();
    let mut resident = Command::new("sleep")
        .arg("1000")
        .current_dir(mount.path("folder"))
        .spawn()
        .unwrap();
    mount.signal(Signal::TERM);
    let (status, said) = mount.ended();
    resident.kill().unwrap();
    resident.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("in use"), "{said}");
    assert_eq!(elsewhere(&vault, "/folder/file"), b"written");
}

#[test]
fn a_file_that_is_open_at_the_signal_is_written_to_its_end() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let mut mount = Foreground::mount(&machine, &vault, &["--linger", "100000"]);
    let mut file = fs::File::create(mount.path("film")).unwrap();
    let content = noise(3_000_000, 4);
    let (before, after) = content.split_at(1_000_000);
    file.write_all(before).unwrap();
    mount.signal(Signal::TERM);
    until("it is unmounted", || !is_mounted(&mount.dir));
    file.write_all(after).unwrap();
    file.sync_all().unwrap();
    assert!(!mount.has_ended(), "it left a program alone");
    drop(file);
    let (status, said) = mount.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(elsewhere(&vault, "/film") == content);
}

#[test]
fn a_lazy_unmount_serves_open_files_until_they_are_closed() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let mount = Background::mount(&machine, &vault, &[]);
    let pid = mount.pid().unwrap();
    let file = fs::File::create(mount.path("film")).unwrap();
    file.write_all_at(&noise(500_000, 5), 0).unwrap();
    rustix::mount::unmount(&*mount.dir, UnmountFlags::DETACH).unwrap();
    // Whoever mounts something there next is not disturbed by the end of the first.
    rustix::mount::mount("none", &*mount.dir, "tmpfs", MountFlags::empty(), None).unwrap();
    let text = machine.fails(9, &["unmount", &mount.dir]);
    assert!(text.contains("still have files"), "{text}");
    file.write_all_at(&noise(500_000, 6), 500_000).unwrap();
    file.sync_all().unwrap();
    assert!(is_running(pid));
    drop(file);
    until("the process behind the mount has ended", || {
        !is_running(pid)
    });
    assert!(is_mounted(&mount.dir), "it unmounted somebody else's mount");
    rustix::mount::unmount(&*mount.dir, UnmountFlags::empty()).unwrap();
    let film = elsewhere(&vault, "/film");
    assert!(film == [noise(500_000, 5), noise(500_000, 6)].concat());
}

#[test]
fn a_mount_that_is_unmounted_by_hand_uploads_everything() {
    if !can_mount() {
        return;
    }
    for (program, arguments) in [("fusermount3", &["-u"][..]), ("umount", &[])] {
        let machine = Machine::new();
        let vault = machine.init("vault");
        let mount = Background::mount(&machine, &vault, &[]);
        let pid = mount.pid().unwrap();
        fs::write(mount.path("file"), noise(300_000, 7)).unwrap();
        let done = Command::new(program)
            .args(arguments)
            .arg(&mount.dir)
            .output();
        let Ok(done) = done else {
            eprintln!("skipped: {program} is not installed");
            continue;
        };
        assert!(done.status.success(), "{program}: {done:?}");
        until("the process behind the mount has ended", || {
            !is_running(pid)
        });
        assert!(elsewhere(&vault, "/file") == noise(300_000, 7));
    }
}

#[test]
fn a_suspended_process_goes_on_where_it_was() {
    if !can_mount() {
        return;
    }
    let (machine, _s3, _gate) = behind_a_line();
    let mount = Foreground::mount(&machine, "work", &[]);
    let folder = mount.dir.clone();
    let writer = std::thread::spawn(move || {
        for index in 0..120_u8 {
            let mut file = fs::File::create(format!("{folder}/{index}")).unwrap();
            file.write_all(&noise(60_000, index)).unwrap();
            if index % 10 == 0 {
                file.sync_all().unwrap();
            }
        }
    });
    // While operations, journal and uploads are under way.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        mount.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(700));
        mount.signal(Signal::CONT);
    }
    writer.join().unwrap();
    mount.signal(Signal::TERM);
    let (status, said) = mount.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    fs::remove_dir_all(machine.path("state")).unwrap();
    let back = machine.folder("back");
    machine.ok(&["get", "work", "/", &back]);
    let root = Path::new(&back);
    let found = |name: &str| {
        let nested = fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
        let beside = root.join(name);
        fs::read(if beside.exists() {
            beside
        } else {
            nested.join(name)
        })
        .unwrap()
    };
    for index in 0..120 {
        assert!(found(&index.to_string()) == noise(60_000, index), "{index}");
    }
}

#[test]
fn a_command_that_dies_while_it_mounts_leaves_no_dead_mount() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.path("vault");
    // A derivation of the passphrase that takes long enough to be interrupted.
    machine.ok(&["init", "--no-recovery", "--kdf-memory", "512M", &vault]);
    let dir = machine.folder("mount");
    let mut starting = machine.command(&["mount", &vault, &dir]).spawn().unwrap();
    let daemon = child_of(starting.id());
    // Its secrets are with the other process by now, or that one ends for want of them.
    std::thread::sleep(Duration::from_millis(100));
    starting.kill().unwrap();
    starting.wait().unwrap();
    until("the process behind has ended", || !is_running(daemon));
    assert!(!is_mounted(&dir), "a dead mount was left behind");
    let mount = Background::mount(&machine, &vault, &[]);
    machine.ok(&["unmount", &mount.dir]);
}

/// The process that another one has started, of the same program.
fn child_of(parent: u32) -> rustix::process::Pid {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let begin = Instant::now();
    loop {
        // Whichever thread has started it.
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
        let children = tasks.flat_map(|task| {
            let path = task.unwrap().path().join("children");
            let text = fs::read_to_string(path).unwrap_or_default();
            let pids: Vec<i32> = text.split_whitespace().flat_map(str::parse).collect();
            pids
        });
        for pid in children {
            let program = fs::read_link(format!("/proc/{pid}/exe"));
            if program.is_ok_and(|program| program == binary()) {
                return rustix::process::Pid::from_raw(pid).unwrap();
            }
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "no child: {path}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Through fusermount3, and though the process is closed to everybody else.
#[test]
fn an_ordinary_user_s_mount_in_use_ends_all_the_same() {
    if !can_mount() || !has("fusermount3") || !has("setpriv") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: every test here runs as an ordinary user already");
        return;
    }
    // As distributions ship it.
    fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
    let machine = Machine::new();
    let coffre = machine.path("coffre");
    fs::copy(binary(), &coffre).unwrap();
    let (vault, dir) = (machine.path("vault"), machine.folder("mount"));
    run(machine.dir.path(), "chown", &["-R", "65534:65534", "."]);
    fs::set_permissions(machine.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |program: &str, arguments: &[&str]| {
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups", program];
        let mut command = Command::new("setpriv");
        command.args(user).args(arguments);
        let own = machine.command(&[]);
        command.envs(
            own.get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        command
    };
    let setup = ["init", "--no-recovery", "--kdf-memory", "64M", &vault];
    assert!(as_nobody(&coffre, &setup).status().unwrap().success());
    let mounting = ["mount", "--foreground", "--linger", "1", &vault, &dir];
    let mount = Foreground::start(as_nobody(&coffre, &mounting), dir.clone());
    let line = format!("cd {dir} && echo mine > file && echo there && exec sleep 1000");
    let mut resident = as_nobody("sh", &["-c", &line])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut there = [0; 6];
    resident
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut there)
        .unwrap();
    mount.signal(Signal::TERM);
    let (status, said) = mount.ended();
    resident.kill().unwrap();
    resident.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("in use"), "{said}");
    assert_eq!(elsewhere(&vault, "/file"), b"mine\n");
}
