//! Records as bytes: the logical form that hashes cover, and the stored form that nodes hold.
//!
//! Both are `version u8 ‖ postcard`, and differ only in pointers: the logical form names a frame by its
//! digest alone, the stored form adds where it is, with an index into the node's table of packs. Version 0
//! stands for a value that was spilled into a data frame.

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;

use crate::codec::VERSION;
use crate::codec::decode_part;
use crate::codec::decode_part_bare;
use crate::codec::length;
use crate::codec::put;
use crate::codec::put_bare;
use crate::error::FormatError;
use crate::error::Result;
use crate::id::Digest;
use crate::id::Inode;
use crate::id::Salt;
use crate::record::BLOCK;
use crate::record::Block;
use crate::record::Content;
use crate::record::FileKind;
use crate::record::INLINE;
use crate::record::InodeRecord;
use crate::record::Key;
use crate::record::PIECES;
use crate::record::PackRef;
use crate::record::ParsedKey;
use crate::record::Piece;
use crate::record::Place;
use crate::record::Pointer;
use crate::record::Record;
use crate::record::SPILL;
use crate::record::SlotRecord;
use crate::record::SnapshotRecord;
use crate::record::Timestamp;
use crate::record::Value;
use crate::record::tag;

/// First byte of a spilled value.
const SPILLED: u8 = 0;
const WHAT: &str = "record";
/// Longest name, in bytes.
const NAME_MOST: usize = 255;
/// Longest symlink target, in bytes.
const TARGET_MOST: usize = 4095;

/// The packs a node names. Index 0 is the node's own.
pub(crate) struct PackTable {
    own: Salt,
    packs: Vec<PackRef>,
}

impl PackTable {
    /// For encoding into a pack with this salt.
    pub(crate) fn new(own: Salt) -> Self {
        Self {
            own,
            packs: Vec::new(),
        }
    }

    /// For decoding: the node's own pack, then those it lists.
    pub(crate) fn of(own: PackRef, packs: Vec<PackRef>) -> Self {
        let mut all = vec![own];
        all.extend(packs);
        Self {
            own: own.salt,
            packs: all,
        }
    }

    pub(crate) fn listed(&self) -> &[PackRef] {
        &self.packs
    }

    /// Index of the pack of a place, and the offset in it.
    pub(crate) fn index(&mut self, place: &Place) -> Result<(u32, u32)> {
        match place {
            Place::Open { salt, offset } if *salt == self.own => Ok((0, *offset)),
            Place::Open { .. } => Err(malformed("a pointer leads into a pack without a name")),
            Place::Pack { pack, offset } if pack.salt == self.own => Ok((0, *offset)),
            Place::Pack { pack, offset } => {
                // Neighbours mostly share a pack: look from the end.
                let found = self.packs.iter().rposition(|known| known == pack);
                let index = found.unwrap_or_else(|| {
                    self.packs.push(*pack);
                    self.packs.len() - 1
                });
                let index = u32::try_from(index + 1).map_err(|_| malformed("too many packs"))?;
                Ok((index, *offset))
            }
        }
    }

    pub(crate) fn place(&self, index: u32, offset: u32) -> Result<Place> {
        let pack = usize::try_from(index)
            .ok()
            .and_then(|index| self.packs.get(index));
        let pack = *pack.ok_or(malformed("a pointer names no pack of the table"))?;
        Ok(Place::Pack { pack, offset })
    }
}

#[derive(Serialize, Deserialize)]
enum Logical {
    Inline(Bytes),
    Pieces(Vec<LogicalPiece>),
}

#[derive(Serialize, Deserialize)]
struct LogicalPiece {
    at: u32,
    len: u32,
    skip: u32,
    digest: Digest,
}

#[derive(Serialize, Deserialize)]
enum Stored {
    Inline(Bytes),
    Pieces(Vec<StoredPiece>),
}

#[derive(Serialize, Deserialize)]
struct StoredPiece {
    at: u32,
    len: u32,
    skip: u32,
    pointer: StoredPointer,
}

