//! The real `coffre` command, run as a user runs it.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::sync::OnceLock;

use crate::world::PASSPHRASE;

/// The built command.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = std::env::current_exe().unwrap();
        // target/<profile>/deps/<test> → target/<profile>/coffre
        let folder = built.parent().unwrap().parent().unwrap().to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args([
            "build",
            "--quiet",
            "--package",
            "coffre-cli",
            "--bin",
            "coffre",
        ]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(
            build.current_dir(workspace).status().unwrap().success(),
            "the command does not build"
        );
        folder.join("coffre")
    })
}

/// A user's machine: a home for state and cache, and a passphrase file.
pub struct Machine {
    pub dir: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        Self { dir }
    }

    /// The command with this machine's folders.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("COFFRE_STATE_DIR", self.dir.path().join("state"))
            .env("COFFRE_CACHE_DIR", self.dir.path().join("cache"))
            .env("COFFRE_PASSPHRASE_FILE", self.dir.path().join("passphrase"))
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env_remove("COFFRE_PASSPHRASE")
            .stdin(std::process::Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs to success; answers what was printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "coffre {arguments:?}: {}\n{err}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs to this failure; answers what was said.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "coffre {arguments:?}: {err}"
        );
        err
    }

    /// Runs with `--json` to success; answers one object a line.
    pub fn json(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let printed = self.ok(&[&["--json"], arguments].concat());
        let parse = |line| serde_json::from_str(line).unwrap();
        printed.lines().map(parse).collect()
    }

    /// Makes a vault that is quick to unlock; answers its address.
    pub fn init(&self, name: &str) -> String {
        let vault = self.path(name);
        self.ok(&["init", "--no-recovery", "--kdf-memory", "64M", &vault]);
        vault
    }

    /// An empty folder.
    pub fn folder(&self, name: &str) -> String {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}
