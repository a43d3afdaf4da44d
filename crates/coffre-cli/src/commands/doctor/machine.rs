//! What `doctor` finds on this machine: versions, FUSE, limits of the process.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Resource;
use serde::Serialize;

/// What is installed.
#[derive(Serialize)]
pub(super) struct Versions {
    coffre: &'static str,
    format: u16,
    build: &'static str,
    architecture: &'static str,
    system: Option<String>,
    kernel: String,
    fuse_device: &'static str,
    fusermount3: Option<String>,
    allow_other: &'static str,
}

/// What the system allows this process. The process behind a mount has those of whoever started it.
#[derive(Serialize)]
pub(super) struct Limits {
    open_files: String,
    locked_memory: String,
    core_file: String,
    processors: usize,
    memory_bytes: Option<u64>,
}

pub(super) fn versions() -> Versions {
    let name = rustix::system::uname();
    Versions {
        coffre: env!("CARGO_PKG_VERSION"),
        format: coffre_format::FORMAT,
        build: match cfg!(debug_assertions) {
            true => "debug",
            false => "release",
        },
        architecture: std::env::consts::ARCH,
        system: system(),
        kernel: name.release().to_string_lossy().into_owned(),
        fuse_device: fuse_device(),
        fusermount3: fusermount3(),
        allow_other: match user_allow_other() {
            true => "to ordinary users as well",
            false => "to root alone",
        },
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        open_files: limit(Resource::Nofile),
        locked_memory: limit(Resource::Memlock),
        core_file: limit(Resource::Core),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory(),
    }
}

fn limit(resource: Resource) -> String {
    let limit = rustix::process::getrlimit(resource);
    let words = |limit: Option<u64>| limit.map_or_else(|| "any".to_owned(), |it| it.to_string());
    format!(
        "{} (at most {})",
        words(limit.current),
        words(limit.maximum)
    )
}

fn system() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn fuse_device() -> &'static str {
    let device = Path::new("/dev/fuse");
    if !device.exists() {
        return "/dev/fuse is missing: mounting is not possible";
    }
    let opened = fs::File::options().read(true).write(true).open(device);
    match opened {
        Ok(_) => "usable",
        Err(_) => "there, but this user may not open it",
    }
}

fn fusermount3() -> Option<String> {
    let output = Command::new("fusermount3").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn user_allow_other() -> bool {
    let conf = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    conf.lines().any(|line| line.trim() == "user_allow_other")
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
