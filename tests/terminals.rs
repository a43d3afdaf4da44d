//! A real terminal around the command: what it shows while it waits, and what is left when the terminal is closed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use coffre_tests::command::Machine;
use coffre_tests::daemon::Background;
use coffre_tests::daemon::HANGS;
use coffre_tests::daemon::is_mounted;
use coffre_tests::daemon::is_running;
use coffre_tests::daemon::until;
use coffre_tests::gate::Gate;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::s3::S3;
use rustix::process::Signal;

/// A shell on a terminal of its own; closed when dropped, as by its window.
struct Terminal(Child);

impl Terminal {
    fn run(machine: &Machine, line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-qfec", line, "/dev/null"]);
        for (key, value) in machine.command(&[]).get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let child = command
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Reads what is shown until these words are.
    fn shows(&mut self, words: &str) -> String {
        let shown = self.0.stdout.as_mut().unwrap();
        let mut text = String::new();
        let mut bytes = [0; 4096];
        while !text.contains(words) {
            let length = shown.read(&mut bytes).unwrap();
            assert!(length > 0, "{words:?} is not in: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        text
    }

    fn close(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn coffre() -> String {
    coffre_tests::command::binary().display().to_string()
}

fn can_run() -> bool {
    can_mount() && has("script")
}

#[test]
fn a_mount_in_the_foreground_ends_with_its_terminal() {
    if !can_run() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let dir = machine.folder("mount");
    let line = format!("exec {} -vv mount --foreground {vault} {dir}", coffre());
    let terminal = Terminal::run(&machine, &line);
    let mount = Background::watch(&machine, &dir);
    until("it is mounted", || is_mounted(&dir));
    fs::write(mount.path("file"), "written before the window was closed").unwrap();
    let pid = mount.pid().unwrap();
    terminal.close();
    until("the process has ended", || !is_running(pid));
    assert!(!is_mounted(&dir));
    let other = Machine::new();
    let text = other.ok(&["cat", &vault, "/file"]);
    assert_eq!(text, "written before the window was closed");
}

#[test]
fn a_mount_in_the_background_does_not_notice_its_terminal() {
    if !can_run() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let dir = machine.folder("mount");
    let mut terminal = Terminal::run(
        &machine,
        &format!("{} mount {vault} {dir} && sleep 1000", coffre()),
    );
    let mount = Background::watch(&machine, &dir);
    terminal.shows("mounted at");
    let pid = mount.pid().unwrap();
    terminal.close();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    fs::write(mount.path("file"), "written after").unwrap();
    machine.ok(&["sync", &dir]);
    assert!(is_running(pid));
    machine.ok(&["unmount", &dir]);
    assert_eq!(machine.ok(&["cat", &vault, "/file"]), "written after");
}

/// A mount with something to upload, behind a line that is held.
fn held(machine: &Machine) -> (Background<'_>, S3, Gate) {
    let s3 = S3::in_process();
    let profile = s3.profile("work", "vault");
    let (_, rest) = profile.split_once("127.0.0.1:").unwrap();
    let port: u16 = rest.split('"').next().unwrap().parse().unwrap();
    let gate = Gate::before(port);
    let folder = Path::new(&machine.folder("config")).join("coffre");
    fs::create_dir_all(&folder).unwrap();
    let profile = profile.replace(&port.to_string(), &gate.port().to_string());
    fs::write(folder.join("config.toml"), profile).unwrap();
    machine.ok(&["init", "--no-recovery", "--kdf-memory", "64M", "work"]);
    let mount = Background::mount(machine, "work", &[]);
    gate.hold();
    fs::write(mount.path("file"), vec![7; 400_000]).unwrap();
    (mount, s3, gate)
}

#[test]
fn unmount_shows_what_it_waits_for() {
    if !can_run() {
        return;
    }
    let machine = Machine::new();
    let (mount, _s3, gate) = held(&machine);
    let mut terminal = Terminal::run(&machine, &format!("{} unmount {}", coffre(), mount.dir));
    terminal.shows("uploading");
    gate.release();
    terminal.shows("everything is in the store");
    until("it is unmounted", || !is_mounted(&mount.dir));
}

#[test]
fn unmount_tells_scripts_what_it_waits_for_line_by_line() {
    if !can_run() {
        return;
    }
    let machine = Machine::new();
    let (mount, _s3, gate) = held(&machine);
    let mut waiting = machine
        .command(&["--json", "unmount", &mount.dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| told.send(line))
    });
    let parse = |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap();
    let first = parse(heard.recv_timeout(HANGS).expect("nothing is told"));
    assert!(first["waiting_bytes"].as_u64().unwrap() > 0, "{first}");
    gate.release();
    let last = parse(heard.iter().last().unwrap());
    assert_eq!(last["unmounted"], mount.dir);
    assert_eq!(last["left_bytes"], 0);
    assert!(waiting.wait().unwrap().success());
}
