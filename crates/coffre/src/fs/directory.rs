//! Directory listings through a handle: cookies are ordinals, stable while entries come and go.

use coffre_format::id::Inode;
use coffre_format::id::LogicalHash;
use coffre_format::id::Lsn;

use crate::error::Result;
use crate::fs::core::Core;
use crate::fs::inner::Inner;
use crate::fs::namespace::directory;
use crate::fs::types::Listed;

/// Names read at a time.
const CHUNK: usize = 512;
/// Entries that are there for one answer, unless the directory ends, and that are looked up again at a time.
const AHEAD: u64 = CHUNK as u64 / 4;
/// Entries a handle keeps behind the reader before the oldest are dropped.
const KEPT: usize = 4 * CHUNK;

impl Inner {
    /// Shows entries after `cookie`, until no more are taken or what is at hand is at its end; none at all only at the end of
    /// the directory. What is shown with attributes is as it is now, whenever its name was read: the kernel believes it for long.
    pub(crate) async fn list(
        &self,
        inode: Inode,
        stream: &tokio::sync::Mutex<Stream>,
        cookie: u64,
        with_attributes: bool,
        mut take: impl FnMut(&Listed) -> bool,
    ) -> Result<()> {
        let mut stream = stream.lock().await;
        if cookie == 0 || cookie < stream.first {
            // A rewound directory is read anew, and so is one whose reader steps back further than is kept.
            *stream = Stream::default();
        }
        let mut from = cookie;
        loop {
            while !stream.complete && stream.end() < from.saturating_add(AHEAD) {
                self.read_more(inode, &mut stream, with_attributes).await?;
                stream.forget_before(cookie);
            }
            let mut shown = false;
            while from < stream.end() {
                let skip = (from - stream.first) as usize;
                let at_hand = stream.entries.get_mut(skip..).unwrap_or_default();
                let ready = match with_attributes {
                    true => self.renew(inode, at_hand).await?,
                    false => at_hand.len(),
                };
                for known in at_hand.iter().take(ready).filter(|known| !known.gone) {
                    if !take(&known.entry) {
                        return Ok(());
                    }
                    shown = true;
                }
                from += ready as u64;
            }
            // Where all of them are gone, that is not the end.
            if shown || stream.complete {
                return Ok(());
            }
        }
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
            for (name, attributes) in [(OWN, own), (PARENT, parent)] {
                let entry = Listed {
                    cookie: 0,
                    name: name.to_vec(),
                    inode: attributes.inode,
                    kind: attributes.kind,
                    attributes: Some(attributes),
                };
                stream.push(entry, None);
            }
        }
        let after = stream.last_name.clone();
        let (entries, moment) = self
            .query(|view, core| {
                let entries =
                    directory::list(view, inode, after.as_deref(), CHUNK, with_attributes)?;
                Ok((entries, Moment::of(core)))
            })
            .await?;
        stream.complete = entries.len() < CHUNK;
        for entry in entries {
            stream.last_name = Some(entry.name.clone());
            stream.push(entry, with_attributes.then_some(moment));
        }
        Ok(())
    }

    /// Answers how many of these, from the first on, are as they are now; where it is not even the first, some are looked up again.
    async fn renew(&self, directory: Inode, entries: &mut [Known]) -> Result<usize> {
        let now = Moment::of(&self.core());
        let fresh = entries.iter().take_while(|known| known.is_of(now)).count();
        if fresh > 0 {
            return Ok(fresh);
        }
        let renewed = entries.len().min(AHEAD as usize);
        let entries = entries.get_mut(..renewed).unwrap_or_default();
        let names = || entries.iter().map(|known| &known.entry.name[..]);
        let (found, moment) = self
            .query(|view, core| {
                let found = directory::again(view, directory, names())?;
                Ok((found, Moment::of(core)))
            })
            .await?;
        for (known, found) in entries.iter_mut().zip(found) {
            known.as_of = Some(moment);
            known.gone = found.is_none();
            if let Some((entry, attributes)) = found {
                known.entry.inode = entry.inode;
                known.entry.kind = entry.kind;
                known.entry.attributes = attributes;
            }
        }
        Ok(renewed)
    }
}

/// What the directory and the one that holds it are called in a listing.
const OWN: &[u8] = b".";
const PARENT: &[u8] = b"..";

/// A listing in progress: cookies are ordinals in it.
#[derive(Default)]
pub(crate) struct Stream {
    /// Entries read, from ordinal `first` on; kept so that a reader may step back.
    entries: Vec<Known>,
    /// Ordinal of the first one kept.
    first: u64,
    /// Where the next chunk continues.
    last_name: Option<Vec<u8>>,
    /// Whether the end has been seen.
    complete: bool,
}

struct Known {
    entry: Listed,
    /// When its attributes were looked up, if they were.
    as_of: Option<Moment>,
    /// It was no more there then; its ordinal stays.
    gone: bool,
}

impl Known {
    /// Nobody believes what a listing says of the directory itself and of the one that holds it.
    fn is_of(&self, moment: Moment) -> bool {
        self.as_of == Some(moment) || self.entry.name == OWN || self.entry.name == PARENT
    }
}

/// A state of the file system: another one has another last transaction, or another tree below.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment(Lsn, LogicalHash);

impl Moment {
    fn of(core: &Core) -> Self {
        Self(core.lsn, core.root.hash)
    }
}

impl Stream {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn push(&mut self, mut entry: Listed, as_of: Option<Moment>) {
        entry.cookie = self.end() + 1;
        self.entries.push(Known {
            entry,
            as_of,
            gone: false,
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
            let entry = Listed {
                cookie: 0,
                name: Vec::new(),
                inode: Inode(7),
                kind: coffre_format::record::FileKind::Regular,
                attributes: None,
            };
            stream.push(entry, None);
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
