//! Ranges of packs, from wherever they are: outbox, cache, or the store.
//!
//! What comes from the store covers whole 64 KiB spans where the length of the pack is known, so that what is
//! read tells the store less; the same spans fill the cache. No span is asked for while it is on its way, alone or with
//! others.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use bytes::BytesMut;
use coffre_format::id::PackName;
use coffre_format::name::ObjectName;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::future::Shared;
use futures::future::WeakShared;

use crate::error::Error;
use crate::error::Result;
use crate::store::Cache;
use crate::store::Outbox;
use crate::store::Rank;
use crate::store::Store;

/// Unit of reading and caching, in bytes.
const SPAN: u64 = 64 * 1024;
/// Ranges from the store that are kept in memory where nothing else is said, in bytes.
const RECENT: u64 = 8 * 1024 * 1024;
/// Packs whose lengths are remembered.
const LENGTHS_MOST: u64 = 32 * 1024;

type Fetch = BoxFuture<'static, Result<Bytes>>;

/// How somebody reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// From the front to the back.
    InOrder,
    /// At places that do not follow one another.
    HereAndThere,
}

struct Inner {
    store: Store,
    cache: Option<Cache>,
    outbox: Outbox,
    lengths: moka::sync::Cache<PackName, u64>,
    /// GETs on their way, by each span that they bring.
    flying: Mutex<HashMap<(PackName, u64), Flight>>,
    /// Spans that came lately, by their start.
    recent: moka::sync::Cache<(PackName, u64), Bytes>,
}

/// A GET on its way.
struct Flight {
    range: Range<u64>,
    fetch: WeakShared<Fetch>,
}

impl Flight {
    /// What it brings of a range within one span, if it brings all of it. One that has answered is no more on its way:
    /// whoever asks again wants another answer.
    fn part(&self, wanted: &Range<u64>) -> Option<Part> {
        let whole = self.range.start <= wanted.start && wanted.end <= self.range.end;
        let fetch = self.fetch.upgrade().filter(|_| whole)?;
        fetch.peek().is_none().then(|| Part {
            range: wanted.clone(),
            begins: self.range.start,
            fetch,
            shared: true,
        })
    }
}

/// A part of what somebody waits for.
struct Part {
    range: Range<u64>,
    /// Where what `fetch` brings begins.
    begins: u64,
    fetch: Shared<Fetch>,
    /// Somebody else asked for it.
    shared: bool,
}

impl Part {
    /// Whether another part follows this one in the same answer.
    fn is_same(&self, next: &Self) -> bool {
        self.range.end == next.range.start && self.fetch.ptr_eq(&next.fetch)
    }
}

/// Reads ranges of packs. Clones share it.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

impl Reader {
    /// Over a store, an outbox and, unless the store is a local folder, a cache.
    pub fn new(store: Store, cache: Option<Cache>, outbox: Outbox) -> Self {
        Self::keeping(store, cache, outbox, RECENT)
    }

    /// The same, with so many bytes of what came from the store kept in memory.
    pub fn keeping(store: Store, cache: Option<Cache>, outbox: Outbox, recent: u64) -> Self {
        let recent = moka::sync::Cache::builder()
            .max_capacity(recent)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .build();
        Self(Arc::new(Inner {
            store,
            cache,
            outbox,
            lengths: moka::sync::Cache::new(LENGTHS_MOST),
            flying: Mutex::default(),
            recent,
        }))
    }

    /// Exactly this range.
    pub async fn read(&self, pack: PackName, range: Range<u64>, rank: Rank) -> Result<Bytes> {
        if let Some(bytes) = self.0.outbox.read(pack, range.clone()) {
            return bytes;
        }
        if let Some(bytes) = self.ready(pack, range.clone()) {
            return Ok(bytes);
        }
        let wide = self.widen(pack, &range);
        let bytes = self.fetch(pack, wide.clone(), rank).await?;
        Ok(bytes.slice(within(&range, &wide)))
    }

