//! Work that has to be safe when it returns: a page and an fsync, again and again.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use crate::content;
use crate::content::per_second;
use crate::sizes::Sizes;

/// What a sustained workload has shown.
pub struct Sustained {
    /// Operations a second.
    pub rate: f64,
    /// The longest of them, in milliseconds.
    pub stall: f64,
}

pub fn fsync(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let page = content::noise(4096, 5);
    let mut file = File::create(mount.join("synced"))?;
    let begin = Instant::now();
    for _ in 0..sizes.operations {
        append(&mut file, &page)?;
    }
    Ok(per_second(sizes.operations, begin))
}

pub fn fsync_sustained(mount: &Path, sizes: &Sizes) -> Result<Sustained> {
    let page = content::noise(4096, 6);
    let mut file = File::create(mount.join("synced for long"))?;
    sustain(sizes.sustained, || append(&mut file, &page))
}

/// Repeats it for so long.
pub fn sustain(long: Duration, mut operation: impl FnMut() -> Result<()>) -> Result<Sustained> {
    let begin = Instant::now();
    let (mut count, mut stall) = (0, Duration::ZERO);
    let mut before = begin;
    while before.duration_since(begin) < long {
        operation()?;
        let now = Instant::now();
        stall = stall.max(now - before);
        count += 1;
        before = now;
    }
    Ok(Sustained {
        rate: per_second(count, begin),
        stall: stall.as_secs_f64() * 1e3,
    })
}

fn append(file: &mut File, page: &[u8]) -> Result<()> {
    file.write_all(page)?;
    Ok(file.sync_data()?)
}
