//! Single cases that chance meets too rarely.

use bytes::Bytes;
use coffre_format::id::Inode;
use coffre_format::record::BLOCK;
use coffre_format::record::Content;
use coffre_format::record::Piece;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use coffre_format::transaction::Edit;

use crate::error::Refusal;
use crate::fs::namespace;
use crate::fs::namespace::Fate;
use crate::fs::namespace::InodeOpen;
use crate::fs::namespace::apply::apply;
use crate::fs::namespace::tests::pair::parts;
use crate::fs::namespace::tests::world::DEVICE;
use crate::fs::namespace::tests::world::Stored;
use crate::fs::namespace::tests::world::World;
use crate::fs::namespace::view::View;
use crate::fs::types::Attributes;
use crate::fs::types::Make;
use crate::fs::types::Owner;
use crate::fs::types::SetAttributes;
use crate::fs::types::XattrMode;
use crate::tree::Changes;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

fn make(world: &mut World, parent: Inode, name: &[u8], what: &Make, mode: u32) -> Attributes {
    let inode = world.allocate_inode();
    let owner = Owner {
        uid: 1,
        gid: 1,
        mode,
        umask: 0,
    };
    world
        .run(|view, context| namespace::make(view, context, (parent, name), inode, what, owner))
        .expect("the name is free")
}

fn write(world: &mut World, inode: Inode, at: usize, data: &[u8]) -> Vec<Edit> {
    let lay = |view: &View<Stored>, context| {
        let keep = namespace::Privileges::KeepSetId;
        let parts = parts(at, data);
        namespace::write_blocks(view, context, inode, parts, keep, namespace::Times::Set)
    };
    let context = world.context();
    let outcome = world.look(|view| lay(view, context));
    let edits = outcome.expect("it is a file").edits;
    world.run(lay).expect("it is a file");
    edits
}

fn close() -> impl Fn(Inode) -> InodeOpen {
    |_| InodeOpen::No
}

#[test]
fn names_that_cannot_be_are_refused() {
    let mut world = World::new();
    let inode = world.allocate_inode();
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
        let made = world.run(|view, context| {
            namespace::make(
                view,
                context,
                (Inode::ROOT, name),
                inode,
                &Make::File,
                OWNER,
            )
        });
        assert_eq!(made, Err(refusal));
    }
}

#[test]
fn links_lead_to_any_bytes_but_nul() {
    let mut world = World::new();
    let longest: Vec<u8> = (1..=255).cycle().take(4095).collect();
    let mut longer = longest.clone();
    longer.push(b'x');
    let cases = [
        (longer, Err(Refusal::NameTooLong)),
        (b"a\0b".to_vec(), Err(Refusal::Invalid)),
        (Vec::new(), Err(Refusal::NoEntry)),
        // It takes the name.
        (longest, Ok(())),
    ];
    for (target, expected) in cases {
        let inode = world.allocate_inode();
        let what = Make::Symlink(target.clone());
        let made = world.run(|view, context| {
            namespace::make(view, context, (Inode::ROOT, b"link"), inode, &what, OWNER)
        });
        assert_eq!(made.map(|_| ()), expected);
        if expected.is_ok() {
            assert_eq!(
                world.look(|view| namespace::read_link(view, inode)),
                Ok(target)
            );
        }
    }
}

/// What one transaction shares has an end; a program asks again for the rest.
#[test]
fn a_copy_of_a_range_ends_after_128_mebibytes() {
    const MOST: u64 = 128 << 20;
    let mut world = World::new();
    let from = make(&mut world, Inode::ROOT, b"from", &Make::File, 0o644).inode;
    let to = make(&mut world, Inode::ROOT, b"to", &Make::File, 0o644).inode;
    let long = SetAttributes {
        size: Some(2 * MOST),
        ..SetAttributes::default()
    };
    world
        .run(|view, context| namespace::set_attributes(view, context, from, &long))
        .expect("it is a file");
    let mut copied = |at: u64| {
        let all = 2 * MOST;
        world.run(|view, context| namespace::copy_range(view, context, (from, at), (to, at), all))
    };
    assert_eq!(copied(0), Ok(MOST));
    assert_eq!(copied(MOST), Ok(MOST));
    assert_eq!(copied(2 * MOST), Ok(0));
}

/// Whole folds of dropped and neighbouring leaves must not wait: [`World::run`] checks that.
#[test]
fn edits_ask_for_the_leaves_beside_what_they_remove() {
    let mut world = World::new();
    let mut files = Vec::new();
    for name in [b"a", b"b", b"c", b"d"] {
        let file = make(&mut world, Inode::ROOT, name, &Make::File, 0o644).inode;
        for index in 0..20 {
            write(&mut world, file, index * BLOCK as usize, b"data");
        }
        files.push(file);
    }
    world.fold();
    world.fold();
    for size in [17u64, 9, 4] {
        let set = SetAttributes {
            size: Some(size * u64::from(BLOCK) + 1),
            ..SetAttributes::default()
        };
        world.forget();
        world
            .run(|view, context| namespace::set_attributes(view, context, files[2], &set))
            .expect("it is a file");
    }
    for name in [b"b", b"a", b"d", b"c"] {
        world.forget();
        let removed = world.run(|view, context| {
            namespace::unlink(view, context, (Inode::ROOT, name), close(), DEVICE)
        });
        assert_eq!(removed.map(|removed| removed.fate), Ok(Fate::Gone));
    }
    world.fold();
    world.fold();
    assert_eq!(world.everything().len(), 1, "the root alone is left");
}

