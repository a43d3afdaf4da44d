//! Publishing, and dying in the middle of it.

use std::fs;

use coffre_format::id::Seq;

use super::World;
use super::draft;
use super::publish;
use super::setting;
use super::word;
use crate::error::Error;
use crate::vault::Access;
use crate::vault::Vault;
use crate::vault::anchor;
use crate::vault::kept;
use crate::vault::publish::put_and_compare;
use crate::vault::publish::sign;

/// What a process leaves that dies after anchoring its intent.
async fn die_with_intent(vault: &Vault, word: &str) -> coffre_format::anchor::Intent {
    let draft = draft(vault, vec![setting(word)]).await;
    let mut memory = vault.memory();
    let own = memory.own_head(vault.id()).map(|head| &head.commit);
    let intent = sign(&memory.anchor, &memory.ring, own, draft).unwrap();
    memory.anchor.intent = Some(intent.clone());
    vault.save(&mut memory).unwrap();
    intent
}

#[tokio::test]
async fn commits_follow_each_other() {
    let world = World::new();
    let vault = world.create("a").await;
    let first = vault.last().unwrap();
    let second = publish(&vault, "two").await;
    assert_eq!((first.seq, second.seq), (Seq(1), Seq(2)));
    let head = vault.heads().base;
    assert_eq!(head.point, second);
    assert_eq!(head.commit.clear.previous, first.hash);
    let device = vault.device().unwrap();
    assert_eq!(head.commit.body.merged.get(&device), Some(&first));
    assert_eq!(vault.refresh().await.unwrap().base.point, second);
    assert_eq!(word(&vault).await, "two");
}

#[tokio::test]
async fn an_intent_that_never_left_is_put_again() {
    let world = World::new();
    let vault = world.create("a").await;
    let intent = die_with_intent(&vault, "late").await;
    drop(vault);
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    assert_eq!(vault.last().unwrap().seq, Seq(1));
    assert_eq!(vault.settle_intent().await.unwrap(), Some(intent.point));
    assert_eq!(vault.last(), Some(intent.point));
    let device = vault.device().unwrap();
    let stored = fs::read(world.commit(device, intent.point)).unwrap();
    assert_eq!(stored, intent.bytes);
    assert_eq!(vault.settle_intent().await.unwrap(), None);
    assert_eq!(word(&vault).await, "late");
}

#[tokio::test]
async fn an_intent_that_arrived_is_our_own_commit() {
    let world = World::new();
    let vault = world.create("a").await;
    let intent = die_with_intent(&vault, "arrived").await;
    let name = kept::commit_name(vault.device().unwrap(), &intent.point);
    let bytes = intent.bytes.clone().into();
    put_and_compare(vault.store(), &name, &bytes).await.unwrap();
    drop(vault);
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    assert_eq!(vault.last(), Some(intent.point));
    assert!(vault.retired().is_empty());
    assert_eq!(vault.settle_intent().await.unwrap(), None);
    let next = publish(&vault, "after").await;
    assert_eq!(next.seq, Seq(3));
}

#[tokio::test]
async fn a_draft_comes_after_a_pending_intent() {
    let world = World::new();
    let vault = world.create("a").await;
    let intent = die_with_intent(&vault, "first").await;
    let point = publish(&vault, "second").await;
    assert_eq!(point.seq.0, intent.point.seq.0 + 1);
    assert_eq!(vault.heads().base.commit.clear.previous, intent.point.hash);
    drop(vault);
    let fresh = world.open("b", Access::ReadOnly).await.unwrap();
    assert_eq!(fresh.heads().base.point, point);
}

#[tokio::test]
async fn a_crash_between_put_and_anchor_loses_nothing() {
    let world = World::new();
    let vault = world.create("a").await;
    let state = world.machine("a");
    let before = tempfile::tempdir().unwrap();
    let intent = die_with_intent(&vault, "kept").await;
    super::copy_folder(&state, before.path());
    let point = vault.settle_intent().await.unwrap().unwrap();
    drop(vault);
    // The state folder as it was when only the intent was on the disk.
    fs::remove_dir_all(&state).unwrap();
    super::copy_folder(before.path(), &state);
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    assert_eq!((vault.last(), point), (Some(intent.point), intent.point));
}

#[tokio::test]
async fn readers_publish_nothing_and_leave_a_used_anchor_alone() {
    let world = World::new();
    let vault = world.create("a").await;
    publish(&vault, "x").await;
    drop(vault);
    let one = world.open("b", Access::ReadOnly).await.unwrap();
    let two = world.open("b", Access::ReadOnly).await.unwrap();
    assert!(matches!(one.enrol("b"), Err(Error::Refused(_))));
    assert!(one.settle_intent().await.unwrap().is_none());
    assert!(anchor::load(two.state()).unwrap().is_some());
}
