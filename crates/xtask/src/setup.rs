//! What the tests need beside Rust: installed where that is possible, named where it is not.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Result;

use crate::run::has;
use crate::run::run;

/// Programs that tests run on the mount, and the Debian packages they come in.
const PROGRAMS: [(&str, &str); 12] = [
    ("fusermount3", "fuse3"),
    ("git", "git"),
    ("sqlite3", "sqlite3"),
    ("rsync", "rsync"),
    ("setfattr", "attr"),
    ("setfacl", "acl"),
    ("fio", "fio"),
    ("systemd-analyze", "systemd"),
    ("gcore", "gdb"),
    ("script", "bsdutils"),
    ("cadaver", "cadaver"),
    ("litmus", "litmus"),
];
/// What the reference reader is written with.
const PYTHON: [&str; 4] = ["cryptography", "argon2-cffi", "blake3", "zstandard"];

/// Installs missing programs as root on Debian; elsewhere says what is missing.
pub fn programs() {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    println!("set-up: {} missing", missing.join(", "));
    let install = || -> Result<()> {
        run(Command::new("apt-get").arg("update").stdout(Stdio::null()))?;
        run(Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()))
    };
    if let Err(error) = install() {
        println!(
            "set-up: cannot install them ({error:#}); tests that need them say that they are skipped"
        );
    }
}

/// Suites that judge file systems; not dependencies of anything.
pub const SUITES: [&str; 2] = ["fsx", "pjdfstest"];
/// Users that pjdfstest acts as, beside `nobody`.
const USERS: [&str; 2] = ["tests", "pjdfstest"];

/// Installs a suite into the folder of the build.
pub fn suite(target: &Path, name: &str) -> Result<()> {
    let root = target.join("tools");
    if root.join("bin").join(name).exists() {
        return Ok(());
    }
    println!("set-up: building {name}");
    run(Command::new("cargo")
        // What they spend their time in is the system.
        .args(["install", "--debug", "--quiet", name, "--root"])
        .arg(root)
        // Where its own build is cleared away, and not kept beside ours.
        .env_remove("CARGO_TARGET_DIR"))
}

/// All suites and the users that they need; says what cannot be had.
pub fn suites(target: &Path) {
    for name in SUITES {
        if let Err(error) = suite(target, name) {
            println!("set-up: no {name} ({error:#}); its test says that it is skipped");
        }
    }
    for user in USERS {
        let mut id = Command::new("id");
        let known = id.arg(user).stdout(Stdio::null()).stderr(Stdio::null());
        let known = known.status().is_ok_and(|status| status.success());
        let add = || run(Command::new("useradd").args(["--no-create-home", user]));
        if !known && let Err(error) = add() {
            println!("set-up: no user {user} ({error:#}); pjdfstest will miss it");
        }
    }
}

/// What the package's tests need.
const REQUIREMENTS: &str = "bindings/python/tests/requirements.txt";

/// A Python with the packages of the reference reader and of the tests of the bindings, if one can be had.
pub fn python(target: &Path) -> Option<PathBuf> {
    let folder = target.join("venv");
    let python = folder.join("bin/python3");
    let ready = folder.join("ready");
    let build = || -> Result<()> {
        let wanted = std::fs::read_to_string(REQUIREMENTS)?;
        if std::fs::read_to_string(&ready).is_ok_and(|known| known == wanted) {
            return Ok(());
        }
        println!("set-up: packages for Python");
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(PYTHON)
            .args(["--requirement", REQUIREMENTS]))?;
        Ok(std::fs::write(&ready, wanted)?)
    };
    match build() {
        Ok(()) => Some(python),
        Err(error) => {
            println!(
                "set-up: no Python with packages ({error:#}); tests of the reference reader and of the Python \
                 package are skipped"
            );
            None
        }
    }
}
