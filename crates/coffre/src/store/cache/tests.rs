//! What the cache serves, how much of it stays, and what a disk that fails does to it.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn ranges_are_kept_over_a_restart_and_only_whole_ones_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let name = PackName([1; 16]);
    let cache = Cache::open(dir.path(), 1 << 30).unwrap();
    cache.insert(name, 65_536, &[7; 65_536], Rank::Data);
    cache.insert(name, 131_072, &[8; 65_536], Rank::Data);
    assert_eq!(cache.read(name, 131_000..131_100).unwrap()[..72], [7; 72]);
    assert!(cache.read(name, 65_000..65_600).is_none());
    let cache = Cache::open(dir.path(), 1 << 30).unwrap();
    assert_eq!(cache.used(), 131_072);
    assert_eq!(
        cache.read(name, 131_072..131_074).unwrap(),
        [8u8, 8].as_slice()
    );
    cache.discard(name, 131_072..131_073);
    assert!(cache.read(name, 131_072..131_074).is_none());
    assert!(cache.read(name, 65_536..131_072).is_some());
}

#[test]
fn many_packs_need_few_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), 1 << 30).unwrap();
    for index in 0..=200u8 {
        cache.insert(PackName([index; 16]), 0, &[index; 64], Rank::Data);
    }
    for index in 0..=200u8 {
        assert_eq!(
            cache.read(PackName([index; 16]), 0..64).unwrap(),
            [index; 64].as_slice()
        );
    }
    let here = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = here
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|path| path.starts_with(dir.path()))
        .count();
    assert!((1..=40).contains(&open), "{open} files are open");
}

#[test]
fn many_small_packs_are_evicted_by_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), 1 << 30).unwrap();
    for index in 0..100u8 {
        cache.insert(PackName([index; 16]), 0, &[index; 64], Rank::Data);
    }
    cache.0.evict_down_to(&mut cache.state(), 1 << 30, 50);
    assert!(cache.read(PackName([54; 16]), 0..64).is_none());
    assert!(cache.read(PackName([99; 16]), 0..64).is_some());
    assert_eq!(cache.used(), 45 * 64);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 45);
}

#[test]
fn the_bound_is_kept_and_nodes_stay_longest() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), 8 * CHUNK).unwrap();
    cache.insert(PackName([0; 16]), 0, &vec![1; CHUNK as usize], Rank::Node);
    for index in 1..=30u8 {
        cache.insert(
            PackName([index; 16]),
            0,
            &vec![1; CHUNK as usize],
            Rank::Data,
        );
        assert!(cache.used() <= 8 * CHUNK);
    }
    assert!(cache.read(PackName([0; 16]), 0..10).is_some());
    assert!(cache.read(PackName([30; 16]), 0..10).is_some());
    assert!(cache.read(PackName([1; 16]), 0..10).is_none());
}
