//! Directory listings through a handle: cookies are ordinals, stable while entries come and go.

use coffre_format::id::Inode;

use crate::error::Result;
use crate::fs::handle::Stream;
use crate::fs::inner::Inner;
use crate::fs::namespace::directory;
use crate::fs::types::Listed;

/// Names read at a time.
const CHUNK: usize = 512;
/// Entries that are there for one answer, unless the directory ends.
const AHEAD: u64 = CHUNK as u64 / 4;
/// Entries a handle keeps behind the reader before the oldest are dropped.
const KEPT: usize = 4 * CHUNK;

impl Inner {
    /// Shows entries after `cookie`, until no more are taken or a chunk is at its end.
    pub(crate) async fn list(
        &self,
        inode: Inode,
        stream: &tokio::sync::Mutex<Stream>,
        cookie: u64,
        with_attributes: bool,
        take: impl FnMut(&Listed) -> bool,
    ) -> Result<()> {
        let mut stream = stream.lock().await;
        if cookie == 0 || cookie < stream.first {
            // A rewound directory is read anew, and so is one whose reader steps back further than is kept.
            *stream = Stream::default();
        }
        while !stream.complete && stream.end() < cookie.saturating_add(AHEAD) {
            self.read_more(inode, &mut stream, with_attributes).await?;
            stream.forget_before(cookie);
        }
        let skip = usize::try_from(cookie.saturating_sub(stream.first)).unwrap_or(usize::MAX);
        // Stops at the first that is not taken.
        let _ = stream.entries.iter().skip(skip).all(take);
        Ok(())
    }

    async fn read_more(
        &self,
        inode: Inode,
        stream: &mut Stream,
        with_attributes: bool,
    ) -> Result<()> {
        if stream.end() == 0 {
            let (own, parent) = self
                .query(|view, _| {
                    let own = view.attributes(inode)?;
                    let parent = view.attributes(directory::parent_of(view, inode)?)?;
                    Ok((own, parent))
                })
                .await?;
            stream.push(b".".to_vec(), own.inode, own.kind, Some(own));
            stream.push(b"..".to_vec(), parent.inode, parent.kind, Some(parent));
        }
        let after = stream.last_name.clone();
        let entries = self
            .query(|view, _| directory::list(view, inode, after.as_deref(), CHUNK, with_attributes))
            .await?;
        stream.complete = entries.len() < CHUNK;
        for entry in entries {
            stream.last_name = Some(entry.name.clone());
            stream.push(entry.name, entry.inode, entry.kind, entry.attributes);
        }
        Ok(())
    }
}

impl Stream {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn push(
        &mut self,
        name: Vec<u8>,
        inode: Inode,
        kind: coffre_format::record::FileKind,
        attributes: Option<crate::fs::types::Attributes>,
    ) {
        let cookie = self.end() + 1;
        self.entries.push(Listed {
            cookie,
            name,
            inode,
            kind,
            attributes,
        });
    }

    /// A reader steps back at most a little; what lies far behind is dropped.
    fn forget_before(&mut self, cookie: u64) {
        let behind = usize::try_from(cookie.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if behind > KEPT {
            // A reader may ask for what lies behind the end.
            let count = (behind - KEPT / 2).min(self.entries.len());
            self.entries.drain(..count);
            self.first += count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(entries: usize) -> Stream {
        let mut stream = Stream::default();
        for _ in 0..entries {
            stream.push(
                Vec::new(),
                Inode(7),
                coffre_format::record::FileKind::Regular,
                None,
            );
        }
        stream
    }

    #[test]
    fn a_handle_keeps_few_entries_and_all_that_the_reader_has_not_seen() {
        let mut stream = stream(KEPT * 10);
        stream.forget_before(KEPT as u64 * 9);
        assert_eq!(stream.first, (KEPT * 9 - KEPT / 2) as u64);
        assert_eq!(stream.end(), KEPT as u64 * 10);
    }

    #[test]
    fn a_reader_may_ask_for_what_lies_behind_the_end() {
        let mut stream = stream(10);
        stream.forget_before(u64::MAX);
        assert_eq!((stream.first, stream.end()), (10, 10));
    }
}
