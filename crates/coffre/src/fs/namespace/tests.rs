//! Random operations on the namespace core and on the model: the same answers, the same file systems.

use std::collections::BTreeMap;

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Content;
use coffre_format::record::FileKind;
use coffre_format::record::Piece;
use coffre_format::record::Record;
use coffre_format::record::Timestamp;
use coffre_format::record::Value;
use coffre_format::record::tag;
use proptest::prelude::*;

use crate::error::Refusal;
use crate::fs::namespace;
use crate::fs::namespace::entries::InodeOpen;
use crate::fs::namespace::model::Model;
use crate::fs::namespace::view;
use crate::fs::namespace::world::DEVICE;
use crate::fs::namespace::world::World;
use crate::fs::types::Allocate;
use crate::fs::types::Make;
use crate::fs::types::Owner;
use crate::fs::types::RenameMode;
use crate::fs::types::Seek;
use crate::fs::types::SetAttributes;
use crate::fs::types::XattrMode;

/// Numbers choose among what there is at that time: inodes, names, offsets.
#[derive(Debug, Clone)]
enum Operation {
    Make(u8, u8, u8, u32),
    Link(u8, u8, u8),
    Unlink(u8, u8),
    RemoveDirectory(u8, u8),
    Rename(u8, u8, u8, u8, u8),
    Truncate(u8, u8),
    ChangeMode(u8, u32),
    ChangeOwner(u8, u32),
    Write(u8, u8, u8, bool),
    Allocate(u8, u8, u8, u8),
    Copy(u8, u8, u8, u8, u8),
    Seek(u8, u8, bool),
    SetXattr(u8, u8, u8, u8),
    RemoveXattr(u8, u8),
    Open(u8),
    Release(u8),
    Forget,
    Fold,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let byte = || any::<u8>();
    prop_oneof![
        8 => (byte(), byte(), byte(), any::<u32>()).prop_map(|(a, b, c, d)| Make(a, b, c, d)),
        3 => (byte(), byte(), byte()).prop_map(|(a, b, c)| Link(a, b, c)),
        3 => (byte(), byte()).prop_map(|(a, b)| Unlink(a, b)),
        2 => (byte(), byte()).prop_map(|(a, b)| RemoveDirectory(a, b)),
        6 => (byte(), byte(), byte(), byte(), byte())
            .prop_map(|(a, b, c, d, e)| Rename(a, b, c, d, e)),
        3 => (byte(), byte()).prop_map(|(a, b)| Truncate(a, b)),
        1 => (byte(), any::<u32>()).prop_map(|(a, b)| ChangeMode(a, b)),
        1 => (byte(), any::<u32>()).prop_map(|(a, b)| ChangeOwner(a, b)),
        8 => (byte(), byte(), byte(), any::<bool>()).prop_map(|(a, b, c, d)| Write(a, b, c, d)),
        3 => (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| Allocate(a, b, c, d)),
        3 => (byte(), byte(), byte(), byte(), byte())
            .prop_map(|(a, b, c, d, e)| Copy(a, b, c, d, e)),
        2 => (byte(), byte(), any::<bool>()).prop_map(|(a, b, c)| Seek(a, b, c)),
        2 => (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| SetXattr(a, b, c, d)),
        1 => (byte(), byte()).prop_map(|(a, b)| RemoveXattr(a, b)),
        2 => byte().prop_map(Open),
        2 => byte().prop_map(Release),
        1 => Just(Forget),
        2 => Just(Fold),
    ]
}

/// Offsets near the ends of blocks and sectors, where mistakes live.
fn offset(choice: u8) -> usize {
    let near = [0, 1, 100, 511, 512, 4096, 70_000, 131_071];
    usize::from(choice / 8 % 3) * BLOCK as usize + near[usize::from(choice % 8)]
}

fn length(choice: u8) -> usize {
    let lengths = [0, 1, 10, 511, 600, 5000, 131_072, 200_000];
    lengths[usize::from(choice % 8)]
}

fn name(choice: u8) -> Vec<u8> {
    vec![b'a' + choice % 5]
}