    /// The same from the store, whatever is here.
    pub async fn read_stored(
        &self,
        pack: PackName,
        range: Range<u64>,
        rank: Rank,
    ) -> Result<Bytes> {
        let wide = self.widen(pack, &range);
        let bytes = self.0.get(pack, wide.clone(), rank).await?;
        Ok(bytes.slice(within(&range, &wide)))
    }

    /// Brings a range near, so that reading parts of it needs no request.
    pub async fn prefetch(&self, pack: PackName, range: Range<u64>, rank: Rank) -> Result<()> {
        if self.0.outbox.contains(pack) || self.ready(pack, range.clone()).is_some() {
            return Ok(());
        }
        self.fetch(pack, self.widen(pack, &range), rank)
            .await
            .map(drop)
    }

    /// Exactly this range, only if it is here; never waits for a network.
    pub fn ready(&self, pack: PackName, range: Range<u64>) -> Option<Bytes> {
        self.ready_for(Pattern::InOrder, pack, range)
    }

    /// The same for somebody who reads in this way.
    pub fn ready_for(&self, reader: Pattern, pack: PackName, range: Range<u64>) -> Option<Bytes> {
        if let Some(bytes) = self.0.outbox.read(pack, range.clone()) {
            return bytes.ok();
        }
        let store = &self.0.store;
        self.recent(pack, &range)
            .or_else(|| self.0.cache.as_ref()?.read(pack, range.clone()))
            .or_else(|| match reader {
                Pattern::InOrder => store.read_here(&ObjectName::Pack(pack), &range),
                Pattern::HereAndThere => store.read_here_and_there(&ObjectName::Pack(pack), &range),
            })
    }

    /// Says that this range will be asked for soon, where that can bring it nearer at no cost.
    pub fn will_need(&self, pack: PackName, range: &Range<u64>) {
        self.0.store.will_need(&ObjectName::Pack(pack), range);
    }

    /// Tells the length of a pack (from a commit or listing), so that reads can cover whole spans.
    pub fn learn(&self, pack: PackName, length: u64) {
        self.0.lengths.insert(pack, length);
    }

    /// Keeps what another reader of the same store brought lately, in the cache as well: it opened there.
    pub fn take_over(&self, other: &Self) {
        for (place, bytes) in &other.0.recent {
            let (pack, start) = *place;
            if let Some(cache) = &self.0.cache {
                cache.insert(pack, start, &bytes, Rank::Node);
            }
            self.0.recent.insert((pack, start), bytes);
        }
    }

    /// Forgets bytes that did not open.
    pub fn discard(&self, pack: PackName, range: Range<u64>) {
        for span in spans(&range) {
            self.0.recent.invalidate(&(pack, span));
        }
        if let Some(cache) = &self.0.cache {
            cache.discard(pack, range);
        }
    }

