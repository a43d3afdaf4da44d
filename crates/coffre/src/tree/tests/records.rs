//! Values by number, and the sorted map that the tree is compared with.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffre_format::id::DeviceId;
use coffre_format::id::Digest;
use coffre_format::id::Epoch;
use coffre_format::id::PackName;
use coffre_format::id::Salt;
use coffre_format::record::Block;
use coffre_format::record::Content;
use coffre_format::record::FileKind;
use coffre_format::record::InodeRecord;
use coffre_format::record::Key;
use coffre_format::record::PackRef;
use coffre_format::record::Piece;
use coffre_format::record::Place;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Stamp;
use coffre_format::record::Sums;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::tree::Changes;

/// The sorted map: keys with the numbers of their values.
pub(super) type Records = BTreeMap<Key, u32>;

/// What the tree stores under the key for this number.
pub(super) fn stored(key: &Key, number: u32) -> Arc<Value> {
    let record = match key.tag() {
        Some(tag::INODE) => Record::Inode(inode(number)),
        Some(tag::XATTR) if is_spilled(number) => {
            return Arc::new(Value::Spilled {
                length: 5000,
                pointer: spill(number),
            });
        }
        Some(tag::XATTR) => Record::Xattr(number.to_be_bytes().to_vec().into()),
        Some(tag::BLOCK) => Record::Block(block(number)),
        _ => Record::Unknown(number.to_be_bytes().to_vec().into()),
    };
    Arc::new(Value::Record(record))
}

/// What a reader finds there.
pub(super) fn read(key: &Key, number: u32) -> Arc<Value> {
    match &*stored(key, number) {
        Value::Spilled { pointer, .. } => unspilled(pointer),
        Value::Record(record) => Arc::new(Value::Record(record.clone())),
    }
}

/// What was spilled there.
pub(super) fn unspilled(pointer: &Pointer) -> Arc<Value> {
    let bytes = pointer.digest.0[..4].repeat(1250);
    Arc::new(Value::Record(Record::Xattr(bytes.into())))
}

/// What the sums of these records must be.
pub(super) fn sums(records: &Records) -> Sums {
    let tagged = |wanted| {
        records
            .iter()
            .filter(move |(key, _)| key.tag() == Some(wanted))
    };
    Sums {
        inodes: tagged(tag::INODE).count() as u64,
        bytes: tagged(tag::BLOCK)
            .map(|(_, number)| u64::from(length(*number)))
            .sum(),
    }
}

/// The changes that put all of these.
pub(super) fn puts(records: &Records) -> Changes {
    let mut changes = Changes::default();
    for (key, number) in records {
        changes.put(key.clone(), stored(key, *number));
    }
    changes
}

fn is_spilled(number: u32) -> bool {
    number.is_multiple_of(3)
}

fn length(number: u32) -> u32 {
    number % 500 + 1
}

fn spill(number: u32) -> Pointer {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    let pack = PackRef {
        name: PackName([8; 16]),
        salt: Salt([8; 16]),
        epoch: Epoch(1),
    };
    Pointer {
        place: Place::Pack {
            pack,
            offset: number,
        },
        stored: 5000,
        digest: Digest(digest),
    }
}

fn block(number: u32) -> Block {
    let piece = Piece {
        at: 0,
        len: length(number),
        skip: 0,
        content: Content::Bytes(vec![number as u8; length(number) as usize].into()),
    };
    Block {
        pieces: vec![piece],
    }
}

fn inode(number: u32) -> InodeRecord {
    let time = Timestamp::default();
    // Some records are heavy enough to cut a run of a few dozen.
    let target = number
        .is_multiple_of(2)
        .then(|| vec![b'a'; 1000 + number as usize % 3000]);
    InodeRecord {
        kind: match target {
            Some(_) => FileKind::Symlink,
            None => FileKind::Regular,
        },
        mode: 0o777,
        uid: number,
        gid: 0,
        size: target.as_ref().map_or(0, Vec::len) as u64,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        rdev: 0,
        flags: 0,
        target,
        subdirectories: 0,
        stamp: Stamp {
            lamport: 1,
            device: DeviceId([0; 16]),
        },
    }
}
