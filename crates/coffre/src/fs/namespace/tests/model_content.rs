//! The model's contents and attributes.

use coffre_format::id::Inode;

use crate::error::Refusal;
use crate::fs::namespace::tests::model::Answer;
use crate::fs::namespace::tests::model::Model;
use crate::fs::types::Allocate;
use crate::fs::types::Seek;
use crate::fs::types::XattrMode;

impl Model {
    pub(super) fn truncate(&mut self, inode: Inode, size: usize) -> Answer<()> {
        let now = self.now;
        let node = self.node_mut(inode)?;
        node.regular()?;
        let before = (node.mode, node.xattrs.len());
        let is_new = size != node.content.len();
        node.resize(size);
        node.lose_privileges();
        if is_new {
            node.touch(now);
        } else if before != (node.mode, node.xattrs.len()) {
            node.ctime = now;
        }
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
        node.lose_capabilities();
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
}
