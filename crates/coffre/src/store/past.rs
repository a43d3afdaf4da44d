//! Writing past the system's memory of files: a copy there of what nobody reads soon costs more than the disk does.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustix::fs::OFlags;

use crate::store::disks::Place;
use crate::store::disks::SECTOR;

/// What is written at once, in bytes: a disk is no faster with more.
pub(crate) const STRETCH: usize = 1024 * 1024;

/// Stretches that are kept, because memory that is fresh costs more than what is copied into it.
static KEPT: Mutex<Vec<Stretch>> = Mutex::new(Vec::new());
const KEPT_MOST: usize = 2;

/// A file opened a second time, to be written so. Not every file system can.
pub(crate) struct Past {
    file: File,
    /// The kernel itself knows all that is written to it, through whichever descriptor.
    on_disk: bool,
}

impl Past {
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let place = Place::of(path);
        if !place.is_coherent() {
            return None;
        }
        let direct = OFlags::DIRECT.bits() as i32;
        let file = File::options().write(true).custom_flags(direct).open(path);
        file.ok().map(|file| Self {
            file,
            on_disk: place == Place::Disk,
        })
    }

    /// Before a sync of the file through another descriptor: where a program or a network is the disk, that may tell nothing of what
    /// was written through this one (sshfs does not).
    pub(crate) fn sync(&self) -> Result<()> {
        match self.on_disk {
            true => Ok(()),
            false => self.file.sync_data(),
        }
    }

    /// Writes the whole sectors of these parts, which follow each other from `start`, a multiple of [`SECTOR`]. Answers where
    /// that ends: less than a sector is left.
    pub(crate) fn write<'a>(
        &self,
        start: u64,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64> {
        let mut stretch = kept().pop().unwrap_or_else(Stretch::new);
        let written = self.write_through(&mut stretch, start, parts);
        stretch.clear();
        let mut kept = kept();
        if kept.len() < KEPT_MOST {
            kept.push(stretch);
        }
        written
    }

    fn write_through<'a>(
        &self,
        stretch: &mut Stretch,
        start: u64,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64> {
        let mut at = start;
        for mut part in parts {
            while !part.is_empty() {
                part = stretch.take(part);
                if stretch.sectors().len() == STRETCH {
                    at = self.write_stretch(stretch, at)?;
                }
            }
        }
        self.write_stretch(stretch, at)
    }

    fn write_stretch(&self, stretch: &mut Stretch, at: u64) -> Result<u64> {
        let sectors = stretch.sectors();
        self.file.write_all_at(sectors, at)?;
        let end = at + sectors.len() as u64;
        stretch.clear();
        Ok(end)
    }
}

fn kept() -> MutexGuard<'static, Vec<Stretch>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a file of these bytes and syncs it, past the system's memory as far as they are many and that can be.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::create(path)?;
    let past = Some(path).filter(|_| bytes.len() >= STRETCH);
    let written = match past.and_then(Past::open) {
        Some(past) => match past
            .write(0, [bytes])
            .and_then(|end| past.sync().map(|()| end))
        {
            Err(error) if is_not_possible(&error) => 0,
            written => written?,
        },
        None => 0,
    };
    file.write_all_at(&bytes[written as usize..], written)?;
    file.sync_data()
}

/// Whether a file that could be opened for this cannot be written so after all.
pub(crate) fn is_not_possible(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported
    )
}

/// Memory that begins where a sector may, for one write.
struct Stretch {
    bytes: Vec<u8>,
    begin: usize,
}

impl Stretch {
    fn new() -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(STRETCH + SECTOR as usize);
        let begin = bytes.as_ptr().align_offset(SECTOR as usize);
        bytes.resize(begin, 0);
        Self { bytes, begin }
    }

    /// Takes as much as fits, and answers the rest. Never grows, and so stays where it is.
    fn take<'a>(&mut self, part: &'a [u8]) -> &'a [u8] {
        let room = STRETCH - (self.bytes.len() - self.begin);
        let (fits, rest) = part.split_at(room.min(part.len()));
        self.bytes.extend_from_slice(fits);
        rest
    }

    fn sectors(&self) -> &[u8] {
        let filled = self.bytes.get(self.begin..).unwrap_or_default();
        let whole = filled.len() / SECTOR as usize * SECTOR as usize;
        filled.get(..whole).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.bytes.truncate(self.begin);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_has_exactly_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [
            0,
            4095,
            STRETCH - 1,
            STRETCH,
            STRETCH + SECTOR as usize,
            3 * STRETCH + 5,
        ] {
            let content: Vec<u8> = (0..length).map(|at| (at / 3) as u8).collect();
            write_new(&path, &content).unwrap();
            assert_eq!(path.metadata().unwrap().len(), length as u64);
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        assert!(write_new(&dir.path().join("no/file"), b"content").is_err());
    }

    #[test]
    fn whole_sectors_are_written_and_the_rest_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before").unwrap();
        // Where the file system has no such thing, there is nothing to show.
        let Some(past) = Past::open(&path) else {
            return println!("skipped: {} takes no direct writes", path.display());
        };
        let content: Vec<u8> = (0..2 * STRETCH + 10_000).map(|at| (at / 7) as u8).collect();
        let parts = || content.chunks(131_124);
        let sectors = (content.len() as u64) / SECTOR * SECTOR;
        assert_eq!(past.write(0, parts()).unwrap(), sectors);
        assert_eq!(std::fs::read(&path).unwrap(), content[..sectors as usize]);
        // Over the last sector, with more behind it, and less than one.
        let from = sectors - SECTOR;
        let end = past.write(from, [&content[..5000], &content[..5000]]);
        assert_eq!(end.unwrap(), from + 2 * SECTOR);
        let read = std::fs::read(&path).unwrap();
        assert_eq!(read[..from as usize], content[..from as usize]);
        assert_eq!(read[from as usize..][..5000], content[..5000]);
        assert_eq!(read[from as usize + 5000..], content[..3192]);
        assert_eq!(past.write(0, [&content[..4095]]).unwrap(), 0);
    }
}
