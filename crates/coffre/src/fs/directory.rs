//! Directory listings through a handle: cookies are ordinals, stable while entries come and go.

use coffre_format::id::Inode;

use crate::error::Result;
use crate::fs::handle::Stream;
use crate::fs::inner::Inner;
use crate::fs::namespace::directory;
use crate::fs::types::Listed;

/// Names read at a time.
const CHUNK: usize = 512;
/// Entries a handle keeps behind the reader before the oldest are dropped.
const KEPT: usize = 64 * 1024;

impl Inner {
    /// Entries after `cookie`, at most `limit`.
    pub(crate) async fn list(
        &self,
        inode: Inode,
        stream: &tokio::sync::Mutex<Stream>,
        cookie: u64,
        limit: usize,
        with_attributes: bool,
    ) -> Result<Vec<Listed>> {
        let mut stream = stream.lock().await;
        if cookie == 0 {
            // A rewound directory is read anew.
            *stream = Stream::default();
        }
        let wanted = cookie.saturating_add(limit as u64);
        while !stream.complete && stream.end() < wanted.min(cookie + CHUNK as u64) {
            self.read_more(inode, &mut stream, with_attributes).await?;
        }
        let skip = usize::try_from(cookie.saturating_sub(stream.first)).unwrap_or(usize::MAX);
        let listed: Vec<Listed> = stream
            .entries
            .iter()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect();
        stream.forget_before(cookie);
        Ok(listed)
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
        let behind = usize::try_from(cookie.saturating_sub(self.first)).unwrap_or(0);
        if behind > KEPT {
            self.entries.drain(..behind - KEPT / 2);
            self.first += (behind - KEPT / 2) as u64;
        }
    }
}
