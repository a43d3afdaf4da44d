//! Decisions over vectors, and that the vault's work can move between threads.

use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::id::CommitHash;
use coffre_format::id::DeviceId;
use coffre_format::id::Seq;

use super::World;
use super::draft;
use super::nodes;
use super::passphrase;
use super::setup;
use crate::vault::Access;
use crate::vault::Depth;
use crate::vault::Head;
use crate::vault::Vault;
use crate::vault::base;
use crate::vault::check;

const A: DeviceId = DeviceId([1; 16]);
const B: DeviceId = DeviceId([2; 16]);
const C: DeviceId = DeviceId([3; 16]);

fn point(seq: u64) -> Point {
    Point {
        seq: Seq(seq),
        hash: CommitHash([seq as u8; 32]),
    }
}

fn head(model: &Head, device: DeviceId, seq: u64, merged: &[(DeviceId, u64)]) -> Head {
    let mut head = model.clone();
    head.device = device;
    head.point = point(seq);
    head.commit.body.merged = merged.iter().map(|(d, s)| (*d, point(*s))).collect();
    head
}

#[tokio::test]
async fn the_base_contains_what_it_can() {
    let world = World::new();
    let model = world.create("a").await.heads().base;
    let a = head(&model, A, 3, &[(A, 2)]);
    let b = head(&model, B, 2, &[(A, 3), (B, 1)]);
    let c = head(&model, C, 9, &[(A, 2), (C, 8)]);
    let all = [a, b, c];
    let choose = |own| base::choose(&all, own).map(|head| head.device);
    // The own commit, or whoever contains it, whatever others have.
    assert_eq!(choose(Some((A, point(3)))), Some(B));
    assert_eq!(choose(Some((C, point(9)))), Some(C));
    assert_eq!(choose(Some((B, point(2)))), Some(B));
    // First contact: none contains all others, so the one that has seen most.
    assert_eq!(choose(None), Some(C));
    assert_eq!(
        base::choose(&all[..2], None).map(|head| head.device),
        Some(B)
    );
    assert_eq!(base::diverged(&all[1], &all), vec![C]);
    assert_eq!(base::diverged(&all[1], &all[..2]), Vec::new());
}

#[test]
fn a_fork_is_not_contained() {
    let other = Point {
        seq: Seq(3),
        hash: CommitHash([0xff; 32]),
    };
    let vector = Vector::from([(A, point(3))]);
    assert!(base::reaches(&vector, A, &point(3)));
    assert!(base::reaches(&vector, A, &point(2)));
    assert!(!base::reaches(&vector, A, &other));
    assert!(!base::reaches(&vector, B, &point(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_moves_between_threads() {
    let world = World::new();
    let (store, state) = (world.store(), world.state("a", Access::ReadWrite));
    let created = tokio::spawn(Vault::make(store, state, setup("right")));
    let vault = created.await.unwrap().unwrap();
    let (store, state) = (world.store(), world.state("b", Access::ReadOnly));
    let opened = tokio::spawn(async move {
        let secret = passphrase("right");
        let vault = Vault::unlock(store, state, &secret, Access::ReadOnly).await?;
        vault.verify(&vault.checkpoint()).await
    });
    opened.await.unwrap().unwrap();
    let draft = draft(&vault, Vec::new()).await;
    let task = tokio::spawn(async move {
        vault.publish(draft).await.unwrap();
        let heads = vault.refresh().await.unwrap();
        let root = heads.base.commit.body.root;
        let nodes = nodes(&vault);
        assert!(vault.slot_listed(&nodes, &root).await.unwrap());
        check(&vault, &nodes, &root, Depth::Data, &|_| ())
            .await
            .unwrap()
            .is_sound()
    });
    assert!(task.await.unwrap());
}