fn xattr_name(choice: u8) -> &'static [u8] {
    let names: [&[u8]; 3] = [b"user.one", b"user.two", b"security.capability"];
    names[usize::from(choice % 3)]
}

struct Pair {
    world: World,
    model: Model,
}

impl Pair {
    fn new() -> Self {
        Self {
            world: World::new(),
            model: Model::new(),
        }
    }

    /// Any inode; most often one of the wanted kind.
    fn pick(&self, choice: u8, wanted: FileKind) -> Inode {
        let nodes = &self.model.nodes;
        let fitting: Vec<Inode> = nodes
            .iter()
            .filter(|(_, node)| node.kind == wanted || choice >= 240)
            .map(|(inode, _)| *inode)
            .collect();
        if fitting.is_empty() {
            return Inode::ROOT;
        }
        fitting[usize::from(choice) % fitting.len()]
    }

    fn directory(&self, choice: u8) -> Inode {
        self.pick(choice, FileKind::Directory)
    }

    fn file(&self, choice: u8) -> Inode {
        self.pick(choice, FileKind::Regular)
    }

    fn step(&mut self, operation: &Operation) {
        self.world.now += 1;
        self.model.now += 1;
        match *operation {
            Operation::Forget => self.world.forget(),
            Operation::Fold => self.world.fold(),
            Operation::Open(inode) => {
                let inode = self.file(inode);
                self.model.open.insert(inode);
            }
            Operation::Release(inode) => {
                let inode = self.file(inode);
                self.model.release(inode);
                self.world
                    .run(|view, context| namespace::reap(view, context, inode, DEVICE))
                    .expect("reaping is never refused");
            }
            Operation::Make(..)
            | Operation::Link(..)
            | Operation::Unlink(..)
            | Operation::RemoveDirectory(..)
            | Operation::Rename(..) => self.names(operation),
            Operation::ChangeMode(..)
            | Operation::ChangeOwner(..)
            | Operation::SetXattr(..)
            | Operation::RemoveXattr(..) => self.metadata(operation),
            _ => self.content(operation),
        }
    }

    fn names(&mut self, operation: &Operation) {
        let open = self.model.open.clone();
        let open = |inode: Inode| match open.contains(&inode) {
            true => InodeOpen::Yes,
            false => InodeOpen::No,
        };
        match *operation {
            Operation::Make(parent, choice, kind, mode) => {
                let (parent, name) = (self.directory(parent), name(choice));
                let inode = self.world.allocate_inode();
                let (what, kind) = what(kind);
                let owner = Owner {
                    uid: 1,
                    gid: mode % 3,
                    mode: mode & 0o7777,
                };
                let made = self.world.run(|view, context| {
                    namespace::make(view, context, (parent, &name), inode, &what, owner)
                });
                let model = self.model.make(
                    (parent, &name),
                    inode,
                    (kind, mode & 0o7777),
                    (1, mode % 3),
                );
                assert_eq!(made.map(|made| made.inode), model.map(|()| inode));
            }
            Operation::Link(inode, parent, choice) => {
                let (inode, parent) = (self.file(inode), self.directory(parent));
                let name = name(choice);
                let linked = self.world.run(|view, context| {
                    namespace::link(view, context, inode, (parent, &name))
                });
                let model = self.model.link(inode, (parent, &name));
                let model = model.map(|()| self.model.nlink(inode) as u32);
                assert_eq!(linked.map(|linked| linked.nlink), model);
            }
            Operation::Unlink(parent, choice) => {
                let (parent, name) = (self.directory(parent), name(choice));
                let removed = self.world.run(|view, context| {
                    namespace::unlink(view, context, (parent, &name), open, DEVICE)
                });
                let model = self.model.unlink(parent, &name);
                assert_eq!(removed.map(|_| ()), model);
            }
            Operation::RemoveDirectory(parent, choice) => {
                let (parent, name) = (self.directory(parent), name(choice));
                let removed = self.world.run(|view, context| {
                    namespace::remove_directory(view, context, (parent, &name), open, DEVICE)
                });
                let model = self.model.remove_directory(parent, &name);
                assert_eq!(removed.map(|_| ()), model);
            }
            Operation::Rename(from, source, to, target, mode) => {
                let (from, to) = (self.directory(from), self.directory(to));
                let (source, target) = (name(source), name(target));
                let (from, to) = ((from, &source[..]), (to, &target[..]));
                let modes = [
                    RenameMode::Replace,
                    RenameMode::Exchange,
                    RenameMode::NoReplace,
                    RenameMode::Replace,
                ];
                let mode = modes[usize::from(mode % 4)];
                let opened = namespace::Opened {
                    open: &open,
                    device: DEVICE,
                };
                let renamed = self.world.run(|view, context| {
                    namespace::rename(view, context, from, to, mode, &opened)
                });
                let model = self.model.rename(from, to, mode);
                assert_eq!(renamed.map(|_| ()), model);
            }
            _ => {}
        }
    }

