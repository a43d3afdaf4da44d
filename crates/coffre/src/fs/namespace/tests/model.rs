//! A POSIX file system as one would first write it down: what the namespace core is checked against.
//!
//! It shares no code with the core: names are maps, contents are plain bytes with a flag for holes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use coffre_format::id::Inode;
use coffre_format::record::FileKind;

use crate::error::Refusal;
use crate::fs::types::Allocate;
use crate::fs::types::RenameMode;
use crate::fs::types::Seek;
use crate::fs::types::XattrMode;

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

    fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    fn regular(&self) -> Answer<()> {
        match self.kind {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(Refusal::IsDirectory),
            _ => Err(Refusal::Invalid),
        }
    }

    fn resize(&mut self, size: usize) {
        self.content.resize(size, 0);
        self.written.resize(size, false);
    }

    fn erase(&mut self, start: usize, end: usize) {
        let end = end.min(self.content.len());
        if start < end {
            self.content[start..end].fill(0);
            self.written[start..end].fill(false);
        }
    }

    fn lose_privileges(&mut self) {
        self.mode &= !0o4000;
        if self.mode & 0o010 != 0 {
            self.mode &= !0o2000;
        }
        self.xattrs.remove(&b"security.capability"[..]);
    }

    fn touch(&mut self, now: i64) {
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

    fn node_mut(&mut self, inode: Inode) -> Answer<&mut Node> {
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

    pub(super) fn truncate(&mut self, inode: Inode, size: usize) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        node.regular()?;
        node.resize(size);
        node.lose_privileges();
        node.touch(now);
        Ok(())
    }

    pub(super) fn change_mode(&mut self, inode: Inode, mode: u32) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        node.mode = mode;
        node.ctime = now;
        Ok(())
    }

    pub(super) fn change_owner(&mut self, inode: Inode, uid: u32, gid: u32) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        if !node.is_directory() {
            node.lose_privileges();
        }
        (node.uid, node.gid, node.ctime) = (uid, gid, now);
        Ok(())
    }

    pub(super) fn write(&mut self, inode: Inode, at: usize, data: &[u8]) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        node.regular()?;
        let end = at + data.len();
        if node.content.len() < end {
            node.resize(end);
        }
        node.content[at..end].copy_from_slice(data);
        node.written[at..end].fill(true);
        node.touch(now);
        Ok(())
    }

    pub(super) fn clear_privileges(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.lose_privileges();
        }
    }

    pub(super) fn allocate(
        &mut self,
        inode: Inode,
        mode: Allocate,
        at: usize,
        length: usize,
    ) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        node.regular()?;
        if length == 0 {
            return Err(Refusal::Invalid);
        }
        let end = at + length;
        let grows = end > node.content.len();
        let (erases, extends) = match mode {
            Allocate::KeepSize => return Ok(()),
            Allocate::Extend if !grows => return Ok(()),
            Allocate::Extend => (false, true),
            Allocate::Punch | Allocate::ZeroKeepSize => (true, false),
            Allocate::ZeroExtend => (true, true),
        };
        if erases {
            node.erase(at, end);
        }
        if extends && grows {
            node.resize(end);
        }
        node.lose_privileges();
        node.touch(now);
        Ok(())
    }

    pub(super) fn copy(
        &mut self,
        (from, start): (Inode, usize),
        (to, at): (Inode, usize),
        length: usize,
    ) -> Answer<usize> {
        let now = self.now;
        let source = self.node(from)?;
        let target = self.node(to)?;
        source.regular()?;
        target.regular()?;
        let length = length.min(source.content.len().saturating_sub(start));
        if length == 0 {
            return Ok(0);
        }
        if from == to && start < at + length && at < start + length {
            return Err(Refusal::Invalid);
        }
        let content = source.content[start..start + length].to_vec();
        let written = source.written[start..start + length].to_vec();
        let node = self.node_mut(to)?;
        if node.content.len() < at + length {
            node.resize(at + length);
        }
        node.content[at..at + length].copy_from_slice(&content);
        node.written[at..at + length].copy_from_slice(&written);
        node.lose_privileges();
        node.touch(now);
        Ok(length)
    }

    pub(super) fn seek(&self, inode: Inode, what: Seek, at: usize) -> Answer<usize> {
        let node = self.node(inode)?;
        node.regular()?;
        let rest = node.written.get(at..).unwrap_or(&[]);
        if rest.is_empty() {
            return Err(Refusal::NothingThere);
        }
        let wanted = what == Seek::Data;
        match rest.iter().position(|written| *written == wanted) {
            Some(distance) => Ok(at + distance),
            None if wanted => Err(Refusal::NothingThere),
            None => Ok(node.content.len()),
        }
    }

    pub(super) fn set_xattr(
        &mut self,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        match (mode, node.xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return Err(Refusal::Exists),
            (XattrMode::Replace, false) => return Err(Refusal::NoAttribute),
            _ => {}
        }
        node.xattrs.insert(name.to_vec(), value.to_vec());
        node.ctime = now;
        Ok(())
    }

    pub(super) fn remove_xattr(&mut self, inode: Inode, name: &[u8]) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        node.xattrs.remove(name).ok_or(Refusal::NoAttribute)?;
        node.ctime = now;
        Ok(())
    }

    /// The last handle goes.
    pub(super) fn release(&mut self, inode: Inode) {
        if self.open.remove(&inode) && self.nlink(inode) == 0 {
            self.nodes.remove(&inode);
        }
    }
}
