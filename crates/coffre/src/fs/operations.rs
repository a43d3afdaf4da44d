//! The operations that are one namespace function each: run under the short lock, fetching what they need.

use bytes::Bytes;
use coffre_format::id::Inode;

use crate::error::Result;
use crate::fs::Volume;
use crate::fs::core::Core;
use crate::fs::handle;
use crate::fs::inner::Inner;
use crate::fs::namespace::Fate;
use crate::fs::namespace::Outcome;
use crate::fs::namespace::Removed;
use crate::fs::namespace::attributes;
use crate::fs::namespace::content;
use crate::fs::namespace::entries;
use crate::fs::namespace::ranges;
use crate::fs::namespace::rename;
use crate::fs::namespace::rename::Opened;
use crate::fs::namespace::unnamed;
use crate::fs::namespace::xattr;
use crate::fs::pressure::Demand;
use crate::fs::stale::Origin;
use crate::fs::types::Allocate;
use crate::fs::types::Attributes;
use crate::fs::types::Handle;
use crate::fs::types::IfTaken;
use crate::fs::types::Make;
use crate::fs::types::OpenMode;
use crate::fs::types::Owner;
use crate::fs::types::RenameMode;
use crate::fs::types::Seek;
use crate::fs::types::SetAttributes;
use crate::fs::types::Space;
use crate::fs::types::XattrMode;

/// What `statfs` reports as free: stores have no end that could be known.
const FREE: u64 = 1 << 50;

impl Volume {
    /// The child `name` of a directory.
    pub async fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attributes> {
        self.inner
            .query(|view, _| entries::lookup(view, parent, name))
            .await
    }

    /// Attributes of an inode.
    pub async fn attributes(&self, inode: Inode) -> Result<Attributes> {
        self.inner.query(|view, _| view.attributes(inode)).await
    }

    /// Attributes of what is open, by whatever name or none.
    pub async fn attributes_of(&self, handle: Handle) -> Result<Attributes> {
        let inode = match self.inner.core().handles.get(handle)? {
            handle::Opened::File { inode, .. } | handle::Opened::Directory { inode, .. } => inode,
        };
        self.attributes(inode).await
    }

    /// Changes attributes; a new size cuts or extends (with a hole).
    pub async fn set_attributes(&self, inode: Inode, set: SetAttributes) -> Result<Attributes> {
        // What grows this way grows by a hole, and a kernel that has held content back tells its times once: where they
        // are refused, nobody hears of it.
        let demand = match set.sets_owner_or_mode() && set.size.is_none() {
            true => Demand::RECORD,
            false => Demand::GiveBack,
        };
        self.inner
            .operate(
                self.origin,
                demand,
                |view, _, context| attributes::set_attributes(view, *context, inode, &set),
                |_, value| value,
            )
            .await
    }

    /// Makes something new.
    pub async fn make(
        &self,
        parent: Inode,
        name: &[u8],
        make: Make,
        owner: Owner,
    ) -> Result<Attributes> {
        let inode = self.inner.allocate(parent)?;
        self.inner
            .operate(
                self.origin,
                Demand::RECORD,
                |view, _, context| {
                    entries::make(view, *context, (parent, name), inode, &make, owner)
                },
                |_, value| value,
            )
            .await
    }

    /// Makes a regular file and opens it for writing, in one operation.
    pub async fn create(
        &self,
        parent: Inode,
        name: &[u8],
        owner: Owner,
    ) -> Result<(Attributes, Handle)> {
        let inode = self.inner.allocate(parent)?;
        self.inner
            .operate(
                self.origin,
                Demand::RECORD,
                |view, _, context| {
                    entries::make(view, *context, (parent, name), inode, &Make::File, owner)
                },
                |core, attributes| (attributes, core.handles.open_file(inode, OpenMode::Write)),
            )
            .await
    }

