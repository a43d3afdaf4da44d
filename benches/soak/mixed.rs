//! Programs that are hard on a file system, all at once, for a time: fsx, git, SQLite, tar.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::pace::gone;
use crate::run::Run;

/// Operations of one run of fsx.
const FSX: u64 = 4000;
/// Commits in the life of one repository.
const COMMITS: u64 = 8;
/// Transactions of one step of SQLite.
const TRANSACTIONS: u64 = 60;
/// Files that tar packs and unpacks.
const PACKED: u64 = 600;

type Work = fn(&Run, u64) -> Result<u64>;

const PROGRAMS: [(&str, Work); 4] = [
    ("mixed/fsx", fsx),
    ("mixed/git", git),
    ("mixed/sqlite", sqlite),
    ("mixed/tar", tar),
];

pub fn run(run: &Run) -> Result<()> {
    fs::create_dir_all(run.drive.mount.join("mixed"))?;
    make_source(&source(run))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let programs: Vec<_> = PROGRAMS
            .iter()
            .map(|(phase, work)| scope.spawn(|| repeat(run, phase, *work, &stop)))
            .collect();
        let timed = minutes(run, &stop);
        stop.store(true, Ordering::Relaxed);
        for program in programs {
            program
                .join()
                .unwrap_or_else(|_| bail!("a program's thread ended unexpectedly"))?;
        }
        timed
    })
}

/// Each minute is a step, so that a run that was stopped does the rest.
fn minutes(run: &Run, stop: &AtomicBool) -> Result<()> {
    for minute in 0..run.plan.minutes {
        run.step("mixed/minute", minute, || {
            for _ in 0..60 {
                if stop.load(Ordering::Relaxed) {
                    bail!("a program failed");
                }
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok(1)
        })?;
    }
    Ok(())
}

fn repeat(run: &Run, phase: &str, work: Work, stop: &AtomicBool) -> Result<()> {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let done = run.step(phase, number, || work(run, number));
        if done.is_err() {
            stop.store(true, Ordering::Relaxed);
            return done;
        }
        number += 1;
    }
    Ok(())
}

/// Random reads, writes, truncations and mappings of one file against a model of it.
fn fsx(run: &Run, number: u64) -> Result<u64> {
    let file = run.drive.mount.join("mixed/fsx");
    gone(fs::remove_file(&file))?;
    let installed =
        PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
            .join("tools/bin/fsx");
    quiet(
        Command::new(installed)
            .args(["-N", &FSX.to_string(), "-S", &(number + 1).to_string()])
            .arg(&file)
            .current_dir(&run.folder),
    )?;
    Ok(FSX)
}

/// A repository's life: commits, repacking, a check, a clone that is compared.
fn git(run: &Run, number: u64) -> Result<u64> {
    let (tree, clone) = (
        run.drive.mount.join("mixed/git"),
        run.drive.mount.join("mixed/git clone"),
    );
    clear(&tree)?;
    clear(&clone)?;
    fs::create_dir_all(&tree)?;
    let git = |arguments: &[&str]| {
        quiet(
            Command::new("git")
                .args(["-c", "user.name=soak", "-c", "user.email=soak@localhost"])
                .args(["-c", "gc.auto=0", "-C"])
                .arg(&tree)
                .args(arguments),
        )
    };
    git(&["init", "--quiet"])?;
    for commit in 0..COMMITS {
        for file in 0..30 {
            let text = format!("{number} {commit} {file}\n").repeat(40 + file * 9);
            fs::write(tree.join(format!("file {file}")), text)?;
        }
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "--message", "a step"])?;
    }
    git(&["gc", "--quiet"])?;
    git(&["fsck", "--strict", "--no-progress"])?;
    git(&["clone", "--quiet", ".", &clone.display().to_string()])?;
    let different = Command::new("diff")
        .args(["--recursive", "--brief", "--exclude=.git"])
        .args([&tree, &clone])
        .output()?;
    ensure!(different.status.success(), "the clone differs");
    Ok(COMMITS)
}

/// Transactions that are synced one by one on a database of bounded length, and its own check.
fn sqlite(run: &Run, number: u64) -> Result<u64> {
    let database = run.drive.mount.join("mixed/database");
    let mut script = String::from(
        "create table if not exists kept (id integer primary key, step integer, content blob);\n",
    );
    for _ in 0..TRANSACTIONS {
        script.push_str("begin;\n");
        for _ in 0..20 {
            script.push_str(&format!(
                "insert into kept (step, content) values ({number}, randomblob(700));\n"
            ));
        }
        script.push_str("commit;\n");
    }
    script.push_str(&format!(
        "delete from kept where step < {};\n",
        number.saturating_sub(5)
    ));
    script.push_str("pragma integrity_check;\n");
    let output = Command::new("sqlite3")
        .arg(&database)
        .arg(&script)
        .output()?;
    let words = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && words.trim() == "ok",
        "sqlite3: {words} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(TRANSACTIONS)
}

/// A tree is packed onto the drive, unpacked there, and compared with where it came from.
fn tar(run: &Run, _: u64) -> Result<u64> {
    let folder = run.drive.mount.join("mixed/tar");
    clear(&folder)?;
    fs::create_dir_all(folder.join("tree"))?;
    let archive = folder.join("archive.tar");
    quiet(
        Command::new("tar")
            .arg("--create")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(source(run))
            .arg("."),
    )?;
    quiet(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(folder.join("tree")),
    )?;
    quiet(
        Command::new("diff")
            .args(["--recursive", "--brief"])
            .arg(source(run))
            .arg(folder.join("tree")),
    )?;
    Ok(PACKED)
}

fn source(run: &Run) -> PathBuf {
    run.folder.join("source")
}

/// Files of many lengths, up to about a megabyte.
fn make_source(folder: &Path) -> Result<()> {
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(());
    }
    for file in 0..PACKED {
        let folder = folder.join(format!("folder {}", file % 20));
        fs::create_dir_all(&folder)?;
        let length = (file * file * 7919) % 200_000 + (file % 37) * 20_000;
        let content: Vec<u8> = (0..length)
            .map(|at| ((at * (file + 3)) >> 7) as u8)
            .collect();
        fs::write(folder.join(format!("file {file}")), content)?;
    }
    Ok(fs::write(complete, "")?)
}

fn clear(folder: &Path) -> Result<()> {
    gone(fs::remove_dir_all(folder))
}

fn quiet(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{:?}: {}{}",
            command.get_program(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
