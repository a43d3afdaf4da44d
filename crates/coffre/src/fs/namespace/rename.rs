//! Renaming: replacing, refusing to replace, exchanging.

use coffre_format::id::DeviceId;
use coffre_format::id::Inode;
use coffre_format::record::Entry;
use coffre_format::record::FileKind;
use coffre_format::record::Key;

use crate::error::Refusal;
use crate::fs::namespace::checks;
use crate::fs::namespace::directory;
use crate::fs::namespace::draft::Draft;
use crate::fs::namespace::entries;
use crate::fs::namespace::entries::InodeOpen;
use crate::fs::namespace::entries::Removed;
use crate::fs::namespace::view::Context;
use crate::fs::namespace::view::Outcome;
use crate::fs::namespace::view::Step;
use crate::fs::namespace::view::View;
use crate::fs::types::RenameMode;
use crate::tree::Resident;

/// Directories one inside the other that a rename follows before it takes them for a circle.
const DEPTH_MAX: usize = 1 << 16;

/// What a rename must know of open handles: whether an inode has one, and whose orphan it becomes.
pub struct Opened<'a> {
    /// Whether an inode is open.
    pub open: &'a dyn Fn(Inode) -> InodeOpen,
    /// This device.
    pub device: DeviceId,
}

/// Moves the first name to the second; answers what the second name stood for, if it was replaced.
pub fn rename<R: Resident>(
    view: &View<R>,
    context: Context,
    from: (Inode, &[u8]),
    to: (Inode, &[u8]),
    mode: RenameMode,
    opened: &Opened,
) -> Step<Outcome<Option<Removed>>> {
    checks::name(from.1)?;
    checks::name(to.1)?;
    let source = checks::existing(view, from.0, from.1)?;
    checks::living(view, to.0)?;
    let target = view.entry(to.0, to.1)?;
    match (mode, target) {
        (RenameMode::NoReplace, Some(_)) => return Err(Refusal::Exists.into()),
        (RenameMode::Exchange, None) => return Err(Refusal::NoEntry.into()),
        _ => {}
    }
    if from.0 != to.0 {
        check_outside(view, source, to.0)?;
    }
    let draft = Draft::new(view, context);
    match target {
        // Two names of one file: nothing happens, both stay.
        Some(target) if target.inode == source.inode => draft.finish(None),
        Some(target) if mode == RenameMode::Exchange => {
            if from.0 != to.0 {
                check_outside(view, target, from.0)?;
            }
            exchange(draft, (from, source), (to, target))
        }
        target => replace(draft, (from, source), (to, target), opened),
    }
}

type Name<'n> = (Inode, &'n [u8]);

fn replace<R: Resident>(
    mut draft: Draft<R>,
    (from, source): (Name, Entry),
    (to, target): (Name, Option<Entry>),
    opened: &Opened,
) -> Step<Outcome<Option<Removed>>> {
    let mut removed = None;
    if let Some(target) = target {
        check_replaceable(draft.view, source, target)?;
        let open = (opened.open)(target.inode);
        removed = Some(entries::drop_name(
            &mut draft,
            to,
            target,
            open,
            opened.device,
        )?);
        count(&mut draft, to.0, target.kind, -1)?;
    }
    count(&mut draft, from.0, source.kind, -1)?;
    count(&mut draft, to.0, source.kind, 1)?;
    draft.modified(from.0)?;
    draft.modified(to.0)?;
    draft.changed(source.inode)?;
    detach(&mut draft, from, source);
    entries::attach(&mut draft, to, source.inode, source.kind);
    draft.finish(removed)
}

fn exchange<R: Resident>(
    mut draft: Draft<R>,
    (from, source): (Name, Entry),
    (to, target): (Name, Entry),
) -> Step<Outcome<Option<Removed>>> {
    for (parent, leaves, comes) in [(from.0, source, target), (to.0, target, source)] {
        count(&mut draft, parent, leaves.kind, -1)?;
        count(&mut draft, parent, comes.kind, 1)?;
        draft.modified(parent)?;
        draft.changed(comes.inode)?;
    }
    detach(&mut draft, from, source);
    detach(&mut draft, to, target);
    entries::attach(&mut draft, to, source.inode, source.kind);
    entries::attach(&mut draft, from, target.inode, target.kind);
    draft.finish(None)
}

fn detach<R: Resident>(draft: &mut Draft<R>, (parent, name): Name, entry: Entry) {
    draft.delete(Key::entry(parent, name));
    draft.delete(Key::link(entry.inode, parent, name));
}

/// Counts a subdirectory that comes or goes.
fn count<R: Resident>(draft: &mut Draft<R>, parent: Inode, kind: FileKind, by: i32) -> Step<()> {
    if kind == FileKind::Directory {
        let record = draft.inode(parent)?;
        record.subdirectories = record.subdirectories.saturating_add_signed(by);
    }
    Ok(())
}

fn check_replaceable<R: Resident>(view: &View<R>, source: Entry, target: Entry) -> Step<()> {
    let is_directory = |entry: Entry| entry.kind == FileKind::Directory;
    match (is_directory(source), is_directory(target)) {
        (true, false) => Err(Refusal::NotDirectory.into()),
        (false, true) => Err(Refusal::IsDirectory.into()),
        (true, true) => checks::empty(view, target.inode),
        (false, false) => Ok(()),
    }
}

/// Refuses to move a directory into itself or below itself.
fn check_outside<R: Resident>(view: &View<R>, moved: Entry, into: Inode) -> Step<()> {
    if moved.kind != FileKind::Directory {
        return Ok(());
    }
    let mut above = into;
    for _ in 0..DEPTH_MAX {
        if above == moved.inode {
            return Err(Refusal::Invalid.into());
        }
        if above == Inode::ROOT {
            return Ok(());
        }
        above = directory::parent_of(view, above)?;
    }
    Err(Refusal::Loop.into())
}
