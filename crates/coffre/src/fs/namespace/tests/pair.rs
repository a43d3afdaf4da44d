//! The core and the model side by side: every operation runs on both, the answers must be equal.

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Content;
use coffre_format::record::FileKind;
use coffre_format::record::Piece;

use crate::fs::namespace;
use crate::fs::namespace::entries::InodeOpen;
use crate::fs::namespace::tests::Operation;
use crate::fs::namespace::tests::model::Model;
use crate::fs::namespace::tests::world::DEVICE;
use crate::fs::namespace::tests::world::World;
use crate::fs::types::Allocate;
use crate::fs::types::IfTaken;
use crate::fs::types::Make;
use crate::fs::types::Owner;
use crate::fs::types::RenameMode;
use crate::fs::types::Seek;
use crate::fs::types::SetAttributes;
use crate::fs::types::XattrMode;

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
    vec![b'a' + choice % 4]
}

fn xattr_name(choice: u8) -> &'static [u8] {
    let names: [&[u8]; 3] = [b"user.one", b"user.two", b"security.capability"];
    names[usize::from(choice % 3)]
}

pub(super) struct Pair {
    pub(super) world: World,
    pub(super) model: Model,
}

impl Pair {
    pub(super) fn new() -> Self {
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

    /// Any inode; most often one that has no name.
    fn orphan(&self, choice: u8) -> Inode {
        let nodes = &self.model.nodes;
        let orphans = nodes.keys().filter(|inode| self.model.nlink(**inode) == 0);
        let orphans: Vec<Inode> = orphans.copied().collect();
        match orphans.is_empty() || choice >= 220 {
            true => self.file(choice),
            false => orphans[usize::from(choice) % orphans.len()],
        }
    }

    /// Bytes as they are written at this time and at no other.
    fn data(&self, length: usize) -> Vec<u8> {
        let byte = |i| (i as i64 + self.world.now) as u8;
        (0..length).map(byte).collect()
    }

    pub(super) fn step(&mut self, operation: &Operation) {
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
            | Operation::MakeUnnamed(..)
            | Operation::PutInPlace(..)
            | Operation::MakeWhole(..)
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
                let owner = owner(mode);
                let made = self.world.run(|view, context| {
                    namespace::make(view, context, (parent, &name), inode, &what, owner)
                });
                let model =
                    self.model
                        .make((parent, &name), inode, (kind, mode & 0o7777), (1, mode % 3));
                assert_eq!(made.map(|made| made.inode), model.map(|()| inode));
            }
            Operation::MakeUnnamed(parent, mode) => {
                let parent = self.directory(parent);
                let inode = self.world.allocate_inode();
                let owner = owner(mode);
                let made = self.world.run(|view, context| {
                    namespace::make_unnamed(view, context, parent, inode, owner, DEVICE)
                });
                let (mode, owner) = (mode & 0o7777, (1, mode % 3));
                let model = self.model.make_unnamed(parent, inode, mode, owner);
                let made = made.map(|made| (made.inode, made.nlink));
                assert_eq!(made, model.map(|()| (inode, 0)));
            }
            Operation::PutInPlace(inode, parent, choice, replaces) => {
                let taken = if_taken(replaces);
                let (inode, parent) = (self.orphan(inode), self.directory(parent));
                let name = name(choice);
                let put = self.world.run(|view, context| {
                    let place = (parent, &name[..]);
                    namespace::put_in_place(view, context, inode, place, taken, open, DEVICE)
                });
                let model = self.model.put_in_place(inode, (parent, &name), taken);
                assert_eq!(put.map(|_| ()), model);
            }
            Operation::MakeWhole(parent, choice, len, mode, replaces) => {
                let (parent, name, taken) =
                    (self.directory(parent), name(choice), if_taken(replaces));
                let data = self.data(length(len));
                let parts = parts(0, &data);
                let whole = namespace::Whole {
                    inode: self.world.allocate_inode(),
                    parts: &parts,
                    owner: owner(mode),
                };
                let made = self.world.run(|view, context| {
                    let place = (parent, &name[..]);
                    namespace::make_whole(view, context, place, whole, taken, open, DEVICE)
                });
                let place = (parent, &name[..]);
                let who = (mode & 0o7777, (1, mode % 3));
                let model = self.model.make_whole(place, whole.inode, who, &data, taken);
                assert_eq!(made.map(|_| ()), model);
            }
            Operation::Link(inode, parent, choice) => {
                let (inode, parent) = (self.file(inode), self.directory(parent));
                let name = name(choice);
                let linked = self
                    .world
                    .run(|view, context| namespace::link(view, context, inode, (parent, &name)));
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
                let renamed = self
                    .world
                    .run(|view, context| namespace::rename(view, context, from, to, mode, &opened));
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
                let done = self
                    .world
                    .run(|view, context| namespace::set_attributes(view, context, inode, &change));
                let model = self.model.truncate(inode, size);
                assert_eq!(done.as_ref().map(|_| ()), model.as_ref().copied());
                if let Ok(done) = done {
                    let now = self.world.look(|view| namespace::attributes(view, inode));
                    assert_eq!(Ok(done), now, "attributes in the reply are those after it");
                }
            }
            Operation::Write(inode, at, len, clear) => {
                let (inode, at, len) = (self.file(inode), offset(at), length(len));
                let data = self.data(len);
                let privileges = match clear {
                    true => namespace::Privileges::Clear,
                    false => namespace::Privileges::KeepSetId,
                };
                let done = self.world.run(|view, context| {
                    let parts = parts(at, &data);
                    namespace::write_blocks(
                        view,
                        context,
                        inode,
                        parts,
                        privileges,
                        namespace::Times::Set,
                    )
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

fn owner(choice: u32) -> Owner {
    Owner {
        uid: 1,
        gid: choice % 3,
        mode: choice & 0o7777,
        umask: 0,
    }
}

fn if_taken(replaces: bool) -> IfTaken {
    match replaces {
        true => IfTaken::Replace,
        false => IfTaken::Refuse,
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
pub(super) fn parts(at: usize, data: &[u8]) -> Vec<(u64, Piece)> {
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