#[test]
fn an_open_file_lives_until_it_is_reaped() {
    let mut world = World::new();
    let file = make(&mut world, Inode::ROOT, b"a", &Make::File, 0o644).inode;
    write(&mut world, file, 0, b"data");
    let removed = world.run(|view, context| {
        let open = |_| InodeOpen::Yes;
        namespace::unlink(view, context, (Inode::ROOT, b"a"), open, DEVICE)
    });
    assert_eq!(removed.map(|removed| removed.fate), Ok(Fate::Orphan));
    world.fold();
    world.fold();
    let orphans = world.look(|view| namespace::orphans(view, DEVICE, 10));
    assert_eq!(orphans, Ok(vec![file]));
    let attributes = world.look(|view| namespace::attributes(view, file));
    assert_eq!(
        attributes.map(|found| (found.nlink, found.size)),
        Ok((0, 4))
    );
    let linked =
        world.run(|view, context| namespace::link(view, context, file, (Inode::ROOT, b"b")));
    assert_eq!(linked.map(|_| ()), Err(Refusal::NoEntry));
    world
        .run(|view, context| namespace::reap(view, context, file, DEVICE))
        .expect("reaping is never refused");
    assert_eq!(world.everything().len(), 1, "the root alone is left");
}

/// The journal carries a block's old pieces once, then only what is written.
#[test]
fn a_block_is_put_once_and_then_spliced() {
    let mut world = World::new();
    let file = make(&mut world, Inode::ROOT, b"a", &Make::File, 0o644).inode;
    let put = |edits: &[Edit]| {
        edits
            .iter()
            .any(|edit| matches!(edit, Edit::Put(key, _) if key.tag() == Some(tag::BLOCK)))
    };
    assert!(put(&write(&mut world, file, 0, b"one")));
    assert!(!put(&write(&mut world, file, 10, b"two")));
    world.fold();
    assert!(put(&write(&mut world, file, 20, b"three")), "frozen now");
    world.fold();
    assert!(!put(&write(&mut world, file, 30, b"four")));
    let whole = write(&mut world, file, 0, &vec![7; BLOCK as usize]);
    assert!(put(&whole), "what replaces all needs nothing below it");
}

#[test]
fn a_splice_into_nothing_is_an_error() {
    let key = coffre_format::record::Key::block(Inode(5), 0);
    let piece = Piece {
        at: 0,
        len: 1,
        skip: 0,
        content: Content::Bytes(Bytes::from_static(b"x")),
    };
    let mut changes = Changes::default();
    let edit = Edit::Splice {
        key: key.clone(),
        piece,
    };
    assert!(apply(&mut changes, &edit).is_err());
    changes.delete(key);
    assert!(apply(&mut changes, &edit).is_err());
}

#[test]
fn paths_lead_back_to_the_root() {
    let mut world = World::new();
    let a = make(&mut world, Inode::ROOT, b"a", &Make::Directory, 0o755).inode;
    let b = make(&mut world, a, b"b", &Make::Directory, 0o755).inode;
    let c = make(&mut world, b, b"c", &Make::File, 0o644).inode;
    let path = |inode| world.look(|view| namespace::path_of(view, inode));
    assert_eq!(path(c), Ok(b"/a/b/c".to_vec()));
    assert_eq!(path(Inode::ROOT), Ok(b"/".to_vec()));
    let up = world.look(|view| namespace::lookup(view, b, b".."));
    assert_eq!(up.map(|found| found.inode), Ok(a));
}

fn list(entries: &[(u16, u16, u32)]) -> Bytes {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Bytes::from(bytes)
}

fn set(world: &mut World, inode: Inode, name: &[u8], value: Bytes) -> Result<(), Refusal> {
    world.run(|view, context| {
        let value = value.clone();
        namespace::set_xattr(view, context, inode, (name, value), XattrMode::Set)
    })
}

fn mode(world: &World, inode: Inode) -> u32 {
    let attributes = world.look(|view| namespace::attributes(view, inode));
    attributes.expect("it is there").mode
}

const NO_ID: u32 = u32::MAX;

