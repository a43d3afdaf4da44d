//! Where the frames of a large file become finer (decision 21): whatever is written, shared, cut and punched across that
//! place is read as it was, by this session, the next, and a machine that knows nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use coffre::SetAttributes;
use coffre::fs::Allocate;
use coffre::fs::Follow;
use coffre::fs::Handle;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Volume;
use coffre_tests::World;
use coffre_tests::content::noise;
use coffre_tests::content::write;
use coffre_tests::dice::Dice;

/// Half of what is looked at lies before the end of the first GiB, half behind it.
const WINDOW: usize = 1 << 20;
const BEGIN: u64 = (1 << 30) - WINDOW as u64 / 2;
const END: u64 = BEGIN + WINDOW as u64;
/// Most writes are so small that blocks get more pieces than one may have in the store.
const LENGTHS: [u64; 8] = [3000, 3000, 3000, 3000, 3000, 3000, 70_000, 300_000];

async fn opened(files: &Volume, name: &str) -> (Inode, Handle) {
    let found = files.resolve(name.as_bytes(), Follow::No).await.unwrap();
    let handle = files.open_file(found.inode, OpenMode::Write).await.unwrap();
    (found.inode, handle)
}

async fn set_size(files: &Volume, inode: Inode, size: u64) {
    let size = SetAttributes {
        size: Some(size),
        ..SetAttributes::default()
    };
    files.set_attributes(inode, size).await.unwrap();
}

async fn check(files: &Volume, handle: Handle, expected: &[u8], when: &str) {
    let read = files.read(handle, BEGIN, WINDOW as u32).await.unwrap();
    let wrong = read.iter().zip(expected).position(|(is, was)| is != was);
    assert_eq!((read.len(), wrong), (WINDOW, None), "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_shared_cut_and_punched_where_frames_become_finer_is_read_as_it_was() {
    let world = World::local();
    drop(world.create("a").await);
    let files = world.files("a").await;
    for name in ["one", "two"] {
        write(&files, name, vec![1]).await;
    }
    files.close().await.unwrap();
    drop(files);
    let mut dice = Dice(7);
    let mut expected = [vec![0u8; WINDOW], vec![0u8; WINDOW]];
    for session in 0..6u64 {
        let files = world.files("a").await;
        let open = [opened(&files, "/one").await, opened(&files, "/two").await];
        for (file, (inode, handle)) in open.iter().enumerate() {
            set_size(&files, *inode, END).await;
            let when = format!("session {session} begins with file {file}");
            for at in (0..WINDOW).step_by(10_000) {
                let end = (at + 5000).min(WINDOW);
                let offset = BEGIN + at as u64;
                let read = files.read(*handle, offset, (end - at) as u32).await;
                assert!(read.unwrap() == expected[file][at..end], "{when}, at {at}");
            }
            check(&files, *handle, &expected[file], &when).await;
        }
        for step in 0..160u64 {
            let (to, from) = if dice.half() { (0, 1) } else { (1, 0) };
            let (inode, handle) = open[to];
            let most = *dice.pick(&LENGTHS);
            let length = 1 + dice.below(most) as usize;
            let place = |dice: &mut Dice| dice.below((WINDOW - length) as u64) as usize;
            let at = place(&mut dice);
            let offset = BEGIN + at as u64;
            match dice.below(16) {
                0 => {
                    let punched = files.allocate(handle, Allocate::Punch, offset, length as u64);
                    punched.await.unwrap();
                    expected[to][at..at + length].fill(0);
                }
                1 | 2 => {
                    // In any position to the blocks it is taken from.
                    let source = place(&mut dice);
                    let (from_here, to_there) = (BEGIN + source as u64, (handle, offset));
                    let copied = files
                        .copy_range((open[from].1, from_here), to_there, length as u64)
                        .await;
                    assert_eq!(copied.unwrap(), length as u64);
                    let part = expected[from][source..source + length].to_vec();
                    expected[to][at..at + length].copy_from_slice(&part);
                }
                3 if step % 8 == 0 => {
                    set_size(&files, inode, offset).await;
                    set_size(&files, inode, END).await;
                    expected[to][at..].fill(0);
                }
                _ => {
                    let part = noise(length, (session * 160 + step) as u8);
                    expected[to][at..at + length].copy_from_slice(&part);
                    files.write(handle, offset, part.into()).await.unwrap();
                }
            }
            if step % 40 == 39 {
                files.publish().await.unwrap();
            }
            let when = format!("session {session}, step {step}");
            check(&files, handle, &expected[to], &when).await;
        }
        for (_, handle) in open {
            files.release(handle).await.unwrap();
        }
        files.close().await.unwrap();
        drop(files);
        world.forget("a");
    }
}