    fn metadata(&mut self, operation: &Operation) {
        let set = |world: &mut World, inode, set: SetAttributes| {
            world
                .run(|view, context| namespace::set_attributes(view, context, inode, &set))
                .map(|_| ())
        };
        match *operation {
            Operation::ChangeMode(inode, mode) => {
                let (inode, mode) = (self.file(inode), mode & 0o7777);
                let change = SetAttributes {
                    mode: Some(mode),
                    ..SetAttributes::default()
                };
                let model = self.model.change_mode(inode, mode);
                assert_eq!(set(&mut self.world, inode, change), model);
            }
            Operation::ChangeOwner(inode, owner) => {
                let inode = self.file(inode);
                let (uid, gid) = (owner % 4, owner / 4 % 4);
                let change = SetAttributes {
                    uid: Some(uid),
                    gid: Some(gid),
                    ..SetAttributes::default()
                };
                let model = self.model.change_owner(inode, uid, gid);
                assert_eq!(set(&mut self.world, inode, change), model);
            }
            Operation::SetXattr(inode, choice, len, mode) => {
                let (inode, name) = (self.file(inode), xattr_name(choice));
                let value = vec![len; usize::from(len)];
                let modes = [XattrMode::Set, XattrMode::Create, XattrMode::Replace];
                let mode = modes[usize::from(mode % 3)];
                let done = self.world.run(|view, context| {
                    let value = Bytes::copy_from_slice(&value);
                    namespace::set_xattr(view, context, inode, (name, value), mode)
                });
                assert_eq!(done, self.model.set_xattr(inode, name, &value, mode));
            }
            Operation::RemoveXattr(inode, choice) => {
                let (inode, name) = (self.file(inode), xattr_name(choice));
                let done = self
                    .world
                    .run(|view, context| namespace::remove_xattr(view, context, inode, name));
                assert_eq!(done, self.model.remove_xattr(inode, name));
            }
            _ => {}
        }
    }

