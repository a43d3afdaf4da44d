//! Files and folders between this machine and a vault, with what they have beside their content.

mod download;
mod local;
mod upload;

use indicatif::ProgressBar;
use serde::Serialize;

pub use download::Download;
pub use upload::Upload;
pub use upload::local_size;

/// Bytes that are held of a file at a time.
const CHUNK: u64 = 1 << 20;

/// What was transferred.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Files of all kinds but folders.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes of content, without holes.
    pub bytes: u64,
    /// What could not be kept, in words.
    pub notes: Vec<String>,
}

/// Notes that are kept; more are counted only.
const NOTES: usize = 100;

impl Report {
    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push(text);
        }
    }
}

/// Bytes up to the next multiple of a chunk, so that all but the first write cover whole blocks.
fn chunk_at(offset: u64, end: u64) -> u64 {
    (CHUNK - offset % CHUNK).min(end.saturating_sub(offset))
}

fn advance(report: &mut Report, bar: &ProgressBar, bytes: u64) {
    report.bytes += bytes;
    bar.inc(bytes);
}
