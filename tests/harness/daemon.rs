//! The process behind a mount: started as a user starts it, looked at, sent signals, and never left behind.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::mount::UnmountFlags;
use rustix::process::Pid;
use rustix::process::Signal;

use crate::command::Machine;

/// Longer than anything here takes; only what hangs takes longer.
pub const HANGS: Duration = Duration::from_secs(90);

/// Waits until it is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < HANGS, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the kernel's table has a mount there. The mount itself is not asked.
pub fn is_mounted(dir: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(dir))
}

/// A mount in the foreground. Killed and cleared away when dropped.
pub struct Foreground {
    child: Child,
    pub dir: String,
}

impl Foreground {
    /// Starts it and waits until the folder can be used.
    pub fn mount(machine: &Machine, vault: &str, options: &[&str]) -> Self {
        let dir = machine.folder("mount");
        let arguments = [&["mount", "--foreground", vault, &dir], options].concat();
        Self::start(machine.command(&arguments), dir)
    }

    /// Starts a command that mounts at `dir`, and waits until it is.
    pub fn start(wanted: Command, dir: String) -> Self {
        // As from an interactive shell: tests may run where signals are ignored, which children inherit.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT,HUP")
            .arg(wanted.get_program())
            .args(wanted.get_args());
        for (key, value) in wanted.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(folder) = wanted.get_current_dir() {
            command.current_dir(folder);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = Self { child, dir };
        until("it is mounted", || {
            assert!(
                started.child.try_wait().unwrap().is_none(),
                "it ended: {}",
                started.words()
            );
            is_mounted(&started.dir)
        });
        started
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.dir).join(name)
    }

    /// Waits for the end, whatever it leaves behind.
    pub fn wait(&mut self) -> ExitStatus {
        until("the process behind the mount has ended", || {
            self.has_ended()
        });
        self.child.wait().unwrap()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; answers how it ended and what was said.
    #[track_caller]
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        assert!(!is_mounted(&self.dir), "a mount was left behind");
        (status, self.words())
    }

    fn words(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut words).unwrap();
        }
        words
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = rustix::mount::unmount(&*self.dir, UnmountFlags::DETACH);
    }
}

/// Clears a mount in the background away, whatever happened to the test.
pub struct Background<'a> {
    machine: &'a Machine,
    pub dir: String,
}

impl<'a> Background<'a> {
    /// Mounts.
    pub fn mount(machine: &'a Machine, vault: &str, options: &[&str]) -> Self {
        let dir = machine.folder("mount");
        let background = Self { machine, dir };
        machine.ok(&[&["mount", vault, &background.dir], options].concat());
        background
    }

    /// Of a mount that somebody else makes.
    pub fn watch(machine: &'a Machine, dir: &str) -> Self {
        Self {
            machine,
            dir: dir.to_owned(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.dir).join(name)
    }

    /// The folder of the vault's state.
    pub fn state(&self) -> PathBuf {
        let folders = fs::read_dir(self.machine.path("state")).unwrap();
        let mut folders = folders.map(|folder| folder.unwrap().path());
        folders.find(|folder| folder.is_dir()).unwrap()
    }

    /// The process behind it, as it wrote itself down.
    pub fn pid(&self) -> Option<Pid> {
        let text = fs::read(self.state().join("mount.json")).ok()?;
        let mounted: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Pid::from_raw(mounted["pid"].as_i64()? as i32)
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.state().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        if Path::new(&self.machine.path("state")).exists()
            && let Some(pid) = self.pid()
            && is_running(pid)
        {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = rustix::mount::unmount(&*self.dir, UnmountFlags::DETACH);
    }
}

/// Whether a process is there; one that has ended and was not waited for is not.
pub fn is_running(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let Ok(stat) = fs::read_to_string(path) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with('Z') && !state.starts_with('X')
}