    /// Makes a regular file without a name and opens it for writing. It is to be made in `parent` by
    /// [`Volume::put_in_place`]; released before that, or with the process, it is gone.
    pub async fn create_unnamed(
        &self,
        parent: Inode,
        owner: Owner,
    ) -> Result<(Attributes, Handle)> {
        let inode = self.inner.allocate(parent)?;
        self.inner
            .operate(
                self.origin,
                Demand::RECORD,
                |view, core, context| {
                    let device = core.device()?;
                    unnamed::make_unnamed(view, *context, parent, inode, owner, device)
                },
                |core, attributes| {
                    let fate = Fate::Orphan;
                    core.handles.note(Some(Removed { inode, fate }));
                    (attributes, core.handles.open_file(inode, OpenMode::Write))
                },
            )
            .await
    }

    /// Gives a file without a name this one, in one step with taking it from what has it: that hands on mode, owner and
    /// extended attributes, and lives on as far as it is open or has other names.
    pub async fn put_in_place(
        &self,
        handle: Handle,
        (parent, name): (Inode, &[u8]),
        taken: IfTaken,
    ) -> Result<()> {
        let inode = self.inner.core().handles.writable(handle)?;
        self.inner
            .operate(
                self.origin,
                Demand::GiveBack,
                |view, core, context| {
                    let device = core.device()?;
                    let open = |inode| core.handles.state(inode);
                    let place = (parent, name);
                    unnamed::put_in_place(view, *context, inode, place, taken, open, device)
                },
                |core, removed| {
                    core.handles.note_named(inode);
                    core.handles.note(removed);
                },
            )
            .await
    }

    /// Makes a file with all its content in one step, which takes the name from what has it as [`Volume::put_in_place`]
    /// does. For what is small: no other change happens while it is taken down.
    pub async fn write_whole(
        &self,
        place: (Inode, &[u8]),
        content: &Bytes,
        owner: Owner,
        taken: IfTaken,
    ) -> Result<()> {
        self.inner
            .write_whole(self.origin, place, content, owner, taken)
            .await
    }

    /// Gives a file another name.
    pub async fn link(&self, inode: Inode, parent: Inode, name: &[u8]) -> Result<Attributes> {
        self.inner
            .operate(
                self.origin,
                Demand::RECORD,
                |view, _, context| entries::link(view, *context, inode, (parent, name)),
                |_, value| value,
            )
            .await
    }

    /// Removes a name of anything but a directory; content that is open stays until it is released.
    pub async fn unlink(&self, parent: Inode, name: &[u8]) -> Result<()> {
        self.inner
            .operate(
                self.origin,
                Demand::GiveBack,
                |view, core, context| {
                    let device = core.device()?;
                    entries::unlink(
                        view,
                        *context,
                        (parent, name),
                        |inode| core.handles.state(inode),
                        device,
                    )
                },
                |core, removed| core.handles.note(Some(removed)),
            )
            .await
    }

    /// Removes an empty directory.
    pub async fn remove_directory(&self, parent: Inode, name: &[u8]) -> Result<()> {
        self.inner
            .operate(
                self.origin,
                Demand::GiveBack,
                |view, core, context| {
                    let device = core.device()?;
                    entries::remove_directory(
                        view,
                        *context,
                        (parent, name),
                        |inode| core.handles.state(inode),
                        device,
                    )
                },
                |core, removed| core.handles.note(Some(removed)),
            )
            .await
    }

