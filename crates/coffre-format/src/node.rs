//! A node of the tree: its bytes, its logical hash, and where nodes end.
//!
//! ```text
//!  version 1 ‖ level 1 ‖ packs (count, 36 bytes each) ‖ count ‖ entries
//!  entry = shared ‖ suffix length ‖ suffix ‖ value         keys are front-coded
//! ```

use std::sync::Arc;

use crate::codec::Cursor;
use crate::codec::VERSION;
use crate::codec::put_long;
use crate::codec::put_varint;
use crate::crypto::key::StructureKeys;
use crate::error::FormatError;
use crate::error::Result;
use crate::frame::FRAME_MAX;
use crate::id::Digest;
use crate::id::Epoch;
use crate::id::LogicalHash;
use crate::id::PackName;
use crate::id::Salt;
use crate::record::Child;
use crate::record::Key;
use crate::record::PackRef;
use crate::record::Pointer;
use crate::record::Record;
use crate::record::Sums;
use crate::record::Value;
use crate::record::tag;
use crate::value::PackTable;

/// Bytes of logical entries after which a run is cut.
pub const RUN_MAX: usize = 48 * 1024;
/// Levels a tree may have.
pub const LEVELS: u8 = 8;

const WHAT: &str = "tree node";
/// What most entries take encoded, in bytes.
const ENTRY_USUAL: usize = 96;

/// A node, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// What it holds, keys strictly ascending.
    pub entries: Entries,
}

/// Records or children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Level 0.
    Leaf(Vec<(Key, Arc<Value>)>),
    /// Above: children under their last key.
    Inner(Vec<(Key, Child)>),
}

impl Node {
    /// The bytes that a node frame holds. `own` is the salt of the pack it goes into: places in that pack become
    /// "this same pack"; another place without a pack name is `Malformed`, as is content that is not settled.
    pub fn encode(&self, own: Salt) -> Result<Vec<u8>> {
        let mut table = PackTable::new(own);
        let mut body = Vec::with_capacity(self.count() * ENTRY_USUAL);
        let mut previous: &[u8] = &[];
        put_varint(self.count() as u64, &mut body);
        match &self.entries {
            Entries::Leaf(entries) => {
                let mut stored = Vec::new();
                for (key, value) in entries {
                    put_key(key, &mut previous, &mut body);
                    stored.clear();
                    value.put(&mut table, &mut stored)?;
                    put_varint(stored.len() as u64, &mut body);
                    body.extend_from_slice(&stored);
                }
            }
            Entries::Inner(children) => {
                for (key, child) in children {
                    put_key(key, &mut previous, &mut body);
                    let (pack, offset) = table.index(&child.pointer.place)?;
                    for number in [pack, offset, child.pointer.stored] {
                        put_varint(u64::from(number), &mut body);
                    }
                    body.extend_from_slice(&child.pointer.digest.0);
                    body.extend_from_slice(&child.hash.0);
                    put_varint(child.sums.inodes, &mut body);
                    put_varint(child.sums.bytes, &mut body);
                }
            }
        }
        let mut bytes = vec![VERSION, self.level];
        put_varint(table.listed().len() as u64, &mut bytes);
        for pack in table.listed() {
            bytes.extend_from_slice(&pack.name.0);
            bytes.extend_from_slice(&pack.salt.0);
            bytes.extend_from_slice(&pack.epoch.0.to_le_bytes());
        }
        bytes.extend_from_slice(&body);
        if bytes.len() > FRAME_MAX as usize {
            return Err(FormatError::TooLarge {
                what: WHAT,
                limit: u64::from(FRAME_MAX),
            });
        }
        Ok(bytes)
    }

    /// Reads them; `own` is the pack that it was read from.
    pub fn decode(bytes: &[u8], own: PackRef) -> Result<Self> {
        let mut cursor = Cursor::new(bytes, WHAT);
        let [version, level] = cursor.take()?;
        if version != VERSION {
            return Err(FormatError::Unsupported {
                what: WHAT,
                version: u32::from(version),
            });
        }
        if level >= LEVELS {
            return Err(malformed("it is higher than a tree can be"));
        }
        let table = read_table(&mut cursor, own)?;
        let count = cursor.count()?;
        let entries = if level == 0 {
            Entries::Leaf(read_leaf(&mut cursor, count, &table)?)
        } else if count == 0 {
            return Err(malformed("it has no children"));
        } else {
            Entries::Inner(read_inner(&mut cursor, count, &table)?)
        };
        if !cursor.rest().is_empty() {
            return Err(malformed("bytes follow its entries"));
        }
        let node = Self { level, entries };
        if node.encode(own.salt)? != bytes {
            return Err(malformed("it is not in canonical form"));
        }
        Ok(node)
    }

    /// K(node hash, "node" ‖ level ‖ count ‖ length-prefixed keys and logical values, or child logical hashes).
    pub fn logical_hash(&self, keys: &StructureKeys) -> LogicalHash {
        let mut hasher = keys.node_hasher();
        hasher
            .update(b"node")
            .update(&[self.level])
            .update(&(self.count() as u32).to_le_bytes());
        // Handed over in one piece: the hash is far faster on a few KiB than on a few bytes at a time.
        let mut hashed = Vec::with_capacity(self.count() * ENTRY_USUAL);
        match &self.entries {
            Entries::Leaf(entries) => {
                for (key, value) in entries {
                    put_long(&mut hashed, |out| out.extend_from_slice(key.as_bytes()));
                    put_long(&mut hashed, |out| value.put_logical(out));
                }
            }
            Entries::Inner(children) => {
                for (_, child) in children {
                    hashed.extend_from_slice(&child.hash.0);
                }
            }
        }
        hasher.update(&hashed);
        LogicalHash(*hasher.finalize().as_bytes())
    }

