//! What `doctor` finds in the vault's folder on this machine, and what whoever has the vault open tells.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use coffre::fs::Status;
use coffre::vault::Access;
use coffre_format::anchor::Anchor;
use serde::Serialize;

use super::Problems;
use crate::commands::state_of;
use crate::control::client::Daemon;
use crate::exit;
use crate::mounts;
use crate::secret::Presented;
use crate::session;
use crate::session::Bounds;
use crate::settings::Context;
use crate::settings::Target;

/// Lines of the log that are shown.
const LOG_LINES: usize = 10;
/// Free space below which the journal may soon be refused, in bytes.
const FREE_LEAST: u64 = 256 << 20;
/// Opening a vault that takes longer tells enough.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder.
#[derive(Default, Serialize)]
pub(super) struct Section {
    folder: String,
    exists: bool,
    mode: Option<String>,
    free_bytes: Option<u64>,
    file_system: Option<String>,
    locked_by: Vec<String>,
    anchor_bytes: Option<u64>,
    vault_id: Option<String>,
    epoch: Option<u32>,
    journal_bytes: u64,
    journal_segments: usize,
    outbox_bytes: u64,
    outbox_packs: usize,
    oldest_seconds: Option<u64>,
    cache_bytes: u64,
    mounted_at: Option<String>,
    process: Option<String>,
    last_errors: Vec<String>,
}

/// What needs the keys, from the process that has them.
#[derive(Default, Serialize)]
pub(super) struct Vault {
    source: &'static str,
    unpublished_bytes: Option<u64>,
    unpublished_operations: Option<u64>,
    unpublished_seconds: Option<u64>,
    queue: Option<u64>,
    last_commit: Option<u64>,
    last_error: Option<String>,
    devices: Vec<Device>,
    diverged: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Device {
    what: String,
    commit: u64,
    this: bool,
}

/// Looks at the folder alone; needs no key and disturbs nobody.
pub(super) fn look(target: &Target, problems: &mut Problems) -> Section {
    let folder = target.state();
    let mut section = Section {
        folder: folder.display().to_string(),
        ..Section::default()
    };
    let Ok(metadata) = folder.metadata() else {
        return section;
    };
    section.exists = true;
    section.mode = Some(format!("{:04o}", metadata.mode() & 0o7777));
    if metadata.mode() & 0o077 != 0 {
        let what = format!("{} is open to others; `chmod 700` it", folder.display());
        problems.add(exit::FAILED, what);
    }
    space(&folder, &mut section, problems);
    sizes(target, &folder, &mut section);
    anchor(&folder, &mut section, problems);
    section.locked_by = holders(&folder.join("lock"));
    mount(&folder, &mut section, problems);
    section.last_errors = last_errors(&folder.join("daemon.log"));
    section
}

fn space(folder: &Path, section: &mut Section, problems: &mut Problems) {
    let Ok(space) = rustix::fs::statvfs(folder) else {
        return;
    };
    let free = space.f_bavail * space.f_frsize;
    section.free_bytes = Some(free);
    section.file_system = kind(folder);
    if free < FREE_LEAST {
        let what = format!(
            "there is little space for the journal: {free} bytes at {}",
            folder.display()
        );
        problems.add(exit::FAILED, what);
    }
}

/// The kind of file system, as the kernel's table of mounts calls it.
fn kind(folder: &Path) -> Option<String> {
    let device = folder.metadata().ok()?.dev();
    let wanted = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&wanted))?;
    let (_, rest) = line.split_once(" - ")?;
    rest.split(' ').next().map(str::to_owned)
}

fn sizes(target: &Target, folder: &Path, section: &mut Section) {
    let journal = files(&folder.join("journal"));
    let outbox = files(&folder.join("outbox"));
    let bytes = |files: &[fs::Metadata]| files.iter().map(fs::Metadata::len).sum();
    section.journal_bytes = bytes(&journal);
    section.journal_segments = journal.len();
    section.outbox_bytes = bytes(&outbox);
    section.outbox_packs = outbox.len();
    let now = coffre::clock::now().seconds;
    let ages = journal.iter().chain(&outbox).map(|file| now - file.mtime());
    section.oldest_seconds = ages.max().map(|age| u64::try_from(age).unwrap_or(0));
    // A cached pack is a sparse file.
    let cached = files(&target.cache());
    section.cache_bytes = cached.iter().map(|file| file.blocks() * 512).sum();
}

/// The files in a folder and below it.
fn files(folder: &Path) -> Vec<fs::Metadata> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            Ok(metadata) => found.push(metadata),
            Err(_) => {}
        }
    }
    found
}

fn anchor(folder: &Path, section: &mut Section, problems: &mut Problems) {
    let path = folder.join("anchor");
    let Ok(bytes) = fs::read(&path) else {
        if section.journal_segments + section.outbox_packs > 0 {
            let what = format!(
                "{} is gone, but journal or outbox hold work; restore it from a backup",
                path.display()
            );
            problems.add(exit::MISSING, what);
        }
        return;
    };
    section.anchor_bytes = Some(bytes.len() as u64);
    match Anchor::peek(&bytes) {
        Ok(header) => {
            section.vault_id = Some(header.vault.to_string());
            section.epoch = Some(header.epoch.0);
        }
        Err(error) => problems.add(exit::MISSING, format!("{}: {error}", path.display())),
    }
}

