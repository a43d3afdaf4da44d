//! One big file, written and read from its beginning to its end.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::content;
use crate::sizes::Sizes;

pub fn write(mount: &Path, sizes: &Sizes) -> Result<f64> {
    // Made before the clock starts.
    let mut chunk = content::noise(1 << 20, 1);
    let begin = Instant::now();
    let mut file = File::create(mount.join("big"))?;
    for index in 0..sizes.big {
        content::number(&mut chunk, index);
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    drop(file);
    Ok(megabytes(sizes) / begin.elapsed().as_secs_f64())
}

pub fn read(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let mut chunk = vec![0u8; 1 << 20];
    let mut total = 0;
    let begin = Instant::now();
    let mut file = File::open(mount.join("big"))?;
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            length => total += length as u64,
        }
    }
    let figure = megabytes(sizes) / begin.elapsed().as_secs_f64();
    ensure!(
        total == sizes.big << 20,
        "{total} bytes came back of {} MiB",
        sizes.big
    );
    Ok(figure)
}

fn megabytes(sizes: &Sizes) -> f64 {
    (sizes.big << 20) as f64 / 1e6
}
