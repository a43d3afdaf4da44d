//! What a stop at any moment leaves of a journal: a prefix with everything synced, or a loud error, nothing else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use coffre_format::crypto::key::Keyring;
use coffre_format::id::Digest;
use coffre_format::id::Inode;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::id::VaultId;
use coffre_format::record::Block;
use coffre_format::record::Child;
use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::Pointer;
use coffre_format::record::Record;
use coffre_format::record::Sums;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Checkpoint;
use coffre_format::transaction::Edit;
use coffre_format::transaction::Transaction;

use crate::error::Error;
use crate::error::Result;
use crate::fs::data_packs::DataPacks;
use crate::fs::types::Workers;
use crate::store::Outbox;

use super::Journal;
use super::Start;
use super::recover::Recovered;
use super::recover::recover;
use super::segment::Segments;
use super::segment::list;

const UNSYNCED_MOST: usize = 64 << 20;

struct World {
    dir: tempfile::TempDir,
    ring: Arc<Keyring>,
    packs: Arc<DataPacks>,
    journal: Option<Journal>,
    written: Vec<Transaction>,
}

fn checkpoint(lsn: u64) -> Checkpoint {
    let pointer = Pointer {
        place: coffre_format::record::Place::Open {
            salt: coffre_format::id::Salt([0; 16]),
            offset: 32,
        },
        stored: 1,
        digest: Digest::NONE,
    };
    let root = Child {
        pointer,
        hash: coffre_format::id::LogicalHash([lsn as u8; 32]),
        sums: Sums::default(),
    };
    Checkpoint {
        root,
        lsn: Lsn(lsn),
        merged: Default::default(),
    }
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["journal", "outbox", "packs"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let ring = Arc::new(Keyring::generate(VaultId::random().unwrap()).unwrap());
        let outbox = Outbox::open(&dir.path().join("outbox")).unwrap();
        let packs = DataPacks::open(
            dir.path().join("packs"),
            ring.clone(),
            outbox,
            Workers::Threads,
        )
        .unwrap();
        let start = Start {
            dir: dir.path().join("journal"),
            segment: 1,
            session: SessionPrefix(7),
            previous: Digest::NONE,
            lsn: Lsn(0),
            unsynced_most: UNSYNCED_MOST,
        };
        let packs = Arc::new(packs);
        let journal = Journal::start(start, ring.clone(), packs.clone(), Workers::Threads).unwrap();
        journal.checkpoint(checkpoint(0), 0).await.unwrap();
        Self {
            dir,
            ring,
            packs,
            journal: Some(journal),
            written: Vec::new(),
        }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn append(&mut self, content: Content) {
        let lsn = Lsn(self.written.len() as u64 + 1);
        let piece = Piece {
            at: 0,
            len: 1,
            skip: 0,
            content,
        };
        let key = Key::new(Inode(9), tag::BLOCK, &lsn.0.to_be_bytes());
        let block = Block {
            pieces: vec![piece],
        };
        let edit = Edit::Put(key, Value::Record(Record::Block(block)));
        let transaction = Transaction {
            lsn,
            edits: vec![edit],
        };
        self.journal().append(&transaction).unwrap();
        self.written.push(transaction);
    }

    /// A transaction of about this many bytes.
    fn write(&mut self, length: usize) {
        let seed = (self.written.len() * 7) as u8;
        self.append(Content::Bytes(Bytes::from(vec![seed; length])));
    }

    async fn sync(&self) {
        let lsn = Lsn(self.written.len() as u64);
        self.journal().sync(lsn).await.unwrap();
    }

    fn segments(&self) -> Vec<std::path::PathBuf> {
        let listed = list(&self.dir.path().join("journal")).unwrap();
        listed.into_iter().map(|(_, path)| path).collect()
    }

    /// Bytes of the first segment before the zeros that were written ahead.
    fn filled(&self) -> usize {
        let bytes = std::fs::read(&self.segments()[0]).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
    }

    fn recover(&self) -> Result<Option<Recovered>> {
        self.recover_at(&self.dir.path().join("journal"), |_| true)
    }

    fn recover_at(
        &self,
        dir: &Path,
        opens: impl FnMut(&Pointer) -> bool,
    ) -> Result<Option<Recovered>> {
        recover(dir, &self.ring, opens)
    }

    /// Whether what was recovered is a prefix of what was written; its length.
    fn prefix(&self, recovered: &Recovered) -> usize {
        let count = recovered.transactions.len();
        assert!(recovered.transactions == self.written[..count]);
        assert_eq!(recovered.lsn, Lsn(count as u64));
        count
    }

    /// Another folder with the same segments, one of them changed.
    fn changed(&self, index: usize, change: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for (at, path) in self.segments().iter().enumerate() {
            let mut bytes = std::fs::read(path).unwrap();
            if at == index {
                change(&mut bytes);
                break_after(&copy, path, &bytes);
                break;
            }
            std::fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        copy
    }
}

fn break_after(copy: &tempfile::TempDir, path: &Path, bytes: &[u8]) {
    std::fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
}

#[tokio::test]
async fn everything_comes_back_after_an_orderly_stop() {
    let mut world = World::new().await;
    for length in [1, 200, 5000, 131_000, 300_000, 3] {
        world.write(length);
    }
    world.journal().stop();
    let recovered = world.recover().unwrap().unwrap();
    assert_eq!(world.prefix(&recovered), 6);
    assert!(!recovered.torn);
    assert_eq!(recovered.checkpoint, checkpoint(0));
}

#[tokio::test]
async fn a_cut_anywhere_leaves_a_prefix() {
    let mut world = World::new().await;
    for round in 0..6 {
        for length in [10, 400, 150_000] {
            world.write(length * (round % 2 + 1));
        }
        world.sync().await;
    }
    world.journal().stop();
    let path = &world.segments()[0];
    let whole = std::fs::metadata(path).unwrap().len() as usize;
    let mut lengths = std::collections::BTreeSet::new();
    let step = whole / 400;
    for cut in (32..whole).step_by(step).chain(whole - 60..=whole) {
        let dir = world.changed(0, |bytes| bytes.truncate(cut));
        match world.recover_at(dir.path(), |_| true).unwrap() {
            Some(recovered) => {
                lengths.insert(world.prefix(&recovered));
            }
            // Not even the first checkpoint is there: the journal never began.
            None => {
                assert!(cut < 600, "nothing is left after a cut at {cut} of {whole}");
                assert!(
                    list(dir.path()).unwrap().is_empty(),
                    "it cannot begin again"
                );
            }
        }
    }
    assert!(lengths.len() > 5 && lengths.contains(&18), "{lengths:?}");
}

#[tokio::test]
async fn damage_to_what_was_synced_is_told_and_a_torn_tail_is_cut_off() {
    let mut world = World::new().await;
    for _ in 0..5 {
        world.write(2000);
        world.sync().await;
    }
    let synced = world.filled();
    // One more frame, which carries the mark of the last sync.
    world.write(100);
    world.sync().await;
    world.journal().stop();
    let (mut told, mut cut) = (0, 0);
    let whole = std::fs::metadata(&world.segments()[0]).unwrap().len() as usize;
    for at in (33..whole).step_by(37) {
        let dir = world.changed(0, |bytes| bytes[at] ^= 1);
        match world.recover_at(dir.path(), |_| true) {
            Err(Error::Damaged { file, offset, .. }) => {
                assert!(at < synced, "the tail at {at} is no damage");
                assert!(file.starts_with(dir.path()) && offset <= at as u64);
                told += 1;
            }
            Ok(Some(recovered)) => {
                assert!(at >= synced, "damage at {at} was cut off as a tail");
                assert_eq!(world.prefix(&recovered), 5);
                assert!(recovered.torn);
                cut += 1;
            }
            Ok(None) => panic!("the whole journal was ignored"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(told > 100 && cut > 2, "{told} told, {cut} cut off");
}

#[tokio::test]
async fn a_watermark_follows_an_idle_sync() {
    let mut world = World::new().await;
    world.write(500);
    world.sync().await;
    let synced = world.filled();
    for _ in 0..50 {
        if world.filled() > synced {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(world.filled() > synced, "no watermark was written");
    let at = synced - 20;
    let dir = world.changed(0, |bytes| bytes[at] ^= 1);
    let found = world.recover_at(dir.path(), |_| true);
    assert!(matches!(found, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn segments_roll_over_and_a_checkpoint_frees_them() {
    let mut world = World::new().await;
    for _ in 0..45 {
        world.write(1_000_000);
        world.sync().await;
    }
    assert!(world.segments().len() >= 3, "{:?}", world.segments());
    let recovered = world.recover().unwrap().unwrap();
    assert_eq!(world.prefix(&recovered), 45);
    // Damage in a closed segment is never a tail.
    let dir = {
        let copy = tempfile::tempdir().unwrap();
        for (index, path) in world.segments().iter().enumerate() {
            let mut bytes = std::fs::read(path).unwrap();
            if index == 0 {
                bytes[5000] ^= 1;
            }
            break_after(&copy, path, &bytes);
        }
        copy
    };
    let found = world.recover_at(dir.path(), |_| true);
    assert!(matches!(found, Err(Error::Damaged { .. })));
    let rolled = world.journal().roll();
    world.write(10);
    let keep = rolled.await.unwrap().unwrap();
    let done = world.journal().checkpoint(checkpoint(45), keep).await;
    done.unwrap();
    assert_eq!(world.segments().len(), 1);
    let recovered = world.recover().unwrap().unwrap();
    assert_eq!(recovered.checkpoint.lsn, Lsn(45));
    assert_eq!(recovered.transactions, world.written[45..]);
}

#[tokio::test]
async fn a_transaction_without_its_data_ends_the_journal_or_is_damage() {
    let mut world = World::new().await;
    world.write(10);
    let content = vec![5; 100_000];
    let pointer = world.packs.append(&content).unwrap();
    world.append(Content::Frame(pointer));
    world.sync().await;
    world.journal().stop();
    let folder = world.dir.path().join("journal");
    let whole = world.recover_at(&folder, |_| true).unwrap().unwrap();
    assert_eq!(world.prefix(&whole), 2);
    // No frame tells that it was synced: the data never reached the disk.
    let torn = world.recover_at(&folder, |_| false).unwrap().unwrap();
    assert_eq!(world.prefix(&torn), 1);
    assert!(torn.torn);
}

#[tokio::test]
async fn a_transaction_without_its_data_is_damage_once_it_was_synced() {
    let mut world = World::new().await;
    let pointer = world.packs.append(&[5; 100_000]).unwrap();
    world.append(Content::Frame(pointer));
    world.sync().await;
    world.write(10);
    world.journal().stop();
    let folder = world.dir.path().join("journal");
    let found = world.recover_at(&folder, |_| false);
    assert!(matches!(found, Err(Error::Damaged { .. })));
}

#[test]
fn after_a_failed_sync_everything_unsynced_is_written_again_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Arc::new(Keyring::generate(VaultId::random().unwrap()).unwrap());
    let start = Start {
        dir: dir.path().to_owned(),
        segment: 1,
        session: SessionPrefix(7),
        previous: Digest::NONE,
        lsn: Lsn(0),
        unsynced_most: UNSYNCED_MOST,
    };
    let mut segments = Segments::create(start, ring.clone()).unwrap();
    let batch = |number: u64| {
        let key = Key::new(Inode(9), tag::BLOCK, &number.to_be_bytes());
        let transaction = Transaction {
            lsn: Lsn(number),
            edits: vec![Edit::Delete(key)],
        };
        let mut bytes = Vec::new();
        coffre_format::transaction::encode_transaction(&transaction, &mut bytes);
        (transaction, bytes)
    };
    segments.write_checkpoint(checkpoint(0));
    segments.write(Lsn(1), Lsn(1), batch(1).1);
    segments.sync(None).unwrap();
    segments.write(Lsn(2), Lsn(2), batch(2).1);
    segments.write(Lsn(3), Lsn(3), batch(3).1);
    segments.break_file();
    assert!(segments.sync(None).is_err(), "the failure is told");
    segments.write(Lsn(4), Lsn(4), batch(4).1);
    segments.sync(None).unwrap();
    assert_eq!(list(dir.path()).unwrap().len(), 2, "the file is condemned");
    let recovered = recover(dir.path(), &ring, |_| true).unwrap().unwrap();
    let expected: Vec<_> = (1..=4).map(|number| batch(number).0).collect();
    assert_eq!(recovered.transactions, expected);
}

/// Goes on after a crash, as the next process does.
fn go_on(world: &mut World, recovered: &Recovered) {
    let start = Start {
        dir: world.dir.path().join("journal"),
        segment: recovered.next_segment,
        session: SessionPrefix(8),
        previous: recovered.previous,
        lsn: Lsn(recovered.lsn.0 - recovered.again.len() as u64),
        unsynced_most: UNSYNCED_MOST,
    };
    world.written.truncate(recovered.transactions.len());
    let journal = Journal::start(
        start,
        world.ring.clone(),
        world.packs.clone(),
        Workers::Threads,
    )
    .unwrap();
    for transaction in &recovered.again {
        journal.append(transaction).unwrap();
    }
    world.journal = Some(journal);
}

#[tokio::test]
async fn what_a_first_crash_tore_does_not_end_the_journal_at_the_second() {
    let mut world = World::new().await;
    world.write(10);
    world.sync().await;
    // One batch: something whole, and something whose data never reaches the disk.
    world.write(20);
    let pointer = world.packs.append(&[5; 100_000]).unwrap();
    world.append(Content::Frame(pointer));
    world.sync().await;
    world.journal().stop();
    let folder = world.dir.path().join("journal");
    let gone = |lost: &Pointer| *lost != pointer;
    let first = world.recover_at(&folder, gone).unwrap().unwrap();
    assert_eq!(world.prefix(&first), 2);
    go_on(&mut world, &first);
    for length in [30, 300_000, 40] {
        world.write(length);
        world.sync().await;
    }
    world.journal().stop();
    let second = world.recover_at(&folder, gone).unwrap().unwrap();
    assert_eq!(world.prefix(&second), 5);
}

#[tokio::test]
async fn half_of_a_long_transaction_does_not_spoil_what_follows_it() {
    let mut world = World::new().await;
    world.write(10);
    world.sync().await;
    let synced = world.filled() as u64;
    world.write(400_000);
    world.sync().await;
    world.journal().stop();
    // Its first frame is whole, the others are not.
    let file = std::fs::File::options()
        .write(true)
        .open(&world.segments()[0]);
    file.unwrap().set_len(synced + 140_000).unwrap();
    let first = world.recover().unwrap().unwrap();
    assert_eq!(world.prefix(&first), 1);
    assert!(first.torn);
    go_on(&mut world, &first);
    for length in [30, 300_000] {
        world.write(length);
        world.sync().await;
    }
    world.journal().stop();
    let second = world.recover().unwrap().unwrap();
    assert_eq!(world.prefix(&second), 3);
}

#[tokio::test]
async fn nothing_is_accepted_and_nobody_waits_after_the_end() {
    let mut world = World::new().await;
    world.write(500);
    world.journal().stop();
    // What was queued before the end is on the disk.
    world.journal().sync(Lsn(1)).await.unwrap();
    let late = Transaction {
        lsn: Lsn(2),
        edits: Vec::new(),
    };
    assert!(world.journal().append(&late).is_err());
    let waits = std::time::Duration::from_secs(20);
    let synced = tokio::time::timeout(waits, world.journal().sync(Lsn(2))).await;
    assert!(synced.expect("nobody waits for ever").is_err());
    let checkpoint = world.journal().checkpoint(checkpoint(1), 0);
    let noted = tokio::time::timeout(waits, checkpoint).await;
    assert!(noted.expect("nobody waits for ever").is_err());
}

#[tokio::test]
async fn zeros_are_written_ahead_of_small_syncs_and_are_no_damage() {
    let mut world = World::new().await;
    for _ in 0..60 {
        world.write(3000);
        world.sync().await;
    }
    let length = std::fs::metadata(&world.segments()[0]).unwrap().len() as usize;
    assert!(length > world.filled() + 4096, "nothing is written ahead");
    // As a kill leaves it.
    let folder = world.dir.path().join("journal");
    let found = world.recover().unwrap().unwrap();
    assert_eq!(world.prefix(&found), 60);
    assert!(!found.torn, "the zeros are taken for a torn frame");
    // As a power cut leaves it, with a part of the next frame in the zeros.
    let end = world.filled();
    let torn = world.changed(0, |bytes| bytes[end..end + 100].fill(7));
    let found = world.recover_at(torn.path(), |_| true).unwrap().unwrap();
    assert_eq!(world.prefix(&found), 60);
    assert!(found.torn);
    // What was synced does not become zeros again unnoticed.
    let lost = world.changed(0, |bytes| bytes[end / 2..end / 2 + 4096].fill(0));
    let found = world.recover_at(lost.path(), |_| true);
    assert!(matches!(found, Err(Error::Damaged { .. })));
    world.journal().stop();
    let length = std::fs::metadata(&world.segments()[0]).unwrap().len() as usize;
    assert!(length < world.filled() + 4096, "the zeros stay behind");
    let found = world.recover_at(&folder, |_| true).unwrap().unwrap();
    assert_eq!(world.prefix(&found), 60);
}

#[tokio::test]
async fn whoever_waits_is_told_wherever_it_was_synced() {
    let world = World::new().await;
    let journal = world.journal();
    let next = std::sync::Mutex::new(0);
    let told = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let lsn = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        let transaction = Transaction {
                            lsn: Lsn(*next),
                            edits: vec![Edit::Delete(Key::new(Inode(9), tag::BLOCK, b"x"))],
                        };
                        journal.append(&transaction).unwrap();
                        transaction.lsn
                    };
                    let (tell, synced) = std::sync::mpsc::channel();
                    journal.sync_then(lsn, move |result| tell.send(result).unwrap());
                    let waits = std::time::Duration::from_secs(20);
                    synced.recv_timeout(waits).expect("told").unwrap();
                    if lsn.0 % 10 == 0 {
                        let found = world.recover().unwrap().unwrap();
                        assert!(found.lsn >= lsn, "told too early");
                    }
                    told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(told.into_inner(), 400);
}
