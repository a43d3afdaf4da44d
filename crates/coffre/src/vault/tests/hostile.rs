//! Stores that roll back, hide, swap and damage.

use std::fs;

use super::World;
use super::copy_folder;
use super::publish;
use super::word;
use crate::error::Error;
use crate::vault::Access;

#[tokio::test]
async fn an_older_store_is_a_rollback_until_it_is_honest_again() {
    let world = World::new();
    let vault = world.create("a").await;
    publish(&vault, "old").await;
    let old = world.snapshot();
    publish(&vault, "new").await;
    let new = world.snapshot();
    world.put_back(&old);
    let refreshed = vault.refresh().await;
    assert!(matches!(refreshed, Err(Error::Rollback { .. })));
    world.put_back(&new);
    // Sticky in the process that has seen it.
    assert!(matches!(vault.refresh().await, Err(Error::Rollback { .. })));
    drop(vault);
    world.put_back(&old);
    for access in [Access::ReadWrite, Access::ReadOnly, Access::ReadOnly] {
        let opened = world.open("a", access).await;
        assert!(matches!(opened, Err(Error::Rollback { .. })), "{opened:?}");
    }
    world.put_back(&new);
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    assert_eq!(word(&vault).await, "new");
}

#[tokio::test]
async fn a_hidden_newest_commit_of_another_device_is_a_rollback() {
    let world = World::new();
    drop(world.create("a").await);
    let other = world.open("b", Access::ReadWrite).await.unwrap();
    publish(&other, "one").await;
    let hidden = publish(&other, "two").await;
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    assert_eq!(word(&vault).await, "two");
    let path = world.commit(other.device().unwrap(), hidden);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    drop(vault);
    let opened = world.open("a", Access::ReadOnly).await;
    assert!(matches!(opened, Err(Error::Rollback { .. })), "{opened:?}");
    fs::write(&path, bytes).unwrap();
    assert!(world.open("a", Access::ReadOnly).await.is_ok());
}

#[tokio::test]
async fn a_commit_that_only_others_have_seen_is_withheld() {
    let world = World::new();
    let first = world.create("a").await;
    let second = world.open("b", Access::ReadWrite).await.unwrap();
    publish(&second, "b").await;
    first.refresh().await.unwrap();
    let hidden = publish(&first, "a").await;
    second.refresh().await.unwrap();
    publish(&second, "b again").await;
    fs::remove_file(world.commit(first.device().unwrap(), hidden)).unwrap();
    let third = world.open("c", Access::ReadOnly).await.unwrap();
    let warnings = third.heads().warnings;
    assert!(
        warnings.iter().any(|w| w.starts_with("withheld")),
        "{warnings:?}"
    );
    assert_eq!(word(&third).await, "b again");
}

#[tokio::test]
async fn another_vault_at_the_address_is_noticed_before_any_derivation() {
    let world = World::new();
    drop(world.create("a").await);
    let other = World::new();
    drop(other.create("x").await);
    fs::remove_dir_all(world.folder()).unwrap();
    copy_folder(&other.folder(), &world.folder());
    let opened = world.open("a", Access::ReadOnly).await;
    assert!(
        matches!(opened, Err(Error::WrongVault { .. })),
        "{opened:?}"
    );
    // Even if the hint is gone.
    fs::remove_file(world.folder().join("vault")).unwrap();
    let opened = world.open("a", Access::ReadOnly).await;
    assert!(
        matches!(opened, Err(Error::WrongVault { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn the_vault_object_is_only_a_hint() {
    let world = World::new();
    drop(world.create("a").await);
    fs::remove_file(world.folder().join("vault")).unwrap();
    assert!(world.open("a", Access::ReadOnly).await.is_ok());
    assert!(world.open("b", Access::ReadOnly).await.is_ok());
}

#[tokio::test]
async fn torn_uploads_are_skipped_and_accepted_commits_are_not() {
    let world = World::new();
    let vault = world.create("a").await;
    let device = vault.device().unwrap();
    let point = publish(&vault, "whole").await;
    let bytes = fs::read(world.commit(device, point)).unwrap();
    let torn = coffre_format::commit::Point {
        seq: coffre_format::id::Seq(9),
        hash: coffre_format::id::CommitHash([9; 32]),
    };
    fs::write(world.commit(device, torn), &bytes[..bytes.len() / 2]).unwrap();
    let heads = vault.refresh().await.unwrap();
    assert_eq!(heads.base.point, point);
    assert!(
        heads.warnings.iter().any(|w| w.contains("skipped")),
        "{:?}",
        heads.warnings
    );
    let fresh = world.open("b", Access::ReadOnly).await.unwrap();
    assert_eq!(fresh.heads().base.point, point);
    drop(fresh);
    // The accepted one altered: a device that has only its name sees that it is forged.
    let path = world.commit(device, point);
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    fs::write(&path, altered).unwrap();
    let state = world.state("b", Access::ReadWrite);
    fs::remove_dir_all(state.heads()).unwrap();
    drop(state);
    let opened = world.open("b", Access::ReadOnly).await;
    assert!(matches!(opened, Err(Error::Forged { .. })), "{opened:?}");
}