#[test]
fn a_default_list_is_inherited() {
    let mut world = World::new();
    let above = make(&mut world, Inode::ROOT, b"d", &Make::Directory, 0o755).inode;
    let default = list(&[
        (0x01, 7, NO_ID),
        (0x02, 6, 1000),
        (0x04, 5, NO_ID),
        (0x10, 7, NO_ID),
        (0x20, 0, NO_ID),
    ]);
    set(&mut world, above, DEFAULT, default.clone()).expect("a list");
    let file = make(&mut world, above, b"f", &Make::File, 0o666).inode;
    assert_eq!(mode(&world, file), 0o660);
    let expected = list(&[
        (0x01, 6, NO_ID),
        (0x02, 6, 1000),
        (0x04, 5, NO_ID),
        (0x10, 6, NO_ID),
        (0x20, 0, NO_ID),
    ]);
    let access = world.look(|view| namespace::xattr(view, file, ACCESS));
    assert_eq!(access, Ok(expected));
    let inside = make(&mut world, above, b"i", &Make::Directory, 0o777).inode;
    let inherited = world.look(|view| namespace::xattr(view, inside, DEFAULT));
    assert_eq!(inherited, Ok(default));
    let link = make(&mut world, above, b"l", &Make::Symlink(b"x".into()), 0o777).inode;
    let names = world.look(|view| namespace::list_xattrs(view, link));
    assert_eq!(names, Ok(vec![]));
}

#[test]
fn list_and_mode_follow_each_other() {
    let mut world = World::new();
    let file = make(&mut world, Inode::ROOT, b"f", &Make::File, 0o640).inode;
    let named = |owner, group, mask| {
        list(&[
            (0x01, owner, NO_ID),
            (0x02, 7, 1000),
            (0x04, group, NO_ID),
            (0x10, mask, NO_ID),
            (0x20, 1, NO_ID),
        ])
    };
    set(&mut world, file, ACCESS, named(6, 4, 5)).expect("a list");
    assert_eq!(mode(&world, file), 0o651);
    let change = SetAttributes {
        mode: Some(0o431),
        ..SetAttributes::default()
    };
    world
        .run(|view, context| namespace::set_attributes(view, context, file, &change))
        .expect("it is there");
    let access = world.look(|view| namespace::xattr(view, file, ACCESS));
    assert_eq!(access, Ok(named(4, 4, 3)), "group bits are the mask");
    let minimal = list(&[(0x01, 7, NO_ID), (0x04, 5, NO_ID), (0x20, 0, NO_ID)]);
    set(&mut world, file, ACCESS, minimal).expect("a list");
    assert_eq!(mode(&world, file), 0o750);
    let access = world.look(|view| namespace::xattr(view, file, ACCESS));
    assert_eq!(access, Err(Refusal::NoAttribute), "the mode says it all");
}

#[test]
fn lists_that_cannot_be_are_refused() {
    let mut world = World::new();
    let file = make(&mut world, Inode::ROOT, b"f", &Make::File, 0o640).inode;
    let unmasked = list(&[
        (0x01, 7, NO_ID),
        (0x02, 7, 1),
        (0x04, 7, NO_ID),
        (0x20, 7, NO_ID),
    ]);
    let refused = [
        unmasked,
        list(&[(0x01, 7, NO_ID)]),
        Bytes::from_static(b"x"),
    ];
    for value in refused {
        let done = set(&mut world, file, ACCESS, value);
        assert_eq!(done, Err(Refusal::Invalid));
    }
    let minimal = list(&[(0x01, 7, NO_ID), (0x04, 5, NO_ID), (0x20, 0, NO_ID)]);
    let on_file = set(&mut world, file, DEFAULT, minimal);
    assert_eq!(on_file, Err(Refusal::NotPermitted));
    let other = set(&mut world, file, b"system.other", Bytes::new());
    assert_eq!(other, Err(Refusal::Unsupported));
    let large = set(&mut world, file, b"user.large", vec![0; 65_537].into());
    assert_eq!(large, Err(Refusal::TooLarge));
}

/// Few pieces in memory, whatever the number of writes: adjacent ones are joined.
#[test]
fn many_small_writes_into_one_block_stay_few_pieces() {
    let mut world = World::new();
    let file = make(&mut world, Inode::ROOT, b"f", &Make::File, 0o640).inode;
    for at in 0..1000 {
        write(&mut world, file, at * 3, b"abc");
    }
    let everything = world.everything();
    let pieces = everything.iter().map(|(_, value)| match &**value {
        Value::Record(Record::Block(block)) => block.pieces.len(),
        _ => 0,
    });
    assert!(pieces.sum::<usize>() <= 65);
}

#[test]
fn no_more_attributes_are_taken_than_can_be_listed() {
    let mut world = World::new();
    let inode = make(&mut world, Inode::ROOT, b"file", &Make::File, 0o644).inode;
    let mut taken = 0usize;
    let refused = loop {
        let name = format!("user.{taken:0>250}");
        let set = world.run(|view, context| {
            let attribute = (name.as_bytes(), Bytes::from_static(b"value"));
            namespace::set_xattr(view, context, inode, attribute, XattrMode::Set)
        });
        match set {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused, taken), (Refusal::NoSpace, 256));
    let names = world
        .look(|view| namespace::list_xattrs(view, inode))
        .expect("it is there");
    assert_eq!(
        names.iter().map(|name| name.len() + 1).sum::<usize>(),
        65_536
    );
}
