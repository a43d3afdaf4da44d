//! What is measured, the same for every system.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;

use crate::systems::System;
use crate::systems::drop_caches;

/// How much is done.
pub struct Sizes {
    /// Length of the big file, in MiB.
    big: u64,
    /// Length of the file for random access, in MiB.
    random: u64,
    /// Small files of 4 KiB.
    small: usize,
    /// Operations of each random or syncing workload.
    operations: usize,
}

impl Sizes {
    pub const FULL: Self = Self {
        big: 1024,
        random: 64,
        small: 5000,
        operations: 2000,
    };
    pub const QUICK: Self = Self {
        big: 128,
        random: 16,
        small: 500,
        operations: 200,
    };
}

/// Runs everything on a fresh file system in `folder`; figures are MB/s or operations a second.
pub fn all(system: System, folder: &Path, sizes: &Sizes) -> Result<Vec<(&'static str, f64)>> {
    system.create(folder)?;
    let mount = system.mount(folder)?;
    let mut figures = vec![
        (
            "01 sequential write with fsync, MB/s",
            write_big(&mount, sizes)?,
        ),
        ("03 sequential read warm, MB/s", read_big(&mount, sizes)?),
        ("04 create files of 4 KiB, /s", create(&mount, sizes)?),
        ("05 stat warm, /s", stat(&mount, sizes)?),
        ("06 rename, /s", rename(&mount, sizes)?),
        ("12 fsync of 4 KiB, /s", fsync(&mount, sizes)?),
    ];
    write_random_file(&mount, sizes)?;
    figures.push(("11 random write of 4 KiB, /s", random_write(&mount, sizes)?));
    if system.keeps_content() {
        for (name, mode) in [
            ("13 SQLite transactions, WAL, /s", "WAL"),
            ("14 SQLite transactions, rollback journal, /s", "DELETE"),
        ] {
            figures.push((name, sqlite(&mount, mode, sizes)?));
        }
        figures.push(("15 untar of a source tree, files/s", untar(folder, &mount)?));
    }
    // What the null file system knows is gone with its process.
    if system.keeps_content() {
        system.unmount(folder)?;
        drop_caches();
        system.mount(folder)?;
    } else {
        drop_caches();
    }
    figures.push(("02 sequential read cold, MB/s", read_big(&mount, sizes)?));
    figures.push((
        "10 random read of 4 KiB cold, in 64 MiB, /s",
        random_read(&mount, sizes)?,
    ));
    figures.push(("08 walk with stat, cold, /s", walk(&mount.join("small"))?));
    figures.push(("09 read small files cold, /s", read_small(&mount, sizes)?));
    if system.keeps_content() {
        drop_caches();
        figures.push(("16 grep -r of the tree, cold, files/s", grep(&mount)?));
    }
    figures.push(("07 remove files, /s", remove(&mount, sizes)?));
    system.unmount(folder)?;
    Ok(figures)
}

/// A sequence of numbers without pattern; the same for every system.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Content that does not compress.
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn per_second(count: usize, begin: Instant) -> f64 {
    count as f64 / begin.elapsed().as_secs_f64()
}

fn write_random_file(mount: &Path, sizes: &Sizes) -> Result<()> {
    let mut chunk = vec![0; 1 << 20];
    let mut dice = Dice(SEED);
    let mut file = File::create(mount.join("random"))?;
    for _ in 0..sizes.random {
        dice.fill(&mut chunk);
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    Ok(())
}

fn places(sizes: &Sizes) -> impl Iterator<Item = u64> {
    let pages = sizes.random << 8;
    let mut dice = Dice(SEED ^ 7);
    (0..sizes.operations * 2).map(move |_| dice.next() % pages * 4096)
}

fn random_write(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let mut page = [0; 4096];
    Dice(SEED ^ 1).fill(&mut page);
    let file = File::options().write(true).open(mount.join("random"))?;
    let begin = Instant::now();
    for place in places(sizes) {
        file.write_all_at(&page, place)?;
    }
    file.sync_all()?;
    Ok(per_second(sizes.operations * 2, begin))
}

fn random_read(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let mut page = [0; 4096];
    let file = File::open(mount.join("random"))?;
    let begin = Instant::now();
    for place in places(sizes) {
        file.read_exact_at(&mut page, place)?;
    }
    Ok(per_second(sizes.operations * 2, begin))
}

fn fsync(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let mut page = [0; 4096];
    Dice(SEED ^ 2).fill(&mut page);
    let mut file = File::create(mount.join("synced"))?;
    let begin = Instant::now();
    for _ in 0..sizes.operations {
        file.write_all(&page)?;
        file.sync_data()?;
    }
    Ok(per_second(sizes.operations, begin))
}

fn rename(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let away = |index: usize| mount.join(format!("small/{index} away"));
    let begin = Instant::now();
    for index in 0..sizes.small {
        fs::rename(small(mount, index), away(index))?;
    }
    for index in 0..sizes.small {
        fs::rename(away(index), small(mount, index))?;
    }
    Ok(per_second(sizes.small * 2, begin))
}

fn walk(folder: &Path) -> Result<f64> {
    let begin = Instant::now();
    let mut seen = 0;
    for entry in fs::read_dir(folder)? {
        entry?.metadata()?;
        seen += 1;
    }
    Ok(per_second(seen, begin))
}

/// One process, each insertion a transaction of its own.
fn sqlite(mount: &Path, mode: &str, sizes: &Sizes) -> Result<f64> {
    let database = mount.join(format!("{mode}.db"));
    let script = |statements: &str| -> Result<()> {
        let mut child = Command::new("sqlite3")
            .arg(&database)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(statements.as_bytes())?;
        }
        if !child.wait()?.success() {
            bail!("sqlite3 failed on {}", database.display());
        }
        Ok(())
    };
    let settings = format!("PRAGMA journal_mode={mode}; PRAGMA synchronous=FULL;");
    script(&format!(
        "{settings} CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT);"
    ))?;
    let count = sizes.operations / 2;
    let mut statements = settings;
    for index in 0..count {
        statements.push_str(&format!(
            "INSERT INTO t (v) VALUES ('value {index} of a row');\n"
        ));
    }
    let begin = Instant::now();
    script(&statements)?;
    Ok(per_second(count, begin))
}