/// The processes that hold a lock on a file, from the kernel's table.
fn holders(file: &Path) -> Vec<String> {
    let Ok(metadata) = file.metadata() else {
        return Vec::new();
    };
    let inode = format!(":{}", metadata.ino());
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    let held = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (how, pid, place) = (words.get(3)?, words.get(4)?, words.get(5)?);
        place
            .ends_with(&inode)
            .then(|| format!("process {pid} ({}), {how}", program(pid)))
    });
    held.collect()
}

fn program(pid: &str) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "gone".to_owned(), |name| name.trim().to_owned())
}

fn mount(folder: &Path, section: &mut Section, problems: &mut Problems) {
    let Some(mounted) = mounts::of_state(folder) else {
        return;
    };
    let (dir, pid) = (mounted.dir.display(), mounted.pid);
    section.mounted_at = Some(dir.to_string());
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    // What has ended and was not waited for is a zombie.
    let alive = |status: &String| !status.contains("State:\tZ");
    let Some(status) = status.ok().filter(alive) else {
        let what = format!(
            "the process that had it mounted at {dir} is gone; `fusermount3 -uz {dir}` clears the folder, and what \
             was not uploaded is in the journal"
        );
        problems.add(exit::FAILED, what);
        return;
    };
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    section.process = Some(format!(
        "{pid}, {}, resident {}, locked {}, {} threads",
        of("State:"),
        of("VmRSS:"),
        of("VmLck:"),
        of("Threads:")
    ));
}

/// The last complaints of the process behind the mount. Its log names objects, never files.
fn last_errors(log: &Path) -> Vec<String> {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let complaint = |line: &&str| {
        [" WARN ", " ERROR ", "panicked"]
            .iter()
            .any(|word| line.contains(word))
    };
    let lines: Vec<&str> = text.lines().filter(complaint).collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines
        .iter()
        .skip(from)
        .map(|line| (*line).to_owned())
        .collect()
}

/// Asks whoever has the keys: the process behind a mount, or this one, if it need not ask for the passphrase.
pub(super) async fn ask(context: &Context, target: &Target, problems: &mut Problems) -> Vault {
    let state = target.state();
    if let Some(daemon) = Daemon::find(&state).await {
        return match state_of(daemon).await {
            Ok(state) => told("the process that has it mounted", state.status, problems),
            Err(error) => {
                problems.add(exit::code(&error), exit::message(&error));
                skipped("the process that has it mounted did not tell")
            }
        };
    }
    if !state.join("anchor").exists() {
        return skipped("skipped: this machine has not opened the vault yet");
    }
    if !holders(&state.join("lock")).is_empty() {
        return skipped("skipped: another command is using the vault");
    }
    let presented = match Presented::at_hand(&context.global, &target.profile) {
        Ok(Some(presented)) => presented,
        Ok(None) => return skipped("skipped: the passphrase is not at hand"),
        Err(error) => {
            problems.add(exit::code(&error), exit::message(&error));
            return skipped("skipped: the passphrase is not at hand");
        }
    };
    match tokio::time::timeout(PATIENCE, opened(target, &presented)).await {
        Ok(Ok(status)) => told("opened for reading", status, problems),
        Ok(Err(error)) => {
            problems.add(exit::code(&error), exit::message(&error));
            skipped("it does not open")
        }
        Err(_) => {
            problems.add(exit::UNREACHABLE, "the vault does not open within a minute");
            skipped("it does not open")
        }
    }
}

async fn opened(target: &Target, presented: &Presented) -> anyhow::Result<Status> {
    let vault = session::unlock_with(target, presented, Access::ReadOnly).await?;
    let bounds = Bounds::default();
    let filesystem = session::filesystem(target, vault, Access::ReadOnly, bounds).await?;
    Ok(filesystem.close_now().await?)
}

fn skipped(source: &'static str) -> Vault {
    Vault {
        source,
        ..Vault::default()
    }
}

fn told(source: &'static str, status: Status, problems: &mut Problems) -> Vault {
    if let Some(error) = &status.last_error {
        problems.add(exit::FAILED, format!("the last upload failed: {error}"));
    }
    if !status.diverged.is_empty() {
        let what = "this device and others have diverged; each keeps working on a chain of its own";
        problems.add(exit::DIVERGED, what);
    }
    let devices = status.devices.into_iter().map(|device| Device {
        what: device.id,
        commit: device.seq,
        this: device.this,
    });
    Vault {
        source,
        unpublished_bytes: Some(status.unpublished_bytes),
        unpublished_operations: Some(status.unpublished_operations),
        unpublished_seconds: Some(status.unpublished_seconds),
        queue: Some(status.queue),
        last_commit: Some(status.last_commit),
        last_error: status.last_error,
        devices: devices.collect(),
        diverged: status.diverged,
        warnings: status.warnings,
    }
}
