//! What is written: the same for every system, and nothing that compresses where that would help only some.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of numbers without pattern.
pub struct Dice(u64);

impl Dice {
    /// Different numbers for each purpose.
    pub fn new(purpose: u64) -> Self {
        Self(SEED ^ purpose)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

/// Bytes without pattern.
pub fn noise(length: usize, purpose: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Dice::new(purpose).fill(&mut bytes);
    bytes
}

/// Writes and syncs a file of so many mebibytes, no two of which are the same.
pub fn write_file(path: &Path, mebibytes: u64) -> Result<()> {
    let mut chunk = noise(1 << 20, mebibytes);
    let mut file = File::create(path)?;
    for index in 0..mebibytes {
        number(&mut chunk, index);
        file.write_all(&chunk)?;
    }
    Ok(file.sync_all()?)
}

/// Makes a chunk differ from all others, in each block of it.
pub fn number(chunk: &mut [u8], index: u64) {
    for page in chunk.chunks_mut(4096) {
        if let Some(first) = page.first_chunk_mut::<8>() {
            *first = index.to_le_bytes();
        }
    }
}

pub fn per_second(count: usize, begin: Instant) -> f64 {
    count as f64 / begin.elapsed().as_secs_f64()
}
