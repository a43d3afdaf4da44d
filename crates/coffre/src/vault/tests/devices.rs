//! Several devices, and one that exists twice.

use coffre_format::id::Seq;

use super::World;
use super::draft;
use super::publish;
use super::setting;
use super::word;
use crate::error::Error;
use crate::vault::Access;

#[tokio::test]
async fn a_second_device_enrols_itself_and_the_first_follows() {
    let world = World::new();
    let first = world.create("a").await;
    let second = world.open("b", Access::ReadWrite).await.unwrap();
    assert_eq!(second.device(), None);
    let point = publish(&second, "from b").await;
    assert_eq!(point.seq, Seq(1));
    let heads = first.refresh().await.unwrap();
    assert_eq!(
        (heads.base.device, heads.base.point),
        (second.device().unwrap(), point)
    );
    assert!(
        heads.diverged.is_empty() && heads.warnings.is_empty(),
        "{:?}",
        heads.warnings
    );
    assert_eq!(word(&first).await, "from b");
    publish(&first, "from a").await;
    second.refresh().await.unwrap();
    assert_eq!(word(&second).await, "from a");
}

#[tokio::test]
async fn devices_that_do_not_know_of_each_other_diverge_and_go_on() {
    let world = World::new();
    let first = world.create("a").await;
    let second = world.open("b", Access::ReadWrite).await.unwrap();
    let mine = publish(&first, "a").await;
    publish(&second, "b").await;
    let heads = first.refresh().await.unwrap();
    assert_eq!(heads.base.point, mine);
    assert_eq!(heads.diverged, vec![second.device().unwrap()]);
    publish(&first, "a goes on").await;
    assert_eq!(
        second.refresh().await.unwrap().diverged,
        vec![first.device().unwrap()]
    );
}

#[tokio::test]
async fn a_checkpoint_is_in_what_an_honest_store_offers() {
    let world = World::new();
    let vault = world.create("a").await;
    let first = vault.checkpoint();
    let old = world.snapshot();
    publish(&vault, "one").await;
    publish(&vault, "two").await;
    let newest = vault.checkpoint();
    let fresh = world.open("b", Access::ReadWrite).await.unwrap();
    fresh.verify(&first).await.unwrap();
    fresh.verify(&newest).await.unwrap();
    publish(&fresh, "three").await;
    fresh.verify(&newest).await.unwrap();
    let mut other = newest;
    other.hash.0[0] ^= 1;
    assert!(matches!(
        fresh.verify(&other).await,
        Err(Error::Rollback { .. })
    ));
    // A device without a past is shown an old state: only the checkpoint tells.
    world.put_back(&old);
    let deceived = world.open("c", Access::ReadOnly).await.unwrap();
    let verified = deceived.verify(&newest).await;
    assert!(matches!(verified, Err(Error::Rollback { .. })));
}

#[tokio::test]
async fn a_commit_whose_tree_does_not_list_its_device_is_refused() {
    let world = World::new();
    let first = world.create("a").await;
    let second = world.open("b", Access::ReadWrite).await.unwrap();
    let mut draft = draft(&second, vec![setting("sneaked in")]).await;
    draft.root = first.heads().base.commit.body.root;
    second.publish(draft).await.unwrap();
    let heads = first.refresh().await.unwrap();
    assert_eq!(heads.all.len(), 1);
    assert!(
        heads.warnings.iter().any(|w| w.contains("does not list")),
        "{:?}",
        heads.warnings
    );
}

#[tokio::test]
async fn a_copied_state_folder_goes_on_as_a_new_device() {
    let world = World::new();
    let vault = world.create("a").await;
    publish(&vault, "before").await;
    let old = vault.device().unwrap();
    drop(vault);
    world.clone_machine("a", "clone");
    let clone = world.open("clone", Access::ReadWrite).await.unwrap();
    publish(&clone, "clone").await;

    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    assert_eq!(vault.device(), None);
    assert_eq!(vault.retired(), vec![old]);
    let warnings = vault.heads().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("exists twice")),
        "{warnings:?}"
    );
    assert_eq!(word(&vault).await, "clone");
    let point = publish(&vault, "as a new device").await;
    assert_eq!(point.seq, Seq(1));
    assert_ne!(vault.device(), Some(old));
    assert_eq!(clone.refresh().await.unwrap().base.point, point);
}

#[tokio::test]
async fn two_commits_in_one_place_are_both_heads_and_nobody_is_locked_out() {
    let world = World::new();
    drop(world.create("a").await);
    world.clone_machine("a", "clone");
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    let clone = world.open("clone", Access::ReadWrite).await.unwrap();
    let witness = world.open("w", Access::ReadOnly).await.unwrap();
    let mine = publish(&vault, "mine").await;
    let other = publish(&clone, "other").await;
    assert_eq!(mine.seq, other.seq);
    let heads = vault.refresh().await.unwrap();
    assert_eq!(heads.all.len(), 2);
    assert_eq!(vault.device(), None);
    let draft_now = draft(&vault, vec![setting("merged later")]).await;
    vault.publish(draft_now).await.unwrap();
    // The clone finds out by itself; a third machine sees both.
    clone.refresh().await.unwrap();
    let refused = clone.settle_intent().await;
    assert!(matches!(refused, Ok(None)));
    let seen = witness.refresh().await.unwrap();
    assert!(seen.all.len() >= 2);
    assert!(
        seen.warnings.iter().any(|w| w.contains("two commits")),
        "{:?}",
        seen.warnings
    );
}

#[tokio::test]
async fn an_older_state_folder_is_told_by_what_others_have_seen() {
    let world = World::new();
    drop(world.create("a").await);
    world.clone_machine("a", "backup");
    let vault = world.open("a", Access::ReadWrite).await.unwrap();
    publish(&vault, "since").await;
    drop(vault);
    let restored = world.open("backup", Access::ReadWrite).await.unwrap();
    assert_eq!(restored.device(), None);
    let head = restored.heads().base.commit.body.root;
    let draft = crate::vault::Draft {
        root: head,
        merged: Default::default(),
        packs: Vec::new(),
        node_packs: Vec::new(),
        session: coffre_format::id::SessionPrefix(1),
        lsn: coffre_format::id::Lsn(1),
        label: String::new(),
    };
    let published = restored.publish(draft).await;
    assert!(matches!(published, Err(Error::DeviceCloned { .. })));
}
