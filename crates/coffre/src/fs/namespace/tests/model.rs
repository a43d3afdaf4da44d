//! A POSIX file system as one would first write it down: what the namespace core is checked against.
//!
//! It shares no code with the core: names are maps, contents are plain bytes with a flag for holes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use coffre_format::id::Inode;
use coffre_format::record::FileKind;

use crate::error::Refusal;
use crate::fs::types::IfTaken;
use crate::fs::types::RenameMode;

pub(super) type Answer<T> = Result<T, Refusal>;

/// One file, directory or other node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: FileKind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
    pub(super) content: Vec<u8>,
    /// For each byte of the content whether it was written.
    pub(super) written: Vec<bool>,
    pub(super) names: BTreeMap<Vec<u8>, Inode>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The directory that holds this one, as long as one does.
    pub(super) parent: Option<Inode>,
}

impl Node {
    fn new(kind: FileKind, mode: u32, owner: (u32, u32), now: i64) -> Self {
        Self {
            kind,
            mode,
            uid: owner.0,
            gid: owner.1,
            mtime: now,
            ctime: now,
            content: Vec::new(),
            written: Vec::new(),
            names: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            parent: None,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    pub(super) fn regular(&self) -> Answer<()> {
        match self.kind {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(Refusal::IsDirectory),
            _ => Err(Refusal::Invalid),
        }
    }

    pub(super) fn resize(&mut self, size: usize) {
        self.content.resize(size, 0);
        self.written.resize(size, false);
    }

    pub(super) fn erase(&mut self, start: usize, end: usize) {
        let end = end.min(self.content.len());
        if start < end {
            self.content[start..end].fill(0);
            self.written[start..end].fill(false);
        }
    }

    pub(super) fn lose_privileges(&mut self) {
        self.mode &= !0o4000;
        if self.mode & 0o010 != 0 {
            self.mode &= !0o2000;
        }
        self.lose_capabilities();
    }

    pub(super) fn lose_capabilities(&mut self) {
        self.xattrs.remove(&b"security.capability"[..]);
    }

    pub(super) fn touch(&mut self, now: i64) {
        self.mtime = now;
        self.ctime = now;
    }
}

/// All nodes, and which are open.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<Inode, Node>,
    pub(super) open: BTreeSet<Inode>,
    pub(super) now: i64,
}

impl Model {
    pub(super) fn new() -> Self {
        let root = Node::new(FileKind::Directory, 0o755, (0, 0), 0);
        Self {
            nodes: BTreeMap::from([(Inode::ROOT, root)]),
            open: BTreeSet::new(),
            now: 0,
        }
    }

    pub(super) fn node(&self, inode: Inode) -> Answer<&Node> {
        self.nodes.get(&inode).ok_or(Refusal::Stale)
    }

    pub(super) fn node_mut(&mut self, inode: Inode) -> Answer<&mut Node> {
        self.nodes.get_mut(&inode).ok_or(Refusal::Stale)
    }

    pub(super) fn nlink(&self, inode: Inode) -> usize {
        let names = self
            .nodes
            .values()
            .flat_map(|node| node.names.values())
            .filter(|child| **child == inode)
            .count();
        let node = &self.nodes[&inode];
        if !node.is_directory() {
            return names;
        }
        if names == 0 && inode != Inode::ROOT {
            return 0;
        }
        let inside = node.names.values();
        2 + inside
            .filter(|child| self.nodes[child].is_directory())
            .count()
    }

    pub(super) fn lookup(&self, parent: Inode, name: &[u8]) -> Answer<Inode> {
        let node = self.node(parent)?;
        if !node.is_directory() {
            return Err(Refusal::NotDirectory);
        }
        node.names.get(name).copied().ok_or(Refusal::NoEntry)
    }