    /// Records or children.
    fn count(&self) -> usize {
        match &self.entries {
            Entries::Leaf(entries) => entries.len(),
            Entries::Inner(children) => children.len(),
        }
    }

    /// Totals of everything below and in it.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        match &self.entries {
            Entries::Leaf(entries) => {
                for (key, value) in entries {
                    sums.inodes += u64::from(key.tag() == Some(tag::INODE));
                    if let Value::Record(Record::Block(block)) = &**value {
                        sums.bytes += block
                            .pieces
                            .iter()
                            .map(|piece| u64::from(piece.len))
                            .sum::<u64>();
                    }
                }
            }
            Entries::Inner(children) => {
                for (_, child) in children {
                    sums.inodes = sums.inodes.saturating_add(child.sums.inodes);
                    sums.bytes = sums.bytes.saturating_add(child.sums.bytes);
                }
            }
        }
        sums
    }

    /// Last key; `None` for the empty tree's root.
    pub fn last_key(&self) -> Option<&Key> {
        match &self.entries {
            Entries::Leaf(entries) => entries.last().map(|(key, _)| key),
            Entries::Inner(children) => children.last().map(|(key, _)| key),
        }
    }
}

/// Whether `key` ends a node of `level`: ≥ 7·(level+1) leading zero bits.
pub fn ends_node(keys: &StructureKeys, level: u8, key: &Key) -> bool {
    keys.boundary_zeros(key.as_bytes()) >= 7 * (u32::from(level) + 1)
}

/// What an entry counts towards [`RUN_MAX`]: 8 + key length + logical value length.
pub fn leaf_weight(key: &Key, value: &Value) -> usize {
    8 + key.as_bytes().len() + value.logical_length()
}

/// What a child counts: 8 + key length + 96.
pub fn inner_weight(key: &Key) -> usize {
    8 + key.as_bytes().len() + 96
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}

fn put_key<'a>(key: &'a Key, previous: &mut &'a [u8], out: &mut Vec<u8>) {
    let bytes = key.as_bytes();
    let shared = bytes
        .iter()
        .zip(previous.iter())
        .take_while(|(a, b)| a == b)
        .count();
    put_varint(shared as u64, out);
    put_varint((bytes.len() - shared) as u64, out);
    out.extend_from_slice(bytes.get(shared..).unwrap_or_default());
    *previous = bytes;
}

fn read_key(cursor: &mut Cursor<'_>, previous: &mut Vec<u8>) -> Result<Key> {
    let shared = cursor.varint()?;
    let shared = usize::try_from(shared)
        .ok()
        .filter(|shared| *shared <= previous.len());
    let shared = shared.ok_or(malformed("a key shares more than there is"))?;
    let length = cursor.count()?;
    let suffix = cursor.slice(length)?;
    if !previous.is_empty() && Some(suffix) <= previous.get(shared..) {
        return Err(malformed("keys do not ascend"));
    }
    previous.truncate(shared);
    previous.extend_from_slice(suffix);
    let key = Key::from_bytes(previous);
    key.parse()?;
    Ok(key)
}

fn read_table(cursor: &mut Cursor<'_>, own: PackRef) -> Result<PackTable> {
    let count = cursor.count()?;
    let mut packs = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        let name = PackName(cursor.take()?);
        let salt = Salt(cursor.take()?);
        packs.push(PackRef {
            name,
            salt,
            epoch: Epoch(cursor.u32()?),
        });
    }
    Ok(PackTable::of(own, packs))
}

fn read_leaf(
    cursor: &mut Cursor<'_>,
    count: usize,
    table: &PackTable,
) -> Result<Vec<(Key, Arc<Value>)>> {
    let mut entries = Vec::with_capacity(count.min(4096));
    let mut previous = Vec::new();
    for _ in 0..count {
        let key = read_key(cursor, &mut previous)?;
        let length = cursor.count()?;
        let tag = key.parse()?.tag;
        let value = Value::decode(tag, cursor.slice(length)?, table)?;
        entries.push((key, Arc::new(value)));
    }
    Ok(entries)
}

fn read_inner(
    cursor: &mut Cursor<'_>,
    count: usize,
    table: &PackTable,
) -> Result<Vec<(Key, Child)>> {
    let mut children = Vec::with_capacity(count.min(4096));
    let mut previous = Vec::new();
    for _ in 0..count {
        let key = read_key(cursor, &mut previous)?;
        let (pack, offset) = (cursor.varint_u32()?, cursor.varint_u32()?);
        let stored = cursor.varint_u32()?;
        if stored > FRAME_MAX {
            return Err(malformed("a child is too long"));
        }
        let pointer = Pointer {
            place: table.place(pack, offset)?,
            stored,
            digest: Digest(cursor.take()?),
        };
        let hash = LogicalHash(cursor.take()?);
        let sums = Sums {
            inodes: cursor.varint()?,
            bytes: cursor.varint()?,
        };
        children.push((
            key,
            Child {
                pointer,
                hash,
                sums,
            },
        ));
    }
    Ok(children)
}
