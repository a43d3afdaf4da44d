//! Keys for small trees that are deep: many of them end nodes, some on high levels, and some are heavy.

use std::sync::Arc;
use std::sync::LazyLock;

use coffre_format::crypto::key::Keyring;
use coffre_format::id::Inode;
use coffre_format::keyslot::Ceiling;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::Secret;
use coffre_format::keyslot::open_slot;
use coffre_format::record::Key;

/// Slot of the kept vault of format 1: keys that are the same in every run, so that the inodes below can be
/// searched for once, and a failing case can be tried again.
const SLOT: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/vaults/v1/store/keys/d671d9404f0670de5f39d1f478a53c96"
));
const PASSPHRASE: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/vaults/v1/PASSPHRASE"
));

/// Inodes are spread over stretches of this many numbers.
const STRETCH: u64 = 1 << 22;
/// The first inode of each stretch whose key ends nodes of levels 0 and 1.
const ENDS_1: [u64; 64] = [
    6757, 4323125, 8423218, 12585084, 16830360, 20971721, 25190023, 29372737, 33559931, 37758789,
    41956722, 46145623, 50331836, 54571525, 58723198, 62919901, 67111772, 71352144, 75515200,
    79742813, 83903517, 88095672, 92346072, 96504161, 100719126, 104866306, 109053095, 113253537,
    117456725, 121660306, 125829414, 130041457, 134233224, 138419504, 142607357, 146814528,
    151017917, 155202052, 159387828, 163578132, 167800572, 171978184, 176161323, 180369856,
    184572366, 188791095, 192964127, 197173096, 201357243, 205533451, 209735357, 213914137,
    218152919, 222321351, 226510121, 230687936, 234919340, 239085911, 243283237, 247500081,
    251659314, 255867379, 260105216, 264253001,
];
/// The same for levels 0 to 2, of every fourth stretch.
const ENDS_2: [u64; 16] = [
    395492, 16940212, 36453445, 51669007, 69097428, 83984480, 104181841, 118739553, 134534270,
    151753131, 169910485, 186034943, 201674688, 218944651, 235219134, 257553338,
];
/// The only one below 2^28 for levels 0 to 3.
const ENDS_3: u64 = 94484366;
/// Stretches that hold keys so long that even inner nodes are cut by weight.
const FAT: std::ops::Range<u64> = 30..32;
/// A stretch with a natural run of many leaves.
const LONG: u64 = 12;

/// All keys that a test may use, in order.
pub(super) struct Universe {
    pub(super) ring: Arc<Keyring>,
    pub(super) keys: Vec<Key>,
}

impl Universe {
    /// Opening the slot is slow on purpose: once for all cases of a test.
    pub(super) fn whole() -> &'static Self {
        static WHOLE: LazyLock<Universe> = LazyLock::new(Universe::new);
        &WHOLE
    }

    fn new() -> Self {
        let secret = Secret::Passphrase(Passphrase::new(PASSPHRASE).unwrap());
        let ring = Arc::new(open_slot(SLOT, &secret, Ceiling::Enforced).unwrap());
        let mut keys: Vec<Key> = (0..64).flat_map(|at| stretch(&ring, at)).collect();
        let high = ENDS_1.iter().chain(&ENDS_2).chain([&ENDS_3]);
        keys.extend(high.map(|number| Key::inode(Inode(*number))));
        keys.sort();
        let universe = Self { ring, keys };
        for (level, number) in [(1, ENDS_1[7]), (2, ENDS_2[7]), (3, ENDS_3)] {
            let key = Key::inode(Inode(number));
            assert!(universe.zeros(&key) >= 7 * (level + 1));
        }
        universe
    }

    /// The same without the stretches that are cut by weight: every node ends with a key that ends it.
    pub(super) fn natural() -> Self {
        let mut keys = Self::whole().keys.clone();
        let heavy = |key: &Key| {
            let at = key.inode_of().unwrap().0 / STRETCH;
            at == LONG || FAT.contains(&at)
        };
        keys.retain(|key| !heavy(key));
        let ring = Self::whole().ring.clone();
        Self { ring, keys }
    }

    pub(super) fn zeros(&self, key: &Key) -> u32 {
        self.ring.structure().boundary_zeros(key.as_bytes())
    }

    /// The key with this number, counted around.
    pub(super) fn key(&self, number: usize) -> &Key {
        &self.keys[number % self.keys.len()]
    }
}

/// Keys of one stretch beside the high ones.
fn stretch(ring: &Keyring, at: u64) -> Vec<Key> {
    let base = at * STRETCH + STRETCH / 2;
    if FAT.contains(&at) {
        // Longer than the format allows: nothing but its weight matters here.
        let long = |number: u64| Key::new(Inode(base + number), 200, &[7; 6000]);
        return (0..60).map(long).collect();
    }
    let ends = |key: &Key| ring.structure().boundary_zeros(key.as_bytes()) >= 7;
    if at == LONG {
        let numbers = base..base + 200;
        let keys = numbers.map(|number| Key::inode(Inode(number)));
        return keys.filter(|key| !ends(key)).collect();
    }
    let mut keys = Vec::new();
    let mut number = base;
    for _ in 0..4 {
        for _ in 0..2 {
            keys.push(Key::inode(Inode(number)));
            keys.push(Key::xattr(Inode(number), b"name"));
            keys.push(Key::block(Inode(number), 0));
            number += 1;
        }
        while !ends(&Key::inode(Inode(number))) {
            number += 1;
        }
        keys.push(Key::inode(Inode(number)));
        number += 1;
    }
    keys
}