    fn living(&self, directory: Inode) -> Answer<()> {
        let node = self.node(directory)?;
        if !node.is_directory() {
            return Err(Refusal::NotDirectory);
        }
        if self.nlink(directory) == 0 {
            return Err(Refusal::NoEntry);
        }
        Ok(())
    }

    fn vacant(&self, parent: Inode, name: &[u8]) -> Answer<()> {
        self.living(parent)?;
        match self.lookup(parent, name) {
            Ok(_) => Err(Refusal::Exists),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn make(
        &mut self,
        (parent, name): (Inode, &[u8]),
        inode: Inode,
        (kind, mode): (FileKind, u32),
        owner: (u32, u32),
    ) -> Answer<()> {
        self.vacant(parent, name)?;
        let now = self.now;
        let mut node = Node::new(kind, mode, owner, now);
        if kind == FileKind::Symlink {
            node.mode = 0o777;
            node.content = b"target".to_vec();
            node.written = vec![false; 6];
        }
        let above = self.node_mut(parent)?;
        above.touch(now);
        above.names.insert(name.to_vec(), inode);
        if above.mode & 0o2000 != 0 {
            node.gid = above.gid;
            if kind == FileKind::Directory {
                node.mode |= 0o2000;
            }
        }
        if kind == FileKind::Directory {
            node.parent = Some(parent);
        }
        self.nodes.insert(inode, node);
        Ok(())
    }

    pub(super) fn make_unnamed(
        &mut self,
        parent: Inode,
        inode: Inode,
        mode: u32,
        owner: (u32, u32),
    ) -> Answer<()> {
        self.living(parent)?;
        let mut node = Node::new(FileKind::Regular, mode, owner, self.now);
        let above = self.node(parent)?;
        if above.mode & 0o2000 != 0 {
            node.gid = above.gid;
        }
        self.nodes.insert(inode, node);
        self.open.insert(inode);
        Ok(())
    }

    pub(super) fn put_in_place(
        &mut self,
        inode: Inode,
        to: (Inode, &[u8]),
        taken: IfTaken,
    ) -> Answer<()> {
        self.living(to.0)?;
        if !self.open.contains(&inode) || self.nlink(inode) > 0 {
            return Err(Refusal::NoEntry);
        }
        if self.node(inode)?.kind != FileKind::Regular {
            return Err(Refusal::NotPermitted);
        }
        let target = self.lookup(to.0, to.1).ok();
        if let Some(target) = target {
            if taken == IfTaken::Refuse {
                return Err(Refusal::Exists);
            }
            let old = self.node(target)?.clone();
            if old.is_directory() {
                return Err(Refusal::IsDirectory);
            }
            if old.kind == FileKind::Regular {
                let node = self.node_mut(inode)?;
                (node.mode, node.uid, node.gid) = (old.mode, old.uid, old.gid);
                node.xattrs = old.xattrs;
                node.lose_privileges();
            }
        }
        self.give_name(to, inode);
        if let Some(target) = target {
            self.lost_name(target);
        }
        Ok(())
    }

    /// The same as a file without a name that is written and put in its place.
    pub(super) fn make_whole(
        &mut self,
        to: (Inode, &[u8]),
        inode: Inode,
        (mode, owner): (u32, (u32, u32)),
        content: &[u8],
        taken: IfTaken,
    ) -> Answer<()> {
        self.make_unnamed(to.0, inode, mode, owner)?;
        self.write(inode, 0, content)?;
        let put = self.put_in_place(inode, to, taken);
        self.release(inode);
        put
    }

    pub(super) fn link(&mut self, inode: Inode, (parent, name): (Inode, &[u8])) -> Answer<()> {
        if self.node(inode)?.is_directory() {
            return Err(Refusal::NotPermitted);
        }
        self.vacant(parent, name)?;
        if self.nlink(inode) == 0 {
            return Err(Refusal::NoEntry);
        }
        let now = self.now;
        self.node_mut(inode)?.ctime = now;
        let above = self.node_mut(parent)?;
        above.touch(now);
        above.names.insert(name.to_vec(), inode);
        Ok(())
    }

    /// After a name went: the inode goes too if it was the last and nobody has it open.
    fn lost_name(&mut self, inode: Inode) {
        let now = self.now;
        let node = self.nodes.get_mut(&inode).expect("it had a name");
        node.ctime = now;
        if node.is_directory() {
            node.parent = None;
        }
        if self.nlink(inode) == 0 && !self.open.contains(&inode) {
            self.nodes.remove(&inode);
        }
    }

    pub(super) fn unlink(&mut self, parent: Inode, name: &[u8]) -> Answer<()> {
        let inode = self.lookup(parent, name)?;
        if self.node(inode)?.is_directory() {
            return Err(Refusal::IsDirectory);
        }
        self.take_name(parent, name);
        self.lost_name(inode);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, parent: Inode, name: &[u8]) -> Answer<()> {
        let inode = self.lookup(parent, name)?;
        let node = self.node(inode)?;
        if !node.is_directory() {
            return Err(Refusal::NotDirectory);
        }
        if !node.names.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        self.take_name(parent, name);
        self.lost_name(inode);
        Ok(())
    }

    fn take_name(&mut self, parent: Inode, name: &[u8]) {
        let now = self.now;
        let above = self.nodes.get_mut(&parent).expect("looked up");
        above.names.remove(name);
        above.touch(now);
    }

    fn give_name(&mut self, (parent, name): (Inode, &[u8]), inode: Inode) {
        let now = self.now;
        let above = self.nodes.get_mut(&parent).expect("looked up");
        above.names.insert(name.to_vec(), inode);
        above.touch(now);
        let node = self.nodes.get_mut(&inode).expect("looked up");
        node.ctime = now;
        if node.is_directory() {
            node.parent = Some(parent);
        }
    }

    /// Whether `below` is `above` or inside it.
    fn contains(&self, above: Inode, below: Inode) -> bool {
        let mut at = Some(below);
        while let Some(inode) = at {
            if inode == above {
                return true;
            }
            at = self.nodes[&inode].parent;
        }
        false
    }

    pub(super) fn rename(
        &mut self,
        from: (Inode, &[u8]),
        to: (Inode, &[u8]),
        mode: RenameMode,
    ) -> Answer<()> {
        let source = self.lookup(from.0, from.1)?;
        self.living(to.0)?;
        let target = self.lookup(to.0, to.1).ok();
        if mode == RenameMode::NoReplace && target.is_some() {
            return Err(Refusal::Exists);
        }
        if mode == RenameMode::Exchange && target.is_none() {
            return Err(Refusal::NoEntry);
        }
        if self.nodes[&source].is_directory() && self.contains(source, to.0) {
            return Err(Refusal::Invalid);
        }
        if target == Some(source) {
            return Ok(());
        }
        if let (RenameMode::Exchange, Some(target)) = (mode, target) {
            if self.nodes[&target].is_directory() && self.contains(target, from.0) {
                return Err(Refusal::Invalid);
            }
            self.give_name(from, target);
            self.give_name(to, source);
            return Ok(());
        }
        if let Some(target) = target {
            let (moved, replaced) = (&self.nodes[&source], &self.nodes[&target]);
            match (moved.is_directory(), replaced.is_directory()) {
                (true, false) => return Err(Refusal::NotDirectory),
                (false, true) => return Err(Refusal::IsDirectory),
                _ if !replaced.names.is_empty() => return Err(Refusal::NotEmpty),
                _ => {}
            }
        }
        self.take_name(from.0, from.1);
        self.give_name(to, source);
        if let Some(target) = target {
            self.lost_name(target);
        }
        Ok(())
    }

    /// The last handle goes.
    pub(super) fn release(&mut self, inode: Inode) {
        if self.open.remove(&inode) && self.nlink(inode) == 0 {
            self.nodes.remove(&inode);
        }
    }
}