#[derive(Serialize, Deserialize)]
struct StoredPointer {
    pack: u32,
    offset: u32,
    stored: u32,
    digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct LogicalSpill {
    length: u32,
    digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct StoredSpill {
    length: u32,
    pointer: StoredPointer,
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}

impl Key {
    /// Checks what may stand in a tree.
    pub fn parse(&self) -> Result<ParsedKey<'_>> {
        let bad = |why| Err(FormatError::Malformed { what: "key", why });
        let (Some(inode), Some(tag)) = (self.inode_of(), self.tag()) else {
            return bad("it is too short");
        };
        let rest = self.rest();
        let of_vault = inode == Inode::VAULT;
        let fits = match tag {
            tag::INODE => !of_vault && rest.is_empty(),
            tag::LINK => !of_vault && rest.get(8..).is_some_and(is_name),
            tag::XATTR => !of_vault && (1..=NAME_MOST).contains(&rest.len()) && !rest.contains(&0),
            tag::ENTRY => !of_vault && is_name(rest),
            tag::BLOCK => !of_vault && rest.len() == 8,
            tag::PACK => of_vault && rest.len() == 28,
            tag::ORPHAN => of_vault && rest.len() == 24,
            tag::SNAPSHOT | tag::SETTING => of_vault && (1..=NAME_MOST).contains(&rest.len()),
            tag::SESSION => of_vault && rest.len() == 4,
            tag::SLOT | tag::DEVICE => of_vault && rest.len() == 16,
            128.. => rest.len() <= 512,
            _ => false,
        };
        if fits {
            Ok(ParsedKey { inode, tag, rest })
        } else {
            bad("its tag does not allow the rest")
        }
    }
}

/// Whether bytes may name a directory entry.
pub fn is_name(name: &[u8]) -> bool {
    (1..=NAME_MOST).contains(&name.len())
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

impl Value {
    /// The form that hashes cover, independent of where frames are.
    pub fn logical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put_logical(&mut bytes);
        bytes
    }

    /// Appends it.
    pub(crate) fn put_logical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Spilled { length, pointer } => put_spilled(
                &LogicalSpill {
                    length: *length,
                    digest: pointer.digest,
                },
                out,
            ),
            Self::Record(record) => record.put_logical(out),
        }
    }

    /// Length of the logical form, in bytes.
    pub(crate) fn logical_length(&self) -> usize {
        match self {
            Self::Spilled {
                length: spilled,
                pointer,
            } => {
                1 + length(&LogicalSpill {
                    length: *spilled,
                    digest: pointer.digest,
                })
            }
            Self::Record(Record::Inode(inode)) => 1 + length(inode),
            Self::Record(Record::Block(block)) => 1 + length(&logical_block(block)),
            Self::Record(Record::Entry(entry)) => 1 + length(entry),
            Self::Record(Record::Link | Record::Orphan) => 1,
            Self::Record(Record::Unknown(bytes)) => bytes.len(),
            Self::Record(_) => self.logical().len(),
        }
    }

    /// Whether it is too long for a node and goes into a data frame.
    pub fn spillable(&self) -> bool {
        matches!(
            self,
            Self::Record(Record::Inode(_) | Record::Xattr(_) | Record::Setting(_))
        ) && self.logical_length() > SPILL
    }

    /// What the data frame of a spilled value holds: its logical form (records that spill hold no pointers).
    pub fn encoded_plain(&self) -> Vec<u8> {
        self.logical()
    }

    /// Reads back what a data frame of a spilled value holds.
    pub fn decode_spilled(tag: u8, bytes: &[u8]) -> Result<Self> {
        if bytes.len() <= SPILL || bytes.first() == Some(&SPILLED) {
            return Err(malformed("it is spilled without need"));
        }
        let table = PackTable {
            own: Salt([0; 16]),
            packs: Vec::new(),
        };
        let value = Self::decode_record(tag, bytes, &table)?;
        if value.logical() != bytes {
            return Err(malformed("it is not in canonical form"));
        }
        Ok(value)
    }

    /// Appends the form a node holds.
    pub(crate) fn put(&self, table: &mut PackTable, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Spilled { length, pointer } => {
                let stored = StoredSpill {
                    length: *length,
                    pointer: store_pointer(pointer, table)?,
                };
                put_spilled(&stored, out);
            }
            Self::Record(Record::Block(block)) => put(&store_block(block, table)?, out),
            Self::Record(record) => record.put_logical(out),
        }
        Ok(())
    }

    /// Reads the form a node holds; `tag` says what it is. Whether it is canonical shows when the node is encoded again.
    pub(crate) fn decode(tag: u8, bytes: &[u8], table: &PackTable) -> Result<Self> {
        if let Some((&SPILLED, rest)) = bytes.split_first() {
            let StoredSpill { length, pointer } = decode_part_bare(rest, WHAT)?;
            if !may_spill(tag) {
                return Err(malformed("a value of this kind is never spilled"));
            }
            if length as usize <= SPILL || length > crate::frame::FRAME_MAX {
                return Err(malformed(
                    "a spilled value has a length that is not spilled",
                ));
            }
            return Ok(Self::Spilled {
                length,
                pointer: load_pointer(&pointer, table)?,
            });
        }
        if may_spill(tag) && tag < 128 && bytes.len() > SPILL {
            return Err(malformed(
                "a long value stands in its leaf instead of a frame",
            ));
        }
        Self::decode_record(tag, bytes, table)
    }

    fn decode_record(tag: u8, bytes: &[u8], table: &PackTable) -> Result<Self> {
        let record = match tag {
            tag::INODE => Record::Inode(check_inode(decode_part(bytes, WHAT)?)?),
            tag::LINK => empty(bytes).map(|()| Record::Link)?,
            tag::XATTR => Record::Xattr(decode_part(bytes, WHAT)?),
            tag::ENTRY => Record::Entry(decode_part(bytes, WHAT)?),
            tag::BLOCK => Record::Block(load_block(decode_part(bytes, WHAT)?, table)?),
            tag::PACK => Record::Pack(decode_part(bytes, WHAT)?),
            tag::ORPHAN => empty(bytes).map(|()| Record::Orphan)?,
            tag::SNAPSHOT => Record::Snapshot(check_snapshot(decode_part(bytes, WHAT)?)?),
            tag::SESSION => Record::Session(decode_part(bytes, WHAT)?),
            tag::SETTING => Record::Setting(decode_part(bytes, WHAT)?),
            tag::SLOT => Record::Slot(check_slot(decode_part(bytes, WHAT)?)?),
            tag::DEVICE => Record::Device(decode_part(bytes, WHAT)?),
            128.. => Record::Unknown(Bytes::copy_from_slice(bytes)),
            _ => {
                return Err(FormatError::Unsupported {
                    what: "record tag",
                    version: u32::from(tag),
                });
            }
        };
        Ok(Self::Record(record))
    }
}

