//! Pages of 4 KiB here and there in a small file and in a large one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::content;
use crate::content::Dice;
use crate::content::per_second;
use crate::sizes::Sizes;

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    Narrow,
    Wide,
}

impl Range {
    fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Wide => "wide",
        }
    }

    fn mebibytes(self, sizes: &Sizes) -> u64 {
        match self {
            Self::Narrow => sizes.narrow,
            Self::Wide => sizes.wide,
        }
    }
}

/// Writes the file that is to be read or written into.
pub fn prepare(mount: &Path, sizes: &Sizes, range: Range) -> Result<()> {
    content::write_file(&mount.join(range.name()), range.mebibytes(sizes))
}

/// Into the small file, with an fsync after the last.
pub fn write(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let page = content::noise(4096, 4);
    let file = File::options()
        .write(true)
        .open(mount.join(Range::Narrow.name()))?;
    let begin = Instant::now();
    for place in places(sizes, Range::Narrow) {
        file.write_all_at(&page, place)?;
    }
    file.sync_all()?;
    Ok(per_second(count(sizes), begin))
}

pub fn read(mount: &Path, sizes: &Sizes, range: Range) -> Result<f64> {
    let mut page = [0; 4096];
    let file = File::open(mount.join(range.name()))?;
    let begin = Instant::now();
    for place in places(sizes, range) {
        file.read_exact_at(&mut page, place)?;
    }
    Ok(per_second(count(sizes), begin))
}

fn places(sizes: &Sizes, range: Range) -> impl Iterator<Item = u64> {
    let pages = range.mebibytes(sizes) << 8;
    let mut dice = Dice::new(7);
    (0..count(sizes)).map(move |_| dice.next() % pages * 4096)
}

fn count(sizes: &Sizes) -> usize {
    sizes.operations * 2
}
