//! What the programs work on, made once for all systems: an archive, a git repository, a crate to build.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::content::Dice;
use crate::mounting::quiet;

/// Headers of this machine: many small files in folders.
const HEADERS: &str = "/usr/include";
/// Of the repository.
const FOLDERS: usize = 40;
const FILES: usize = 25;
/// Of the crate.
pub const MODULES: usize = 40;
const WORDS: [&str; 8] = [
    "north", "river", "stone", "letter", "harbour", "evening", "copper", "window",
];

pub struct Sources {
    /// An archive, and how many entries it has.
    pub archive: PathBuf,
    pub entries: usize,
    /// A bare repository, and how many files its newest commit has.
    pub repository: PathBuf,
    pub files: usize,
}

impl Sources {
    /// Makes them in `folder`, which is on the plain disk.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let archive = folder.join("sources.tar");
        let tar = |arguments: &[&str]| {
            let mut command = Command::new("tar");
            command.args(arguments).arg(&archive);
            command
        };
        quiet(tar(&["-C", HEADERS, "-cf"]).arg("."))?;
        let listed = tar(&["-tf"]).output()?;
        Ok(Self {
            entries: listed.stdout.iter().filter(|byte| **byte == b'\n').count(),
            repository: make_repository(folder)?,
            files: FOLDERS * FILES,
            archive,
        })
    }
}

/// Git without the settings of whoever measures.
pub fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "A Benchmark")
            .env(format!("GIT_{who}_EMAIL"), "benchmark@example.org")
            .env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
    }
    command
}

/// Three commits, each of which changes all files.
fn make_repository(folder: &Path) -> Result<PathBuf> {
    let (work, bare) = (folder.join("work"), folder.join("repository.git"));
    fs::create_dir_all(&work)?;
    quiet(git(&work).args(["init", "-q"]))?;
    let mut dice = Dice::new(8);
    for commit in 0..3 {
        for place in 0..FOLDERS * FILES {
            let path = work.join(format!("folder {}", place / FILES));
            fs::create_dir_all(&path)?;
            let path = path.join(format!("file {}.txt", place % FILES));
            fs::write(path, prose(&mut dice, 60))?;
        }
        quiet(git(&work).args(["add", "."]))?;
        quiet(git(&work).args(["commit", "-q", "-m", &format!("commit {commit}")]))?;
    }
    quiet(
        git(folder)
            .args(["clone", "-q", "--bare"])
            .arg(&work)
            .arg(&bare),
    )?;
    fs::remove_dir_all(work)?;
    // Packed as on a server, or git would do that while it is timed.
    quiet(git(&bare).args(["repack", "-a", "-d", "-q"]))?;
    Ok(bare)
}

fn prose(dice: &mut Dice, lines: usize) -> String {
    let mut text = String::new();
    for _ in 0..lines {
        for _ in 0..8 {
            text.push_str(WORDS[(dice.next() % 8) as usize]);
            text.push(' ');
        }
        let _ = writeln!(text, "{}", dice.next() % 1000);
    }
    text
}

/// Writes a crate without dependencies, each module of which calls the one before.
pub fn write_crate(folder: &Path) -> Result<()> {
    let source = folder.join("src");
    fs::create_dir_all(&source)?;
    // A workspace of its own, whatever folder it is in.
    fs::write(
        folder.join("Cargo.toml"),
        "[package]\nname = \"built\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    let mut main = String::new();
    for module in 0..MODULES {
        let _ = writeln!(main, "mod part{module};");
        fs::write(source.join(format!("part{module}.rs")), code(module))?;
    }
    let _ = writeln!(
        main,
        "\nfn main() {{\n    println!(\"{{}}\", part{}::value(1));\n}}",
        MODULES - 1
    );
    Ok(fs::write(source.join("main.rs"), main)?)
}

fn code(module: usize) -> String {
    let before = match module.checked_sub(1) {
        Some(before) => format!("crate::part{before}::value(seed)"),
        None => "seed".to_owned(),
    };
    let mut text = format!("pub fn value(seed: u64) -> u64 {{\n    let mut sum = {before};\n");
    for step in 0..12 {
        let _ = writeln!(
            text,
            "    sum = sum.rotate_left({step}) ^ (seed * {module} + {step});"
        );
    }
    text.push_str("    sum\n}\n");
    text
}
