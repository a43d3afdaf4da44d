//! Directory listings through a handle: cookies are ordinals, stable while entries come and go.

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use coffre_format::id::Inode;
use coffre_format::id::LogicalHash;
use coffre_format::id::Lsn;
use coffre_format::record::FileKind;

use crate::error::Result;
use crate::fs::core::Core;
use crate::fs::inner::Inner;
use crate::fs::namespace::directory;
use crate::fs::types::Listed;

/// Names read at a time.
const CHUNK: usize = 512;
/// Entries that are there for one answer, unless the directory ends.
const AHEAD: u64 = CHUNK as u64 / 4;
/// Entries that are looked up again at a time: about as many as a small answer has room for.
const RENEWED: usize = 32;
/// Entries a handle keeps behind the reader before the oldest are dropped.
const KEPT: usize = 4 * CHUNK;
/// Chunks whose names a handle finds again at their places: half a million names in 4 MiB. A reader that steps back further
/// meets names at the places that they have by then.
const MARKS: usize = 1024;

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
        if cookie == 0 {
            // A rewound directory is read anew.
            *stream = Stream::default();
        } else if cookie < stream.first {
            stream.step_back(cookie);
        }
        let mut from = cookie;
        loop {
            while !stream.is_complete() && stream.end() < from.saturating_add(AHEAD) {
                match self.read_more(inode, &mut stream, with_attributes).await {
                    Ok(()) => stream.forget_before(cookie),
                    // What is at hand is shown before anybody hears that there is no more; every folder has the first two.
                    Err(_) if from < stream.end() && stream.end() > 2 => break,
                    Err(error) => return Err(error),
                }
            }
            let mut shown = false;
            while from < stream.end() {
                let skip = (from - stream.first) as usize;
                let at_hand = stream.entries.get_mut(skip..).unwrap_or_default();
                let ready = match with_attributes {
                    true => self.renew(inode, at_hand).await,
                    false => Ok(at_hand.len()),
                };
                let ready = match ready {
                    Err(_) if shown => return Ok(()),
                    ready => ready?,
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
            if shown || stream.is_complete() {
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
        if let Some(mark) = stream.marks.get(stream.next) {
            let found = self.find_again(inode, mark).await?;
            found.into_iter().for_each(|entry| stream.push_again(entry));
            stream.next += 1;
            return Ok(());
        }
        let after = stream.marks.last().map(|mark| mark.last.clone());
        let (entries, moment) = self
            .query(|view, core| {
                let entries =
                    directory::list(view, inode, after.as_deref(), CHUNK, with_attributes)?;
                Ok((entries, Moment::of(core)))
            })
            .await?;
        stream.is_at_end = entries.len() < CHUNK;
        stream.mark(after, &entries);
        for entry in entries {
            stream.push(entry, with_attributes.then_some(moment));
        }
        Ok(())
    }

    /// The names of a chunk as they came before, `None` where one is gone. What has come between them since is left out.
    async fn find_again(&self, directory: Inode, mark: &Mark) -> Result<Vec<Option<Listed>>> {
        let mut found = Vec::with_capacity(mark.hashes.len());
        let mut after = mark.after.clone();
        while found.len() < mark.hashes.len() {
            let part = self
                .query(|view, _| directory::list(view, directory, after.as_deref(), CHUNK, false))
                .await?;
            let is_last = part.len() < CHUNK;
            after = part.last().map(|entry| entry.name.clone());
            let is_behind = after.as_ref().is_none_or(|name| *name >= mark.last);
            for entry in part {
                let left = mark.hashes.get(found.len()..).unwrap_or_default();
                let hash = hash(&entry.name);
                if let Some(gone) = left.iter().position(|one| *one == hash) {
                    found.extend((0..gone).map(|_| None));
                    found.push(Some(entry));
                }
            }
            if is_last || is_behind {
                found.resize_with(mark.hashes.len(), || None);
            }
        }
        Ok(found)
    }

    /// Answers how many of these, from the first on, are as they are now; where it is not even the first, some are looked up again.
    async fn renew(&self, directory: Inode, entries: &mut [Known]) -> Result<usize> {
        let now = Moment::of(&self.core());
        let fresh = entries.iter().take_while(|known| known.is_of(now)).count();
        if fresh > 0 {
            return Ok(fresh);
        }
        let renewed = entries.len().min(RENEWED);
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
    /// Of the chunks that were read, in order.
    marks: Vec<Mark>,
    /// The one that continues what is kept.
    next: usize,
    /// Whether the last one is the last of the directory.
    is_at_end: bool,
}

/// What is kept of a chunk for a reader that steps back.
struct Mark {
    /// Ordinal of its first name.
    first: u64,
    /// The name before it.
    after: Option<Vec<u8>>,
    /// Its last name.
    last: Vec<u8>,
    /// Of each name.
    hashes: Vec<u64>,
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
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

    fn is_complete(&self) -> bool {
        self.is_at_end && self.next == self.marks.len()
    }

    fn push(&mut self, mut entry: Listed, as_of: Option<Moment>) {
        entry.cookie = self.end() + 1;
        self.entries.push(Known {
            entry,
            as_of,
            gone: false,
        });
    }

    /// As [`Stream::push`], for what was there once; the place of what is gone stays.
    fn push_again(&mut self, entry: Option<Listed>) {
        let gone = entry.is_none();
        let nothing = || Listed {
            cookie: 0,
            name: Vec::new(),
            inode: Inode(0),
            kind: FileKind::Regular,
            attributes: None,
        };
        self.push(entry.unwrap_or_else(nothing), None);
        if let Some(known) = self.entries.last_mut() {
            known.gone = gone;
        }
    }

    /// Notes a chunk that is about to be kept.
    fn mark(&mut self, after: Option<Vec<u8>>, chunk: &[Listed]) {
        let Some(last) = chunk.last() else { return };
        if self.marks.len() == MARKS {
            self.marks.remove(0);
        }
        self.marks.push(Mark {
            first: self.end(),
            after,
            last: last.name.clone(),
            hashes: chunk.iter().map(|entry| hash(&entry.name)).collect(),
        });
        self.next = self.marks.len();
    }

    /// Goes on from the chunk in which this place is.
    fn step_back(&mut self, cookie: u64) {
        let chunks = self.marks.iter().enumerate().rev();
        let mut before = chunks.map(|(at, mark)| (at, mark.first));
        match before.find(|(_, first)| *first <= cookie) {
            Some((at, first)) => {
                self.entries.clear();
                (self.first, self.next) = (first, at);
            }
            // Before the first name are only the two that every folder has.
            None if self.marks.first().is_some_and(|mark| mark.first == 2) => {
                self.entries.clear();
                (self.first, self.next) = (0, 0);
            }
            None => *self = Self::default(),
        }
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
            stream.push(entry(Vec::new()), None);
        }
        stream
    }

    fn entry(name: Vec<u8>) -> Listed {
        Listed {
            cookie: 0,
            name,
            inode: Inode(7),
            kind: FileKind::Regular,
            attributes: None,
        }
    }

    #[test]
    fn a_handle_keeps_few_entries_and_all_that_the_reader_has_not_seen() {
        let mut stream = stream(KEPT * 10);
        stream.forget_before(KEPT as u64 * 9);
        assert_eq!(stream.first, (KEPT * 9 - KEPT / 2) as u64);
        assert_eq!(stream.end(), KEPT as u64 * 10);
    }

    #[test]
    fn a_reader_steps_back_to_the_chunk_that_it_is_in() {
        let mut stream = Stream::default();
        for chunk in 0..MARKS + 2 {
            let names: Vec<_> = (0..CHUNK)
                .map(|index| entry(format!("{chunk:04} {index:03}").into_bytes()))
                .collect();
            stream.mark(None, &names);
            for entry in names {
                stream.push(entry, None);
            }
            stream.forget_before(stream.end());
        }
        assert_eq!(stream.marks.len(), MARKS);
        let third = 2 * CHUNK as u64;
        stream.step_back(third + 5);
        assert_eq!((stream.first, stream.next), (third, 0));
        assert!(stream.entries.is_empty() && !stream.is_complete());
        // Further back than is known: from the beginning.
        stream.step_back(third - 1);
        assert_eq!((stream.first, stream.marks.len()), (0, 0));
    }

    #[test]
    fn a_reader_may_ask_for_what_lies_behind_the_end() {
        let mut stream = stream(10);
        stream.forget_before(u64::MAX);
        assert_eq!((stream.first, stream.end()), (10, 10));
    }
}
