//! The systemd user unit that is shipped, and the words that the process behind a mount and the manager exchange.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use coffre_tests::command::Machine;
use coffre_tests::command::binary;
use coffre_tests::daemon::Foreground;
use coffre_tests::daemon::HANGS;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::world::PASSPHRASE;
use rustix::process::Signal;

fn unit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join("contrib/systemd/coffre@.service")).unwrap()
}

/// The words of a setting, with the instance `cloud` filled in.
fn setting(name: &str, home: &str) -> Vec<String> {
    let unit = unit();
    let value = |line: &'_ str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    let line = unit.lines().find_map(value);
    let line = line.unwrap().replace("%h", home).replace("%i", "cloud");
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let runtime = tempfile::tempdir().unwrap();
    let verify = |text: &str| {
        let path = folder.path().join("coffre@cloud.service");
        fs::write(&path, text).unwrap();
        Command::new("systemd-analyze")
            .args(["verify", "--user", "--man=no"])
            .arg(&path)
            .env("XDG_RUNTIME_DIR", runtime.path())
            .output()
            .unwrap()
    };
    // The command is where users install it; here it is where it was built.
    let command = format!("ExecStart={}", binary().display());
    let text = unit().replace("ExecStart=coffre", &command);
    assert!(text.contains(&command));
    let verified = verify(&text);
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // And it would find something.
    let broken = verify(&text.replace("KillMode=mixed", "KillMode=gently"));
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(said.contains("gently"), "{said}");
}

#[test]
fn the_service_does_what_its_unit_says() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let folder = Path::new(&machine.folder("config")).join("coffre");
    fs::create_dir_all(&folder).unwrap();
    // As a profile gives it; the environment of a service has no passphrase.
    let profile = format!(
        "[profile.cloud]\nurl = \"{vault}\"\npassphrase_command = \"printf '{PASSPHRASE}'\"\n"
    );
    fs::write(folder.join("config.toml"), profile).unwrap();
    let home = machine.folder("home");
    let words = setting("ExecStartPre", &home);
    assert!(
        Command::new(&words[0])
            .args(&words[1..])
            .status()
            .unwrap()
            .success()
    );
    let manager = UnixDatagram::bind(machine.path("notify")).unwrap();
    manager.set_read_timeout(Some(HANGS)).unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let words = setting("ExecStart", &home);
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let mut command = machine.command(&arguments);
    command
        .env_remove("COFFRE_PASSPHRASE_FILE")
        .env("NOTIFY_SOCKET", machine.path("notify"));
    let mount = Foreground::start(command, format!("{home}/cloud"));
    assert!(hear().contains("READY=1"));
    fs::write(mount.path("file"), "of the service").unwrap();
    mount.signal(Signal::TERM);
    assert!(hear().contains("STOPPING=1"));
    let (status, said) = mount.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    let other = Machine::new();
    assert_eq!(other.ok(&["cat", &vault, "/file"]), "of the service");
}

#[test]
fn a_service_that_uploads_asks_for_more_time() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let manager = UnixDatagram::bind(machine.path("notify")).unwrap();
    manager.set_read_timeout(Some(HANGS)).unwrap();
    let dir = machine.folder("mount");
    let mut command =
        machine.command(&["mount", "--foreground", "--linger", "100000", &vault, &dir]);
    command.env("NOTIFY_SOCKET", machine.path("notify"));
    let mount = Foreground::start(command, dir);
    // Something keeps it from ending.
    let open = fs::File::create(mount.path("open")).unwrap();
    mount.signal(Signal::TERM);
    let mut bytes = [0; 4096];
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < HANGS, "it never asked for more time");
        let length = manager.recv(&mut bytes).unwrap();
        let told = String::from_utf8_lossy(&bytes[..length]);
        if told.contains("EXTEND_TIMEOUT_USEC=") && told.contains("bytes are left") {
            break;
        }
    }
    drop(open);
    let (status, said) = mount.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}
