//! What is written and looked for again: bytes without a pattern, the same for every system.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

const MEBIBYTE: u64 = 1 << 20;
/// Files of one folder, where there are several.
const FOLDER: u64 = 1000;

/// Bytes that do not compress and differ for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = vec![0; length];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let drawn = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        word.copy_from_slice(&drawn[..word.len()]);
    }
    bytes
}

/// Writes a file of so many MiB, and closes it.
pub fn write_large(path: &Path, mebibytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    for at in 0..mebibytes {
        file.write_all(&noise(at, MEBIBYTE as usize))?;
    }
    Ok(())
}

/// Reads it to its end.
pub fn read_large(path: &Path, mebibytes: u64) -> Result<()> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; MEBIBYTE as usize];
    for at in 0..mebibytes {
        file.read_exact(&mut bytes)?;
        ensure!(bytes == noise(at, bytes.len()), "MiB {at} is another");
    }
    ensure!(file.read(&mut bytes)? == 0, "the file is longer");
    Ok(())
}

/// What it holds at a place that does not cross a MiB.
pub fn of_large(at: u64, length: usize) -> Vec<u8> {
    let chunk = noise(at / MEBIBYTE, MEBIBYTE as usize);
    let from = (at % MEBIBYTE) as usize;
    chunk[from..from + length].to_vec()
}

/// Many files, some thousand in each folder, or all in one.
#[derive(Debug, Clone, Copy)]
pub struct Many {
    pub files: u64,
    /// Of each, in bytes.
    pub length: u64,
    pub spread: Spread,
}

/// Where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    OneFolder,
    Folders,
}

impl Many {
    fn path(&self, folder: &Path, file: u64) -> PathBuf {
        let name = format!("file {file:05}");
        match self.spread {
            Spread::OneFolder => folder.join(name),
            Spread::Folders => folder.join(format!("{:03}", file / FOLDER)).join(name),
        }
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        for file in 0..self.files {
            let path = self.path(folder, file);
            if let Some(folder) = path.parent().filter(|_| file % FOLDER == 0) {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, noise(file, self.length as usize))?;
        }
        Ok(())
    }

    /// Reads all and compares.
    pub fn compare(&self, folder: &Path) -> Result<()> {
        for file in 0..self.files {
            let path = self.path(folder, file);
            let found = fs::read(&path).with_context(|| format!("{}", path.display()))?;
            ensure!(
                found == noise(file, self.length as usize),
                "{} holds something else",
                path.display()
            );
        }
        Ok(())
    }

    /// Looks at what `ls -lR` printed.
    pub fn compare_listing(&self, listing: &str) -> Result<()> {
        let lines = listing.lines().filter(|line| line.starts_with('-'));
        let mut found = 0;
        for line in lines {
            let length = line.split_whitespace().nth(4);
            ensure!(
                length == Some(&self.length.to_string()),
                "a file has another length: {line}"
            );
            found += 1;
        }
        ensure!(
            found == self.files,
            "{found} files are listed of {}",
            self.files
        );
        Ok(())
    }
}