    fn content(&mut self, operation: &Operation) {
        match *operation {
            Operation::Truncate(inode, size) => {
                let (inode, size) = (self.file(inode), offset(size));
                let change = SetAttributes {
                    size: Some(size as u64),
                    ..SetAttributes::default()
                };
                let done = self.world.run(|view, context| {
                    namespace::set_attributes(view, context, inode, &change)
                });
                let model = self.model.truncate(inode, size);
                assert_eq!(done.as_ref().map(|_| ()), model.as_ref().map(|()| ()));
                if let Ok(done) = done {
                    let now = self.world.look(|view| namespace::attributes(view, inode));
                    assert_eq!(Ok(done), now, "attributes in the reply are those after it");
                }
            }
            Operation::Write(inode, at, len, clear) => {
                let (inode, at, len) = (self.file(inode), offset(at), length(len));
                let data: Vec<u8> = (0..len).map(|i| (i as i64 + self.world.now) as u8).collect();
                let privileges = match clear {
                    true => namespace::Privileges::Clear,
                    false => namespace::Privileges::Keep,
                };
                let done = self.world.run(|view, context| {
                    namespace::write_blocks(view, context, inode, parts(at, &data), privileges)
                });
                if len == 0 && done.is_ok() {
                    return;
                }
                let model = self.model.write(inode, at, &data);
                if clear && model.is_ok() {
                    self.model.clear_privileges(inode);
                }
                assert_eq!(done.map(|_| ()), model);
            }
            Operation::Allocate(inode, mode, at, len) => {
                let (inode, at, len) = (self.file(inode), offset(at), length(len));
                let modes = [
                    Allocate::Punch,
                    Allocate::ZeroExtend,
                    Allocate::ZeroKeepSize,
                    Allocate::Extend,
                    Allocate::KeepSize,
                    Allocate::Punch,
                ];
                let mode = modes[usize::from(mode % 6)];
                let done = self.world.run(|view, context| {
                    namespace::allocate(view, context, inode, mode, at as u64, len as u64)
                });
                assert_eq!(done, self.model.allocate(inode, mode, at, len));
            }
            Operation::Copy(from, start, to, at, len) => {
                let (from, to) = (self.file(from), self.file(to));
                let (start, at, len) = (offset(start), offset(at), length(len));
                let done = self.world.run(|view, context| {
                    let from = (from, start as u64);
                    namespace::copy_range(view, context, from, (to, at as u64), len as u64)
                });
                let model = self.model.copy((from, start), (to, at), len);
                assert_eq!(done, model.map(|copied| copied as u64));
            }
            Operation::Seek(inode, at, data) => {
                let (inode, at) = (self.file(inode), offset(at));
                let what = if data { Seek::Data } else { Seek::Hole };
                let done = self
                    .world
                    .look(|view| namespace::seek(view, inode, what, at as u64));
                let model = self.model.seek(inode, what, at);
                assert_eq!(done, model.map(|found| found as u64));
            }
            _ => {}
        }
    }
}

fn what(choice: u8) -> (Make, FileKind) {
    match choice % 8 {
        0..3 => (Make::Directory, FileKind::Directory),
        3 => (Make::Symlink(b"target".to_vec()), FileKind::Symlink),
        4 => (Make::Special(FileKind::Fifo, 0), FileKind::Fifo),
        _ => (Make::File, FileKind::Regular),
    }
}

/// A write as the shell cuts it: at the ends of blocks.
fn parts(at: usize, data: &[u8]) -> Vec<(u64, Piece)> {
    let block = BLOCK as usize;
    let mut parts = Vec::new();
    let mut taken = 0;
    while taken < data.len() {
        let position = at + taken;
        let len = (data.len() - taken).min(block - position % block);
        let content = Content::Bytes(Bytes::copy_from_slice(&data[taken..taken + len]));
        let piece = Piece {
            at: (position % block) as u32,
            len: len as u32,
            skip: 0,
            content,
        };
        parts.push(((position / block) as u64, piece));
        taken += len;
    }
    parts
}

mod comparison {
    //! Whether world and model are the same file system, and the world's records are consistent.

    use super::*;

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
            let listed = pair.world.look(|view| {
                namespace::list(view, inode, after.as_deref(), 2, true)
            });
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
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_file_system_of_the_model(
        operations in proptest::collection::vec(operation(), 1..80)
    ) {
        let mut pair = Pair::new();
        for (step, operation) in operations.iter().enumerate() {
            pair.step(operation);
            if step % 8 == 0 {
                comparison::check(&pair);
            }
        }
        comparison::check(&pair);
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let mut pair = Pair::new();
    let inode = pair.world.allocate_inode();
    let owner = Owner {
        uid: 0,
        gid: 0,
        mode: 0o644,
    };
    let long = [b'x'; 256];
    let cases: [(&[u8], Refusal); 6] = [
        (b"", Refusal::Invalid),
        (b".", Refusal::Invalid),
        (b"..", Refusal::Invalid),
        (b"a/b", Refusal::Invalid),
        (b"a\0", Refusal::Invalid),
        (&long, Refusal::NameTooLong),
    ];
    for (name, refusal) in cases {
        let made = pair.world.run(|view, context| {
            namespace::make(view, context, (Inode::ROOT, name), inode, &Make::File, owner)
        });
        assert_eq!(made, Err(refusal));
    }
}
