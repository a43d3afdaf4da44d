//! What is measured, the same for every system.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::systems::System;
use crate::systems::drop_caches;

/// How much is done.
pub struct Sizes {
    /// Length of the big file, in MiB.
    big: u64,
    /// Small files of 4 KiB.
    small: usize,
}

impl Sizes {
    pub const FULL: Self = Self {
        big: 1024,
        small: 5000,
    };
    pub const QUICK: Self = Self {
        big: 128,
        small: 500,
    };
}

/// Runs everything on a fresh file system in `folder`; figures are MB/s or operations a second.
pub fn all(system: System, folder: &Path, sizes: &Sizes) -> Result<Vec<(&'static str, f64)>> {
    system.create(folder)?;
    let mount = system.mount(folder)?;
    let mut figures = vec![(
        "1 sequential write with fsync, MB/s",
        write_big(&mount, sizes)?,
    )];
    figures.push(("3 create files of 4 KiB, /s", create(&mount, sizes)?));
    figures.push(("4 stat warm, /s", stat(&mount, sizes)?));
    system.unmount(folder)?;
    drop_caches();
    let mount = system.mount(folder)?;
    figures.push(("2 sequential read cold, MB/s", read_big(&mount, sizes)?));
    figures.push(("5 read small files cold, /s", read_small(&mount, sizes)?));
    figures.push(("6 remove files, /s", remove(&mount, sizes)?));
    system.unmount(folder)?;
    Ok(figures)
}

fn write_big(mount: &Path, sizes: &Sizes) -> Result<f64> {
    // Content that does not compress, made before the clock starts.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut chunk = vec![0u8; 1 << 20];
    for bytes in chunk.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.copy_from_slice(&state.to_le_bytes());
    }
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