    /// Renames, as `renameat2` does.
    pub async fn rename(
        &self,
        from: (Inode, &[u8]),
        to: (Inode, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
        self.inner
            .operate(
                self.origin,
                Demand::GiveBack,
                |view, core, context| {
                    let device = core.device()?;
                    let opened = Opened {
                        open: &|inode| core.handles.state(inode),
                        device,
                    };
                    rename::rename(view, *context, from, to, mode, &opened)
                },
                |core, removed| core.handles.note(removed),
            )
            .await
    }

    /// Where a symlink leads.
    pub async fn read_link(&self, inode: Inode) -> Result<Vec<u8>> {
        self.inner
            .query(|view, _| entries::read_link(view, inode))
            .await
    }

    /// fallocate.
    pub async fn allocate(
        &self,
        handle: Handle,
        mode: Allocate,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        let inode = self.inner.core().handles.writable(handle)?;
        let demand = match mode {
            Allocate::Punch => Demand::GiveBack,
            _ => Demand::RECORD,
        };
        self.inner
            .operate(
                self.origin,
                demand,
                |view, _, context| ranges::allocate(view, *context, inode, mode, offset, length),
                |_, ()| (),
            )
            .await
    }

    /// lseek with SEEK_DATA or SEEK_HOLE.
    pub async fn seek(&self, handle: Handle, what: Seek, offset: u64) -> Result<u64> {
        let (inode, _, _) = self.inner.core().handles.file(handle)?;
        self.inner
            .query(|view, _| content::seek(view, inode, what, offset))
            .await
    }

    /// Copies by sharing frames; answers the bytes copied, fewer at the end of the source.
    pub async fn copy_range(
        &self,
        from: (Handle, u64),
        to: (Handle, u64),
        length: u64,
    ) -> Result<u64> {
        let source = self.inner.core().handles.file(from.0)?.0;
        let target = self.inner.core().handles.writable(to.0)?;
        self.inner
            .operate(
                self.origin,
                Demand::RECORD,
                |view, _, context| {
                    ranges::copy_range(view, *context, (source, from.1), (target, to.1), length)
                },
                |_, copied| copied,
            )
            .await
    }

    /// An extended attribute.
    pub async fn xattr(&self, inode: Inode, name: &[u8]) -> Result<Bytes> {
        self.inner
            .query(|view, _| xattr::xattr(view, inode, name))
            .await
    }

    /// Sets an extended attribute.
    pub async fn set_xattr(
        &self,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.inner
            .operate(
                self.origin,
                Demand::Grow(value.len() as u64),
                |view, _, context| {
                    xattr::set_xattr(
                        view,
                        *context,
                        inode,
                        (name, Bytes::copy_from_slice(value)),
                        mode,
                    )
                },
                |_, ()| (),
            )
            .await
    }

    /// Names of all extended attributes.
    pub async fn list_xattrs(&self, inode: Inode) -> Result<Vec<Vec<u8>>> {
        self.inner
            .query(|view, _| xattr::list_xattrs(view, inode))
            .await
    }

    /// Removes an extended attribute.
    pub async fn remove_xattr(&self, inode: Inode, name: &[u8]) -> Result<()> {
        self.inner
            .operate(
                self.origin,
                Demand::GiveBack,
                |view, _, context| xattr::remove_xattr(view, *context, inode, name),
                |_, ()| (),
            )
            .await
    }

    /// Totals, from the sums in the tree's root and what waits above it.
    pub async fn space(&self) -> Result<Space> {
        let core = self.inner.core();
        let sums = core.root.sums;
        Ok(Space {
            used: sums.bytes + core.overlay() as u64,
            free: FREE,
            inodes: sums.inodes,
        })
    }
}

impl Inner {
    /// Removes what is left of a file that nothing names.
    pub(crate) async fn reap(&self, inode: Inode, held: Held) -> Result<()> {
        let is_spared = |core: &Core| held == Held::Spared && core.handles.is_open(inode);
        self.operate(
            Origin::Kernel,
            Demand::GiveBack,
            |view, core, context| {
                let device = core.device()?;
                match is_spared(core) {
                    true => Ok(Outcome {
                        value: (),
                        edits: Vec::new(),
                    }),
                    false => entries::reap(view, *context, inode, device),
                }
            },
            |core, ()| {
                if is_spared(core) {
                    core.handles.note_unnamed(inode);
                }
            },
        )
        .await
    }
}

/// What becomes of a file without a name that somebody has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// It is kept: it was opened again since it was closed.
    Spared,
    /// It goes.
    Removed,
}