impl Record {
    fn put_logical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inode(inode) => put(inode, out),
            Self::Link | Self::Orphan => out.push(VERSION),
            Self::Xattr(bytes) | Self::Setting(bytes) => put(bytes, out),
            Self::Entry(entry) => put(entry, out),
            Self::Block(block) => put(&logical_block(block), out),
            Self::Pack(pack) => put(pack, out),
            Self::Snapshot(snapshot) => put(snapshot, out),
            Self::Session(device) => put(device, out),
            Self::Slot(slot) => put(slot, out),
            Self::Device(device) => put(device, out),
            Self::Unknown(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn put_spilled<T: Serialize>(spill: &T, out: &mut Vec<u8>) {
    out.push(SPILLED);
    put_bare(spill, out);
}

fn empty(bytes: &[u8]) -> Result<()> {
    if bytes == [VERSION] {
        Ok(())
    } else {
        Err(malformed("a record that holds nothing holds something"))
    }
}

/// Kinds whose values go into a data frame where they are long; those of later versions are kept as they are.
fn may_spill(tag: u8) -> bool {
    matches!(tag, tag::INODE | tag::XATTR | tag::SETTING | 128..)
}

fn check_snapshot(snapshot: SnapshotRecord) -> Result<SnapshotRecord> {
    check_times(&[snapshot.time])?;
    match snapshot.root.pointer.place {
        Place::Pack { .. } => Ok(snapshot),
        Place::Open { .. } => Err(malformed("a snapshot is in a pack without a name")),
    }
}

fn check_slot(slot: SlotRecord) -> Result<SlotRecord> {
    check_times(&[slot.created])?;
    Ok(slot)
}

fn check_times(times: &[Timestamp]) -> Result<()> {
    if times.iter().any(|time| time.nanos >= 1_000_000_000) {
        return Err(malformed("a time has 10^9 nanoseconds or more"));
    }
    Ok(())
}

fn check_inode(inode: InodeRecord) -> Result<InodeRecord> {
    check_times(&[inode.atime, inode.mtime, inode.ctime, inode.btime])?;
    if inode.size > i64::MAX as u64 || inode.mode > 0o7777 {
        return Err(malformed("size or mode is out of bounds"));
    }
    let target_fits = match (&inode.target, inode.kind) {
        (Some(target), FileKind::Symlink) => {
            (1..=TARGET_MOST).contains(&target.len()) && !target.contains(&0)
        }
        (None, FileKind::Symlink) | (Some(_), _) => false,
        (None, _) => true,
    };
    if target_fits {
        Ok(inode)
    } else {
        Err(malformed("symlink and target do not fit together"))
    }
}

/// The bytes of a block that is nothing but a short run at its start.
fn inline(block: &Block) -> Option<Bytes> {
    match block.pieces.as_slice() {
        [
            Piece {
                at: 0,
                len,
                skip,
                content: Content::Bytes(bytes),
            },
        ] => {
            let (start, end) = (*skip as usize, skip.checked_add(*len)? as usize);
            (end <= bytes.len() && *len as usize <= INLINE).then(|| bytes.slice(start..end))
        }
        _ => None,
    }
}

fn logical_block(block: &Block) -> Logical {
    if let Some(bytes) = inline(block) {
        return Logical::Inline(bytes);
    }
    let piece = |piece: &Piece| LogicalPiece {
        at: piece.at,
        len: piece.len,
        skip: piece.skip,
        digest: match &piece.content {
            Content::Frame(pointer) => pointer.digest,
            // Unsettled content has no digest yet; it never reaches a node.
            Content::Bytes(_) => Digest::NONE,
        },
    };
    Logical::Pieces(block.pieces.iter().map(piece).collect())
}

fn store_block(block: &Block, table: &mut PackTable) -> Result<Stored> {
    if let Some(bytes) = inline(block) {
        return Ok(Stored::Inline(bytes));
    }
    check_pieces(&block.pieces)?;
    let mut pieces = Vec::with_capacity(block.pieces.len());
    for piece in &block.pieces {
        let Content::Frame(pointer) = &piece.content else {
            return Err(malformed("content is not settled"));
        };
        let pointer = store_pointer(pointer, table)?;
        pieces.push(StoredPiece {
            at: piece.at,
            len: piece.len,
            skip: piece.skip,
            pointer,
        });
    }
    Ok(Stored::Pieces(pieces))
}

fn load_block(stored: Stored, table: &PackTable) -> Result<Block> {
    match stored {
        Stored::Inline(bytes) => {
            let len = u32::try_from(bytes.len())
                .ok()
                .filter(|len| (1..=INLINE as u32).contains(len));
            let len = len.ok_or(malformed("inline content has 1 to 512 bytes"))?;
            Ok(Block {
                pieces: vec![Piece {
                    at: 0,
                    len,
                    skip: 0,
                    content: Content::Bytes(bytes),
                }],
            })
        }
        Stored::Pieces(stored) => {
            let mut pieces = Vec::with_capacity(stored.len().min(PIECES));
            for StoredPiece {
                at,
                len,
                skip,
                pointer,
            } in stored
            {
                let content = Content::Frame(load_pointer(&pointer, table)?);
                pieces.push(Piece {
                    at,
                    len,
                    skip,
                    content,
                });
            }
            check_pieces(&pieces)?;
            Ok(Block { pieces })
        }
    }
}

fn check_pieces(pieces: &[Piece]) -> Result<()> {
    if pieces.is_empty() || pieces.len() > PIECES {
        return Err(malformed("a block has 1 to 16 pieces"));
    }
    let mut end = 0;
    for piece in pieces {
        let within = |start: u32, len: u32| start.checked_add(len).is_some_and(|end| end <= BLOCK);
        if piece.len == 0
            || piece.at < end
            || !within(piece.at, piece.len)
            || !within(piece.skip, piece.len)
        {
            return Err(malformed("pieces overlap, are empty or leave their block"));
        }
        end = piece.at + piece.len;
    }
    Ok(())
}

fn store_pointer(pointer: &Pointer, table: &mut PackTable) -> Result<StoredPointer> {
    let (pack, offset) = table.index(&pointer.place)?;
    Ok(StoredPointer {
        pack,
        offset,
        stored: pointer.stored,
        digest: pointer.digest,
    })
}

fn load_pointer(stored: &StoredPointer, table: &PackTable) -> Result<Pointer> {
    if stored.stored > crate::frame::FRAME_MAX {
        return Err(malformed("a pointer names a frame that is too long"));
    }
    let place = table.place(stored.pack, stored.offset)?;
    Ok(Pointer {
        place,
        stored: stored.stored,
        digest: stored.digest,
    })
}
