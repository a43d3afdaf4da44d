//! What earlier processes left: packs that were never frozen, and frozen ones that transactions know by their salt.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::pack::PREAMBLE;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::record::PackRef;

use crate::error::Error;
use crate::error::Result;

use super::DataPacks;
use super::Frozen;
use super::lock;

/// A pack of an earlier process that was never frozen: read, never appended to.
pub(super) struct Left {
    pub(super) keys: PackKeys,
    pub(super) path: PathBuf,
    pub(super) bytes: Bytes,
}

impl DataPacks {
    /// Takes up the packs of the folder; answers the files that are none.
    pub(super) fn find_left(&self) -> Result<Vec<PathBuf>> {
        let mut useless = Vec::new();
        let failed = |source| Error::io("list", &self.dir, source);
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some() {
                // A pack that was being written anew; the one it was to replace is still there.
                useless.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|source| Error::io("read", &path, source))?;
            let opened = Preamble::decode(&bytes).and_then(|preamble| {
                let keys = PackKeys::new(&self.ring, &preamble)?;
                Ok((preamble.salt, keys))
            });
            match opened {
                Ok((salt, keys)) => {
                    lock(&self.state).left.insert(
                        salt,
                        Arc::new(Left {
                            keys,
                            path,
                            bytes: bytes.into(),
                        }),
                    );
                }
                // Its first bytes never reached the disk, so nothing in it was acknowledged.
                Err(_) => useless.push(path),
            }
        }
        Ok(useless)
    }

    /// Frozen packs of an earlier process: transactions know them by their salt.
    pub(super) fn find_frozen(&self) -> Result<()> {
        for (name, _) in self.outbox.packs() {
            let Some(preamble) = self.outbox.read(name, 0..u64::from(PREAMBLE)) else {
                continue;
            };
            let Ok(preamble) = Preamble::decode(&preamble?) else {
                continue;
            };
            let pack = PackRef {
                name,
                salt: preamble.salt,
                epoch: preamble.epoch,
            };
            lock(&self.state)
                .frozen
                .insert(preamble.salt, Frozen { pack, fresh: false });
        }
        Ok(())
    }
}
