//! Creating and opening: what is accepted, what is refused, how much is asked of the store.

use std::fs;
use std::path::Path;

use coffre_format::id::Inode;
use coffre_format::keyslot::KdfParams;
use coffre_format::record::FileKind;
use coffre_format::record::Key;
use coffre_format::record::Record;

use super::World;
use super::draft;
use super::nodes;
use super::passphrase;
use super::publish;
use super::setup;
use super::word;
use crate::error::Error;
use crate::store::Prefix;
use crate::store::Store;
use crate::store::StoreUri;
use crate::tree::Source;
use crate::vault::Access;
use crate::vault::Vault;

#[tokio::test]
async fn a_created_vault_opens_again_here_and_elsewhere() {
    let world = World::new();
    let vault = world.create("a").await;
    let id = vault.id();
    let device = vault.device();
    assert!(device.is_some() && vault.last().is_some());
    drop(vault);
    for machine in ["a", "b"] {
        let vault = world.open(machine, Access::ReadWrite).await.unwrap();
        assert_eq!(vault.id(), id);
        assert_eq!(vault.device().is_some(), machine == "a");
        let nodes = nodes(&vault);
        let root = vault.heads().base.commit.body.root;
        let found = nodes.get(&root, &Key::inode(Inode::ROOT)).await.unwrap();
        let Some(Record::Inode(record)) = found else {
            panic!("{found:?}");
        };
        assert_eq!((record.kind, record.uid), (FileKind::Directory, 1000));
        assert!(vault.slot_listed(&nodes, &root).await.unwrap());
        assert_eq!(vault.access(), Access::ReadWrite);
    }
}

#[tokio::test]
async fn opening_asks_little_of_the_store() {
    let world = World::new();
    let vault = world.create("a").await;
    for word in ["one", "two", "three"] {
        publish(&vault, word).await;
    }
    drop(vault);
    // LIST keys, GET slot, LIST commits and the device's, GET commit, GET the root's pack. Where keys happen to make an edge in
    // so small a tree (one time in twenty), a leaf of it may lie in an older pack.
    let fresh = world.open("b", Access::ReadWrite).await.unwrap();
    let counts = fresh.store().counts();
    let root = fresh.heads().base.commit.body.root;
    let level = nodes(&fresh).fetch(&root).await.unwrap().level;
    assert!(
        counts.requests() <= 6 + u64::from(level),
        "{counts:?}, {level}"
    );
    drop(fresh);
    // GET vault, LIST commits: the head's bytes are kept.
    let again = world.open("b", Access::ReadWrite).await.unwrap();
    let counts = again.store().counts();
    assert!(counts.requests() <= 3, "{counts:?}");
    assert_eq!(word(&again).await, "three");
}

#[tokio::test]
async fn a_wrong_secret_opens_nothing() {
    let world = World::new();
    drop(world.create("a").await);
    for machine in ["a", "b"] {
        let state = world.state(machine, Access::ReadOnly);
        let secret = passphrase("wrong");
        let opened = Vault::unlock(world.store(), state, &secret, Access::ReadOnly).await;
        assert!(matches!(opened, Err(Error::WrongSecret)), "{opened:?}");
    }
}

#[tokio::test]
async fn nothing_is_created_where_something_is() {
    let world = World::new();
    let opened = world.open("b", Access::ReadOnly).await;
    assert!(matches!(opened, Err(Error::NoVault { .. })), "{opened:?}");
    drop(world.create("a").await);
    for machine in ["a", "c"] {
        let state = world.state(machine, Access::ReadWrite);
        let created = Vault::make(world.store(), state, setup("right")).await;
        assert!(
            matches!(created, Err(Error::NotEmpty { .. })),
            "{created:?}"
        );
    }
    assert!(world.open("a", Access::ReadOnly).await.is_ok());

    let other = World::new();
    fs::write(other.folder().join("photo.jpg"), "mine").unwrap();
    let state = other.state("a", Access::ReadWrite);
    let created = Vault::make(other.store(), state, setup("right")).await;
    assert!(
        matches!(created, Err(Error::NotEmpty { .. })),
        "{created:?}"
    );
    assert_eq!(fs::read_dir(other.folder()).unwrap().count(), 1);
}

#[tokio::test]
async fn work_without_an_anchor_is_not_passed_over() {
    let world = World::new();
    drop(world.create("a").await);
    let state = world.state("b", Access::ReadWrite);
    fs::create_dir_all(state.journal()).unwrap();
    fs::write(state.journal().join("00000001"), "x").unwrap();
    drop(state);
    let opened = world.open("b", Access::ReadWrite).await;
    assert!(matches!(opened, Err(Error::Damaged { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_known_vault_opens_without_the_network() {
    let world = World::new();
    let vault = world.create("a").await;
    let point = publish(&vault, "offline").await;
    drop(vault);
    let nowhere = || {
        let uri = StoreUri::parse("webdav+http://127.0.0.1:9/none").unwrap();
        Store::open(&uri).unwrap()
    };
    let state = world.state("a", Access::ReadWrite);
    let secret = passphrase("right");
    let vault = Vault::unlock(nowhere(), state, &secret, Access::ReadWrite)
        .await
        .unwrap();
    assert!(vault.is_offline());
    assert_eq!(vault.heads().base.point, point);
    assert_eq!(vault.last(), Some(point));
    drop(vault);
    let state = world.state("b", Access::ReadWrite);
    let opened = Vault::unlock(nowhere(), state, &secret, Access::ReadWrite).await;
    assert!(
        matches!(opened, Err(Error::Unreachable { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn slots_come_and_go() {
    let world = World::new();
    let vault = world.create("a").await;
    let root = vault.heads().base.commit.body.root;
    let old = vault.slots(&nodes(&vault), &root).await.unwrap();
    let secret = passphrase("new");
    let (record, key) = vault
        .add_slot(&secret, "second", KdfParams::FLOOR)
        .await
        .unwrap();
    let open_with_new = async |machine: &str| {
        let state = world.state(machine, Access::ReadWrite);
        Vault::unlock(world.store(), state, &secret, Access::ReadWrite).await
    };
    // Up, but in no commit: it opens read-only.
    let early = open_with_new("early").await.unwrap();
    let early_root = early.heads().base.commit.body.root;
    assert!(
        !early
            .slot_listed(&nodes(&early), &early_root)
            .await
            .unwrap()
    );
    assert_eq!(early.access(), Access::ReadOnly);
    assert!(early.enrol("x").is_err());
    drop(early);

    let draft = draft(&vault, vec![(key, Record::Slot(record))]).await;
    vault.publish(draft).await.unwrap();
    vault.delete_slot_object(old[0].id).await.unwrap();
    drop(vault);
    let vault = open_with_new("late").await.unwrap();
    let root = vault.heads().base.commit.body.root;
    assert!(vault.slot_listed(&nodes(&vault), &root).await.unwrap());
    assert!(matches!(
        world.open("third", Access::ReadOnly).await,
        Err(Error::WrongSecret)
    ));
    assert_eq!(
        vault
            .store()
            .list(Prefix::Slots)
            .await
            .unwrap()
            .objects
            .len(),
        1
    );
    assert!(Path::new(&world.folder()).join("vault").exists());
}