/// Headers of this machine: many small files in folders.
const SOURCES: &str = "/usr/include";

fn untar(folder: &Path, mount: &Path) -> Result<f64> {
    let archive = folder.join("sources.tar");
    run(Command::new("tar")
        .args(["-C", SOURCES, "-cf"])
        .arg(&archive)
        .arg("."))?;
    let listed = Command::new("tar").arg("-tf").arg(&archive).output()?;
    let files = listed.stdout.iter().filter(|byte| **byte == b'\n').count();
    fs::create_dir(mount.join("tree"))?;
    let begin = Instant::now();
    run(Command::new("tar")
        .arg("-C")
        .arg(mount.join("tree"))
        .arg("-xf")
        .arg(&archive))?;
    let figure = per_second(files, begin);
    fs::remove_file(archive)?;
    Ok(figure)
}

fn grep(mount: &Path) -> Result<f64> {
    let tree = mount.join("tree");
    let begin = Instant::now();
    let found = Command::new("grep")
        .args(["-r", "-c", "no such words in it"])
        .arg(&tree)
        .output()?;
    let files = found.stdout.iter().filter(|byte| **byte == b'\n').count();
    Ok(per_second(files, begin))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

fn write_big(mount: &Path, sizes: &Sizes) -> Result<f64> {
    // Made before the clock starts.
    let mut chunk = vec![0u8; 1 << 20];
    Dice(SEED).fill(&mut chunk);
    let begin = Instant::now();
    let mut file = File::create(mount.join("big"))?;
    for index in 0..sizes.big {
        if let Some(first) = chunk.first_chunk_mut::<8>() {
            *first = index.to_le_bytes();
        }
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    drop(file);
    Ok(megabytes(sizes) / begin.elapsed().as_secs_f64())
}

fn read_big(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let mut chunk = vec![0u8; 1 << 20];
    let begin = Instant::now();
    let mut file = File::open(mount.join("big"))?;
    while file.read(&mut chunk)? > 0 {}
    Ok(megabytes(sizes) / begin.elapsed().as_secs_f64())
}

fn megabytes(sizes: &Sizes) -> f64 {
    (sizes.big << 20) as f64 / 1e6
}

fn create(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let content = [7u8; 4096];
    fs::create_dir(mount.join("small"))?;
    per_file(sizes, |index| Ok(fs::write(small(mount, index), content)?))
}

fn stat(mount: &Path, sizes: &Sizes) -> Result<f64> {
    per_file(sizes, |index| {
        Ok(fs::metadata(small(mount, index)).map(drop)?)
    })
}

fn read_small(mount: &Path, sizes: &Sizes) -> Result<f64> {
    per_file(sizes, |index| Ok(fs::read(small(mount, index)).map(drop)?))
}

fn remove(mount: &Path, sizes: &Sizes) -> Result<f64> {
    per_file(sizes, |index| Ok(fs::remove_file(small(mount, index))?))
}

fn small(mount: &Path, index: usize) -> std::path::PathBuf {
    mount.join(format!("small/{index}"))
}

fn per_file(sizes: &Sizes, work: impl Fn(usize) -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    for index in 0..sizes.small {
        work(index)?;
    }
    Ok(sizes.small as f64 / begin.elapsed().as_secs_f64())
}