    /// Packs that are not uploaded yet.
    pub fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// The local cache, if there is one.
    pub fn cache(&self) -> Option<&Cache> {
        self.0.cache.as_ref()
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Whether requests go to a folder here instead of over a network.
    pub fn is_on_this_machine(&self) -> bool {
        self.0.store.uri().local_path().is_some()
    }

    /// Whole spans, as far as the pack is known to reach.
    fn widen(&self, pack: PackName, range: &Range<u64>) -> Range<u64> {
        let start = range.start / SPAN * SPAN;
        let end = match self.0.lengths.get(&pack) {
            Some(length) => (range.end.div_ceil(SPAN) * SPAN).min(length).max(range.end),
            None => range.end,
        };
        start..end
    }

    /// A range from the store, less what is here or on its way already.
    async fn fetch(&self, pack: PackName, range: Range<u64>, rank: Rank) -> Result<Bytes> {
        if range.is_empty() {
            return self.0.get(pack, range, rank).await;
        }
        let parts = self.board(pack, &range, rank);
        let fetches = parts.iter().map(|part| part.fetch.clone());
        let fetched = futures::future::join_all(fetches).await;
        let mut joined = BytesMut::new();
        for (part, bytes) in parts.iter().zip(fetched) {
            let bytes = match bytes {
                Ok(bytes) => bytes.slice(within(&part.range, &(part.begins..part.range.end))),
                // What others asked for was more, and may have failed for that.
                Err(_) if part.shared => return self.0.get(pack, range, rank).await,
                Err(error) => return Err(error),
            };
            if parts.len() == 1 {
                return Ok(bytes);
            }
            joined.extend_from_slice(&bytes);
        }
        Ok(joined.freeze())
    }

    /// The parts of a range, in order: each is here, on its way, or asked for now.
    fn board(&self, pack: PackName, range: &Range<u64>, rank: Rank) -> Vec<Part> {
        let mut flying = self.0.flying.lock().unwrap_or_else(PoisonError::into_inner);
        flying.retain(|_, flight| flight.fetch.upgrade().is_some());
        let mut parts: Vec<Part> = Vec::new();
        let mut missing: Option<Range<u64>> = None;
        for span in spans(range) {
            let wanted = span.max(range.start)..(span + SPAN).min(range.end);
            let there = self
                .here(pack, &wanted)
                .or_else(|| flying.get(&(pack, span))?.part(&wanted));
            match there {
                Some(part) => {
                    if let Some(run) = missing.take() {
                        parts.push(self.take_off(&mut flying, pack, run, rank));
                    }
                    match parts.last_mut() {
                        Some(last) if last.is_same(&part) => last.range.end = part.range.end,
                        _ => parts.push(part),
                    }
                }
                None => missing = Some(missing.map_or(wanted.start, |run| run.start)..wanted.end),
            }
        }
        if let Some(run) = missing {
            parts.push(self.take_off(&mut flying, pack, run, rank));
        }
        parts
    }

    fn here(&self, pack: PackName, wanted: &Range<u64>) -> Option<Part> {
        let bytes = self.ready(pack, wanted.clone())?;
        let here: Fetch = std::future::ready(Ok(bytes)).boxed();
        Some(Part {
            range: wanted.clone(),
            begins: wanted.start,
            fetch: here.shared(),
            shared: false,
        })
    }

    fn take_off(
        &self,
        flying: &mut HashMap<(PackName, u64), Flight>,
        pack: PackName,
        range: Range<u64>,
        rank: Rank,
    ) -> Part {
        let (inner, run) = (self.0.clone(), range.clone());
        let fetch: Fetch = async move { inner.get(pack, run, rank).await }.boxed();
        let fetch = fetch.shared();
        for span in spans(&range) {
            let weak = fetch.downgrade();
            flying.extend(weak.map(|fetch| {
                let range = range.clone();
                ((pack, span), Flight { range, fetch })
            }));
        }
        Part {
            begins: range.start,
            range,
            fetch,
            shared: false,
        }
    }

    /// A range out of the spans that came lately.
    fn recent(&self, pack: PackName, range: &Range<u64>) -> Option<Bytes> {
        let mut joined = BytesMut::new();
        let single = range.start / SPAN == (range.end - 1) / SPAN;
        for span in spans(range) {
            let bytes = self.0.recent.get(&(pack, span))?;
            let from = range.start.saturating_sub(span) as usize;
            let until = (range.end - span).min(SPAN) as usize;
            if until > bytes.len() {
                return None;
            }
            if single {
                return Some(bytes.slice(from..until));
            }
            joined.extend_from_slice(&bytes[from..until]);
        }
        Some(joined.freeze())
    }
}

impl Inner {
    async fn get(&self, pack: PackName, range: Range<u64>, rank: Rank) -> Result<Bytes> {
        let name = ObjectName::Pack(pack);
        if range.is_empty() {
            return Err(Error::Truncated {
                object: name.to_string(),
                path: None,
            });
        }
        let bytes = self.store.read_if_there(&name, range.clone()).await?;
        for span in spans(&range) {
            let from = (span - range.start) as usize;
            let part = &bytes[from..bytes.len().min(from + SPAN as usize)];
            // A copy, so that one span that stays does not hold all that came with it.
            self.recent
                .insert((pack, span), Bytes::copy_from_slice(part));
        }
        if let Some(cache) = &self.cache {
            cache.insert(pack, range.start, &bytes, rank);
        }
        Ok(bytes)
    }
}

/// Where a part of a range is in its bytes.
fn within(part: &Range<u64>, whole: &Range<u64>) -> Range<usize> {
    (part.start - whole.start) as usize..(part.end - whole.start) as usize
}

/// Starts of the spans that a range touches.
fn spans(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    (range.start / SPAN..range.end.div_ceil(SPAN)).map(|span| span * SPAN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_asked_for_twice_while_it_is_on_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::memory();
        let pack = PackName([1; 16]);
        let content: Vec<u8> = (0..3_000_000u32).map(|index| (index / 7) as u8).collect();
        let name = ObjectName::Pack(pack);
        store.put(&name, content.clone().into()).await.unwrap();
        let reader = Reader::new(store.clone(), None, Outbox::open(dir.path()).unwrap());
        reader.learn(pack, content.len() as u64);
        // A window, frames that cross its spans and its borders, and neighbours that share a span.
        let window = reader.prefetch(pack, 500_000..2_000_000, Rank::Data);
        let ranges: Vec<Range<u64>> = (0..20)
            .map(|index| 300_000 + index * 131_124..431_124 + index * 131_124)
            .collect();
        let frames = ranges.iter().map(|range| {
            let range = range.clone();
            let reader = &reader;
            async move { reader.read(pack, range, Rank::Data).await }
        });
        let (fetched, read) = tokio::join!(window, futures::future::join_all(frames));
        fetched.unwrap();
        for (range, bytes) in ranges.iter().zip(read) {
            let expected = &content[range.start as usize..range.end as usize];
            assert_eq!(bytes.unwrap(), expected);
        }
        let (first, last) = (300_000 / SPAN * SPAN, ranges[19].end.div_ceil(SPAN) * SPAN);
        assert_eq!(store.counts().received, last - first, "each span came once");
    }

    #[tokio::test]
    async fn one_get_serves_neighbours_and_everybody_who_asks_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::memory();
        let pack = PackName([1; 16]);
        let content: Vec<u8> = (0..300_000u32).map(|index| (index / 7) as u8).collect();
        store
            .put(&ObjectName::Pack(pack), content.clone().into())
            .await
            .unwrap();
        let reader = Reader::new(store.clone(), None, Outbox::open(dir.path()).unwrap());
        reader.learn(pack, content.len() as u64);
        let reads = (0..8).map(|_| reader.read(pack, 70_000..140_000, Rank::Data));
        for bytes in futures::future::join_all(reads).await {
            assert_eq!(bytes.unwrap(), content[70_000..140_000]);
        }
        assert_eq!(
            reader.read(pack, 65_536..65_600, Rank::Data).await.unwrap(),
            content[65_536..65_600]
        );
        assert_eq!(
            reader.ready(pack, 190_000..196_000).unwrap(),
            content[190_000..196_000]
        );
        assert_eq!(store.counts().gets, 1);
        assert_eq!(
            reader
                .read(pack, 299_000..300_000, Rank::Data)
                .await
                .unwrap(),
            content[299_000..]
        );
        assert!(
            reader
                .read(pack, 299_000..300_001, Rank::Data)
                .await
                .is_err()
        );
        reader.discard(pack, 65_536..65_600);
        assert!(reader.ready(pack, 65_536..65_600).is_none());
    }
}
