//! Whether world and model are the same file system, and the world's records are consistent.

use std::collections::BTreeMap;

use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Content;
use coffre_format::record::FileKind;
use coffre_format::record::Record;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::record::tag;

use crate::fs::namespace;
use crate::fs::namespace::tests::pair::Pair;
use crate::fs::namespace::view;

pub(super) fn check(pair: &Pair) {
    for (inode, node) in &pair.model.nodes {
        check_attributes(pair, *inode);
        check_xattrs(pair, *inode);
        match node.kind {
            FileKind::Directory => check_listing(pair, *inode),
            FileKind::Regular => check_content(pair, *inode),
            _ => {}
        }
    }
    check_records(pair);
}

fn check_attributes(pair: &Pair, inode: Inode) {
    let found = pair.world.look(|view| namespace::attributes(view, inode));
    let found = found.expect("the model has it");
    let node = &pair.model.nodes[&inode];
    let nlink = pair.model.nlink(inode) as u32;
    let written = node.written.iter().filter(|written| **written).count() as u64;
    let time = |seconds| Timestamp { seconds, nanos: 0 };
    assert_eq!(
        (found.kind, found.mode, found.uid, found.gid),
        (node.kind, node.mode, node.uid, node.gid)
    );
    assert_eq!(
        (found.nlink, found.size, found.allocated),
        (
            nlink,
            node.content.len() as u64,
            written.next_multiple_of(512)
        )
    );
    assert_eq!(
        (found.mtime, found.ctime),
        (time(node.mtime), time(node.ctime))
    );
}

fn check_xattrs(pair: &Pair, inode: Inode) {
    let node = &pair.model.nodes[&inode];
    let names = pair.world.look(|view| namespace::list_xattrs(view, inode));
    let expected: Vec<Vec<u8>> = node.xattrs.keys().cloned().collect();
    assert_eq!(names, Ok(expected));
    for (name, value) in &node.xattrs {
        let found = pair.world.look(|view| namespace::xattr(view, inode, name));
        assert_eq!(found.as_deref(), Ok(&value[..]));
    }
}

/// Lists in twos, so that continuing is tested too.
fn check_listing(pair: &Pair, inode: Inode) {
    let mut found = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let listed = pair
            .world
            .look(|view| namespace::list(view, inode, after.as_deref(), 2, true));
        let listed = listed.expect("it is a directory");
        assert!(listed.len() <= 2);
        let Some(last) = listed.last() else { break };
        after = Some(last.name.clone());
        for child in listed {
            let attributes = child.attributes.expect("asked for");
            let expected = &pair.model.nodes[&child.inode];
            assert_eq!(
                (child.kind, attributes.mode),
                (expected.kind, expected.mode)
            );
            found.insert(child.name, child.inode);
        }
    }
    assert_eq!(found, pair.model.nodes[&inode].names);
    for (name, child) in &found {
        let looked_up = pair.world.look(|view| namespace::lookup(view, inode, name));
        assert_eq!(looked_up.map(|found| found.inode), Ok(*child));
        if pair.model.nodes[child].kind == FileKind::Directory {
            let up = pair.world.look(|view| namespace::parent_of(view, *child));
            assert_eq!(up, Ok(inode));
        }
    }
}

fn check_content(pair: &Pair, inode: Inode) {
    let node = &pair.model.nodes[&inode];
    let size = node.content.len();
    let mut content = vec![0; size];
    let mut written = vec![false; size];
    let blocks = pair
        .world
        .look(|view| namespace::map(view, inode, 0..size as u64));
    for (index, block) in blocks.expect("it is there") {
        for piece in &block.pieces {
            let bytes = match &piece.content {
                Content::Bytes(bytes) => bytes,
                Content::Frame(pointer) => &pair.world.stored.frames[pointer],
            };
            let start = (index * u64::from(BLOCK)) as usize + piece.at as usize;
            let end = start + piece.len as usize;
            let skip = piece.skip as usize;
            content[start..end].copy_from_slice(&bytes[skip..skip + piece.len as usize]);
            written[start..end].fill(true);
        }
    }
    assert!(content == node.content, "content of {inode}");
    assert!(written == node.written, "holes of {inode}");
}

/// Entries and links answer each other, and nothing is left of what is gone.
fn check_records(pair: &Pair) {
    let mut entries = Vec::new();
    let mut links = Vec::new();
    for (key, value) in pair.world.everything() {
        let inode = key.inode_of().expect("every key has one");
        match (&*value, key.tag()) {
            (Value::Record(Record::Orphan), _) => {
                let bytes = *key.rest().last_chunk::<8>().expect("an inode");
                let orphan = Inode(u64::from_be_bytes(bytes));
                assert!(pair.model.open.contains(&orphan) && pair.model.nlink(orphan) == 0);
                continue;
            }
            (Value::Record(Record::Entry(entry)), _) => {
                entries.push((inode, key.rest().to_vec(), entry.inode));
            }
            (_, Some(tag::LINK)) => {
                let (parent, name) = view::link_of(&key).expect("a link");
                links.push((parent, name, inode));
            }
            _ => {}
        }
        assert!(pair.model.nodes.contains_key(&inode), "{key:?} is left");
    }
    links.sort();
    entries.sort();
    assert_eq!(entries, links);
}
