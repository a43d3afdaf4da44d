//! The sink: packs that close themselves, places that are settled, nodes that open again.

use std::sync::Arc;

use bytes::Bytes;
use coffre_format::frame::Compression;
use coffre_format::id::Inode;
use coffre_format::name::ObjectName;
use coffre_format::pack::PACK_FULL;
use coffre_format::record::Block;
use coffre_format::record::Content;
use coffre_format::record::Key;
use coffre_format::record::Piece;
use coffre_format::record::Place;
use coffre_format::record::Record;
use coffre_format::record::Value;

use super::World;
use super::nodes;
use crate::tree;
use crate::tree::Changes;
use crate::vault::PackSink;

fn noise(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 128 * 1024];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn content_over_several_packs_is_read_back_through_the_tree() {
    let world = World::new();
    let vault = world.create("a").await;
    let ring = vault.ring();
    let base = vault.heads().base.commit.body.root;
    let mut sink = PackSink::new(ring.clone(), PACK_FULL as usize).unwrap();
    let mut changes = Changes::default();
    const BLOCKS: u64 = 200;
    for index in 0..BLOCKS {
        let pointer = sink.put_data(&noise(index), Compression::Try).unwrap();
        let piece = Piece {
            at: 0,
            len: 128 * 1024,
            skip: 0,
            content: Content::Frame(pointer),
        };
        let block = Block {
            pieces: vec![piece],
        };
        let value = Value::Record(Record::Block(block));
        changes.put(Key::block(Inode(77), index), Arc::new(value));
    }
    let source = nodes(&vault);
    let root = tree::edit(&base, &changes, ring.structure(), &source, &mut sink)
        .await
        .unwrap();
    let sealed = sink.finish().unwrap();
    assert_eq!(sealed.packs.len(), 2);
    assert_eq!(sealed.packs[0].bytes.len(), PACK_FULL as usize);
    let root = sealed.settled.child(root);
    assert!(matches!(root.pointer.place, Place::Pack { .. }));
    assert_eq!(sealed.nodes.last().unwrap().0, root);
    for pack in &sealed.packs {
        let name = ObjectName::Pack(pack.name());
        vault.store().put(&name, pack.bytes.clone()).await.unwrap();
    }
    let fresh = nodes(&vault);
    for index in [0, 63, 127, BLOCKS - 1] {
        let found = fresh.get(&root, &Key::block(Inode(77), index)).await;
        let Some(Record::Block(block)) = found.unwrap() else {
            panic!("no block {index}");
        };
        let Content::Frame(pointer) = &block.pieces[0].content else {
            panic!("not in a frame");
        };
        assert_eq!(
            fresh.data(pointer).await.unwrap(),
            Bytes::from(noise(index))
        );
    }
    // Nodes handed over equal nodes read back.
    for (child, node) in &sealed.nodes {
        let read = tree::Source::fetch(&fresh, child).await.unwrap();
        assert_eq!(*read, **node);
    }
}
