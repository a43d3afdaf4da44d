//! What the tests need beside Rust: installed where that is possible, named where it is not.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Result;

use crate::run::has;
use crate::run::run;

/// Programs that tests run on the mount, and the Debian packages they come in.
const PROGRAMS: [(&str, &str); 8] = [
    ("fusermount3", "fuse3"),
    ("git", "git"),
    ("sqlite3", "sqlite3"),
    ("rsync", "rsync"),
    ("setfattr", "attr"),
    ("systemd-analyze", "systemd"),
    ("gcore", "gdb"),
    ("script", "bsdutils"),
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

/// A Python with the packages of the reference reader, if one can be had.
pub fn python(target: &Path) -> Option<PathBuf> {
    let folder = target.join("reader-venv");
    let python = folder.join("bin/python3");
    let ready = folder.join("ready");
    if ready.exists() {
        return Some(python);
    }
    let build = || -> Result<()> {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(PYTHON))?;
        Ok(std::fs::write(&ready, "")?)
    };
    match build() {
        Ok(()) => Some(python),
        Err(error) => {
            println!(
                "set-up: no Python for the reference reader ({error:#}); its test says that it is skipped"
            );
            None
        }
    }
}
