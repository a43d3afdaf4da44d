//! A vault as an OpenDAL operator: one contract, held by the vault and by OpenDAL's own service for local folders, and what the
//! vault promises beyond it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use coffre::Filesystem;
use coffre::fs::OpenMode;
use coffre_tests::content::late_times;
use coffre_tests::content::noise;
use coffre_tests::content::server;
use coffre_tests::content::stop;
use coffre_tests::world::World;
use futures::StreamExt;
use futures::TryStreamExt;
use opendal::Entry;
use opendal::EntryMode;
use opendal::ErrorKind;
use opendal::Operator;
use opendal::options::ListOptions;

use crate::given_up::given_up_after;

/// Something that the contract is tried on, and what keeps it alive.
struct Tried {
    operator: Operator,
    _world: World,
}

async fn vault() -> (Tried, Filesystem) {
    let world = World::local();
    world.create("a").await;
    let files = Filesystem::of(world.files("a").await);
    let operator = coffre_opendal::operator(files.clone()).unwrap();
    let tried = Tried {
        operator,
        _world: world,
    };
    (tried, files)
}

/// OpenDAL's own service for folders: what the contract says is no invention of the vault's.
fn folder() -> Tried {
    let world = World::local();
    let root = world.dir.path().join("plain").display().to_string();
    let aside = world.dir.path().join("aside").display().to_string();
    let service = opendal::services::Fs::default()
        .root(&root)
        .atomic_write_dir(&aside);
    Tried {
        operator: Operator::new(service).unwrap(),
        _world: world,
    }
}

fn kind<T: std::fmt::Debug>(result: opendal::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

async fn list(operator: &Operator, path: &str, recursive: bool) -> BTreeMap<String, Entry> {
    let options = ListOptions {
        recursive,
        ..ListOptions::default()
    };
    let entries = operator.list_options(path, options).await.unwrap();
    let count = entries.len();
    let listed: BTreeMap<_, _> = entries
        .into_iter()
        .map(|entry| (entry.path().to_owned(), entry))
        .collect();
    assert_eq!(listed.len(), count, "something is listed twice");
    listed
}

async fn paths(operator: &Operator, path: &str, recursive: bool) -> Vec<String> {
    list(operator, path, recursive).await.into_keys().collect()
}

/// Each is tried on both.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod vault_contract {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(&super::vault().await.0.operator).await; })*
        }
        mod folder_contract {
            $(#[tokio::test]
            async fn $name() { super::$name(&super::folder().operator).await; })*
        }
    };
}
contract!(
    what_was_written_is_read,
    ranges_are_what_they_say,
    metadata_tells_files_from_folders,
    folders_are_made_when_they_are_needed,
    listing_shows_a_folder_and_what_is_in_it,
    listing_goes_down_if_asked,
    listing_by_the_beginning_of_names,
    names_are_any_text,
    what_is_missing_is_not_found,
    deleting_what_is_there_and_what_is_not,
    renaming_replaces,
    copying_replaces_and_leaves_the_source,
    a_writer_that_is_aborted_leaves_the_old_content,
    appending,
);

async fn what_was_written_is_read(operator: &Operator) {
    let content = noise(3_000_000, 1);
    let written = operator.write("file", content.clone()).await.unwrap();
    assert_eq!(written.content_length(), 3_000_000);
    assert_eq!(operator.read("file").await.unwrap().to_vec(), content);
    // Many parts, empty ones among them.
    let mut writer = operator.writer("file").await.unwrap();
    for part in content.chunks(700_001) {
        writer.write(part.to_vec()).await.unwrap();
        writer.write(Vec::<u8>::new()).await.unwrap();
    }
    assert_eq!(writer.close().await.unwrap().content_length(), 3_000_000);
    assert_eq!(operator.read("file").await.unwrap().to_vec(), content);
    // Shorter than before, and empty.
    operator.write("file", "short").await.unwrap();
    assert_eq!(operator.read("file").await.unwrap().to_vec(), b"short");
    operator.write("file", Vec::<u8>::new()).await.unwrap();
    assert!(operator.read("file").await.unwrap().is_empty());
    assert_eq!(operator.stat("file").await.unwrap().content_length(), 0);
    // A writer that was given nothing.
    operator
        .writer("nothing")
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    assert_eq!(operator.stat("nothing").await.unwrap().content_length(), 0);
}

async fn ranges_are_what_they_say(operator: &Operator) {
    let content = noise(1_000_000, 2);
    operator.write("file", content.clone()).await.unwrap();
    for (start, end) in [
        (0, 1),
        (0, 1_000_000),
        (131_071, 131_073),
        (999_999, 1_000_000),
    ] {
        let read = operator.read_with("file").range(start..end).await.unwrap();
        let expected = content.get(start as usize..end as usize).unwrap();
        assert_eq!(read.to_vec(), expected, "{start}..{end}");
    }
    let end = operator.read_with("file").range(999_990..).await.unwrap();
    assert_eq!(end.to_vec(), content.get(999_990..).unwrap());
    let reader = operator.reader("file").await.unwrap();
    let beyond = reader.read(999_990..1_000_010).await;
    assert_eq!(kind(beyond), ErrorKind::RangeNotSatisfied);
    let many = reader
        .fetch(vec![0..10, 500_000..500_010, 5..15])
        .await
        .unwrap();
    let many: Vec<_> = many.iter().map(opendal::Buffer::to_vec).collect();
    let expected =
        [0..10, 500_000..500_010, 5..15].map(|range| content.get(range).unwrap().to_vec());
    assert_eq!(many, expected);
    let mut stream = operator
        .reader("file")
        .await
        .unwrap()
        .into_bytes_stream(100..900_000)
        .await
        .unwrap();
    let mut streamed = Vec::new();
    while let Some(part) = stream.next().await {
        streamed.extend_from_slice(&part.unwrap());
    }
    assert_eq!(streamed, content.get(100..900_000).unwrap());
}

async fn metadata_tells_files_from_folders(operator: &Operator) {
    operator.create_dir("folder/").await.unwrap();
    operator.create_dir("folder/").await.unwrap();
    operator.write("folder/file", "content").await.unwrap();
    let file = operator.stat("folder/file").await.unwrap();
    assert_eq!((file.mode(), file.content_length()), (EntryMode::FILE, 7));
    assert!(file.last_modified().is_some());
    assert_eq!(
        operator.stat("folder/").await.unwrap().mode(),
        EntryMode::DIR
    );
    assert_eq!(operator.stat("/").await.unwrap().mode(), EntryMode::DIR);
    assert_eq!(
        kind(operator.stat("folder/file/").await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(operator.read("folder/").await),
        ErrorKind::IsADirectory
    );
    assert_eq!(
        kind(operator.write("folder/", "x").await),
        ErrorKind::IsADirectory
    );
}

async fn folders_are_made_when_they_are_needed(operator: &Operator) {
    operator.write("a/b/c/file", "deep").await.unwrap();
    assert!(operator.stat("a/b/").await.unwrap().is_dir());
    operator.create_dir("x/y/z/").await.unwrap();
    assert!(operator.stat("x/y/z/").await.unwrap().is_dir());
    operator
        .rename("a/b/c/file", "new/place/file")
        .await
        .unwrap();
    operator
        .copy("new/place/file", "another/place/file")
        .await
        .unwrap();
    let read = operator.read("another/place/file").await.unwrap();
    assert_eq!(read.to_vec(), b"deep");
}

async fn listing_shows_a_folder_and_what_is_in_it(operator: &Operator) {
    operator.write("d/one", "1").await.unwrap();
    operator.write("d/two/inner", "22").await.unwrap();
    operator.create_dir("d/empty/").await.unwrap();
    let listed = list(operator, "d/", false).await;
    let found: Vec<_> = listed.keys().map(String::as_str).collect();
    assert_eq!(found, ["d/", "d/empty/", "d/one", "d/two/"]);
    assert_eq!(listed["d/one"].metadata().mode(), EntryMode::FILE);
    assert_eq!(listed["d/two/"].metadata().mode(), EntryMode::DIR);
    assert_eq!(paths(operator, "/", false).await, ["/", "d/"]);
    assert_eq!(paths(operator, "d/empty/", false).await, ["d/empty/"]);
    assert!(paths(operator, "missing/", false).await.is_empty());
    assert!(paths(operator, "missing/", true).await.is_empty());
    assert!(paths(operator, "d/one/", false).await.is_empty());
}

async fn listing_goes_down_if_asked(operator: &Operator) {
    for name in ["t/a/b/c/1", "t/a/2", "t/3"] {
        operator.write(name, "x").await.unwrap();
    }
    operator.create_dir("t/e/").await.unwrap();
    let all = [
        "t/",
        "t/3",
        "t/a/",
        "t/a/2",
        "t/a/b/",
        "t/a/b/c/",
        "t/a/b/c/1",
        "t/e/",
    ];
    assert_eq!(paths(operator, "t/", true).await, all);
    assert_eq!(paths(operator, "/", true).await.len(), all.len() + 1);
    let many: Vec<String> = (0..2_500)
        .map(|i| format!("many/{:02}/{i:04}", i % 7))
        .collect();
    for name in &many {
        operator.write(name, "").await.unwrap();
    }
    let files = paths(operator, "many/", true).await;
    let files: Vec<_> = files
        .into_iter()
        .filter(|path| !path.ends_with('/'))
        .collect();
    let mut expected = many;
    expected.sort();
    assert_eq!(files, expected);
}

async fn listing_by_the_beginning_of_names(operator: &Operator) {
    for name in ["p/abc", "p/abd/inner/x", "p/abd/y", "p/b", "pq"] {
        operator.write(name, "x").await.unwrap();
    }
    assert_eq!(paths(operator, "p/ab", false).await, ["p/abc", "p/abd/"]);
    let below = [
        "p/abc",
        "p/abd/",
        "p/abd/inner/",
        "p/abd/inner/x",
        "p/abd/y",
    ];
    assert_eq!(paths(operator, "p/ab", true).await, below);
    assert!(paths(operator, "p/zz", true).await.is_empty());
    assert_eq!(paths(operator, "p", false).await, ["p/", "pq"]);
}

async fn names_are_any_text(operator: &Operator) {
    let long = "n".repeat(200);
    let names = [
        "été",
        "日本語",
        "with space",
        "a%20b?c#d&e=f",
        "'quoted' \"twice\"",
        "back\\slash",
        ".hidden",
        &long,
        "🗝️",
    ];
    for name in names {
        let path = format!("names/{name}");
        operator
            .write(&path, name.as_bytes().to_vec())
            .await
            .unwrap();
        assert_eq!(
            operator.read(&path).await.unwrap().to_vec(),
            name.as_bytes()
        );
        assert_eq!(
            operator.stat(&path).await.unwrap().content_length(),
            name.len() as u64
        );
    }
    let mut expected: Vec<String> = names.iter().map(|name| format!("names/{name}")).collect();
    expected.push("names/".to_owned());
    expected.sort();
    assert_eq!(paths(operator, "names/", false).await, expected);
}

async fn what_is_missing_is_not_found(operator: &Operator) {
    operator.write("file", "x").await.unwrap();
    assert_eq!(kind(operator.stat("missing").await), ErrorKind::NotFound);
    assert_eq!(kind(operator.stat("missing/").await), ErrorKind::NotFound);
    assert_eq!(kind(operator.read("missing").await), ErrorKind::NotFound);
    assert_eq!(
        kind(operator.rename("missing", "other").await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(operator.copy("missing", "deep/other").await),
        ErrorKind::NotFound
    );
    assert!(!operator.exists("missing").await.unwrap());
    assert!(operator.exists("file").await.unwrap());
}

async fn deleting_what_is_there_and_what_is_not(operator: &Operator) {
    operator.write("d/file", "x").await.unwrap();
    operator.create_dir("d/empty/").await.unwrap();
    operator.delete("d/missing").await.unwrap();
    operator.delete("missing/file").await.unwrap();
    operator.delete("d/file").await.unwrap();
    assert!(!operator.exists("d/file").await.unwrap());
    operator.delete("d/empty/").await.unwrap();
    assert!(!operator.exists("d/empty/").await.unwrap());
    operator.write("d/a/b", "x").await.unwrap();
    operator.delete("d/").await.unwrap_err();
    assert!(operator.exists("d/a/b").await.unwrap());
    operator.delete_with("d/").recursive(true).await.unwrap();
    assert!(!operator.exists("d/").await.unwrap());
    operator.delete_with("d/").recursive(true).await.unwrap();
    // Many at once, some of which are not there.
    for name in ["m/1", "m/2", "m/3"] {
        operator.write(name, "x").await.unwrap();
    }
    operator.delete_iter(["m/1", "m/no", "m/3"]).await.unwrap();
    assert_eq!(paths(operator, "m/", false).await, ["m/", "m/2"]);
}

async fn renaming_replaces(operator: &Operator) {
    operator.write("one", "1").await.unwrap();
    operator.write("two", "2").await.unwrap();
    operator.rename("one", "two").await.unwrap();
    assert_eq!(operator.read("two").await.unwrap().to_vec(), b"1");
    assert!(!operator.exists("one").await.unwrap());
}

async fn copying_replaces_and_leaves_the_source(operator: &Operator) {
    let content = noise(500_000, 3);
    operator.write("from", content.clone()).await.unwrap();
    operator.write("to", "old").await.unwrap();
    operator.copy("from", "to").await.unwrap();
    operator.write("from", "changed").await.unwrap();
    assert_eq!(operator.read("to").await.unwrap().to_vec(), content);
    assert_eq!(operator.read("from").await.unwrap().to_vec(), b"changed");
}

async fn a_writer_that_is_aborted_leaves_the_old_content(operator: &Operator) {
    operator.write("file", "old").await.unwrap();
    let mut writer = operator.writer("file").await.unwrap();
    writer.write(noise(300_000, 4)).await.unwrap();
    assert_eq!(operator.read("file").await.unwrap().to_vec(), b"old");
    writer.abort().await.unwrap();
    assert_eq!(operator.read("file").await.unwrap().to_vec(), b"old");
    let mut writer = operator.writer("never").await.unwrap();
    writer.write("half").await.unwrap();
    drop(writer);
    assert!(!operator.exists("never").await.unwrap());
}

async fn appending(operator: &Operator) {
    operator
        .write_with("log", "one ")
        .append(true)
        .await
        .unwrap();
    operator
        .write_with("log", "two ")
        .append(true)
        .await
        .unwrap();
    let mut writer = operator.writer_with("log").append(true).await.unwrap();
    writer.write("three ").await.unwrap();
    writer.write("four").await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(
        operator.read("log").await.unwrap().to_vec(),
        b"one two three four"
    );
}

/// OpenDAL's own service for folders lets everybody win here.
#[tokio::test(flavor = "multi_thread")]
async fn only_one_makes_a_file_that_is_not_there() {
    let (tried, _files) = vault().await;
    let operator = &tried.operator;
    let made = (0..8).map(|i| {
        let operator = operator.clone();
        async move {
            let write = operator
                .write_with("race", format!("{i}"))
                .if_not_exists(true);
            write.await.map(|_| i).map_err(|error| error.kind())
        }
    });
    let made: Vec<_> = futures::future::join_all(made).await;
    let winners: Vec<_> = made.iter().filter_map(|made| made.as_ref().ok()).collect();
    let losers = made.iter().filter_map(|made| made.as_ref().err());
    assert_eq!(winners.len(), 1, "{made:?}");
    assert!(
        losers
            .into_iter()
            .all(|kind| *kind == ErrorKind::ConditionNotMatch)
    );
    let won = operator.read("race").await.unwrap().to_vec();
    assert_eq!(won, winners[0].to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn etags_change_with_the_content_and_only_with_it() {
    let (tried, files) = vault().await;
    let operator = &tried.operator;
    let first = operator.write("file", "one").await.unwrap();
    let etag = first.etag().unwrap().to_owned();
    assert_eq!(operator.stat("file").await.unwrap().etag(), Some(&*etag));
    let listed = operator.list("/").await.unwrap();
    let listed = listed.iter().find(|entry| entry.path() == "file").unwrap();
    assert_eq!(listed.metadata().etag(), Some(&*etag));
    operator.read("file").await.unwrap();
    assert_eq!(operator.stat("file").await.unwrap().etag(), Some(&*etag));
    // Of the same length, in place and as a replacement.
    let open = coffre::OpenOptions::new().write(true).to_owned();
    let in_place = files.open_with("file", &open).await.unwrap();
    in_place.write_at(0, "two".into()).await.unwrap();
    let second = operator.stat("file").await.unwrap();
    assert_ne!(second.etag(), Some(&*etag));
    let third = operator.write("file", "one").await.unwrap();
    assert_ne!(third.etag(), second.etag());
    assert_ne!(third.etag(), Some(&*etag));
    // A kernel that has held content back tells its times first, and sends the content then.
    let volume = files.volume();
    let inode = files.metadata("file").await.unwrap().inode;
    let handle = volume.open_file(inode, OpenMode::Write).await.unwrap();
    volume.set_attributes(inode, late_times()).await.unwrap();
    let fourth = operator.stat("file").await.unwrap();
    volume.write_back(handle, 0, "six".into()).await.unwrap();
    volume.release(handle).await.unwrap();
    let fifth = operator.stat("file").await.unwrap();
    assert_eq!(fifth.last_modified(), fourth.last_modified());
    assert_ne!(fifth.etag(), fourth.etag());
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_and_names_that_are_no_text_are_seen() {
    use std::os::unix::ffi::OsStrExt;
    let (tried, files) = vault().await;
    let operator = &tried.operator;
    files.create_dir_all("real/inner").await.unwrap();
    files.write("real/file", "through").await.unwrap();
    files.symlink("real", "to-folder").await.unwrap();
    files.symlink("real/file", "to-file").await.unwrap();
    files.symlink("nowhere", "to-nothing").await.unwrap();
    files.symlink(".", "real/round").await.unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"not \xff text");
    files.write(odd, "x").await.unwrap();
    assert_eq!(
        operator.read("to-folder/file").await.unwrap().to_vec(),
        b"through"
    );
    assert_eq!(operator.stat("to-file").await.unwrap().content_length(), 7);
    let listed = list(operator, "/", true).await;
    let found: Vec<_> = listed.keys().map(String::as_str).collect();
    assert_eq!(
        found,
        [
            "/",
            "not \u{fffd} text",
            "real/",
            "real/file",
            "real/inner/",
            "real/round/",
            "to-file",
            "to-folder/",
        ]
    );
    assert_eq!(listed["to-file"].metadata().content_length(), 7);
    assert_eq!(kind(operator.stat("to-nothing").await), ErrorKind::NotFound);
    assert_eq!(
        kind(operator.stat("not \u{fffd} text").await),
        ErrorKind::NotFound
    );
    // Removing what lies behind a link is not removing the link.
    operator
        .delete_with("to-folder")
        .recursive(true)
        .await
        .unwrap();
    assert!(operator.exists("real/file").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_with_what_it_opened() {
    let (tried, files) = vault().await;
    let operator = &tried.operator;
    let old = noise(2_000_000, 5);
    operator.write("file", old.clone()).await.unwrap();
    let reader = operator.reader("file").await.unwrap();
    let first = reader.read(0..1_000_000).await.unwrap().to_vec();
    operator.write("file", noise(2_000_000, 6)).await.unwrap();
    let second = reader.read(1_000_000..2_000_000).await.unwrap().to_vec();
    assert_eq!([first, second].concat(), old);
    files.publish().await.unwrap();
    assert_eq!(files.status().unpublished_operations, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_source_and_a_closed_store_is_told() {
    let (tried, files) = vault().await;
    let operator = &tried.operator;
    let missing = operator.read("missing").await.unwrap_err();
    let source = std::error::Error::source(&missing).unwrap().to_string();
    assert_eq!(source, "missing: no such file or directory");
    operator.write("file", "x").await.unwrap();
    let under = operator.write("file/below", "x").await.unwrap_err();
    assert_eq!(under.kind(), ErrorKind::NotADirectory);
    let signed = operator
        .presign_read("file", std::time::Duration::from_secs(1))
        .await;
    assert_eq!(kind(signed), ErrorKind::Unsupported);
    files.remove("file").await.unwrap();
    let left: Vec<_> = files.list("/").await.unwrap().try_collect().await.unwrap();
    assert!(left.is_empty());
}

/// Whoever gives a writer up half-way and closes it all the same is not to find the old content gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_whole_is_not_put_in_place() {
    let s3 = server().await;
    let world = World::at(s3.uri("vault"));
    world.create("a").await;
    let files = Filesystem::of(world.files("a").await);
    // So many that what is between them does not come with the first read, nor with what a device looks at when it begins.
    let content = noise(12_000 * 40, 5);
    let name = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect();
    let names: Vec<String> = content.chunks(40).map(name).collect();
    files.create_dir("/many").await.unwrap();
    for name in &names {
        files.write(format!("/many/{name}"), "").await.unwrap();
    }
    let [log, file, other] = [3000, 6000, 9000].map(|at: usize| format!("many/{}", names[at]));
    files.write(&file, "old").await.unwrap();
    files.write(&log, "one ").await.unwrap();
    files.create_dir("/many/late").await.unwrap();
    files.close().await.unwrap();

    for polls in 1..=4 {
        for append in [false, true] {
            bury(&world).await;
            // A machine that knows nothing has to wait for everything.
            world.forget("b");
            let files = Filesystem::of(world.files("b").await);
            let operator = coffre_opendal::operator(files.clone()).unwrap();
            let (name, old) = if append {
                (&log, "one ")
            } else {
                (&file, "old")
            };
            let open = operator.writer_with(name).append(append);
            let mut writer = open.await.unwrap();
            let written = given_up_after(polls, writer.write("new")).await;
            assert!(
                written.is_none() || polls > 1,
                "{name}: nothing had to be waited for"
            );
            let closed = writer.close().await;
            assert_eq!(closed.is_ok(), written.is_some());
            let found = files.read(name).await.unwrap();
            let new = if append { "one new" } else { "new" };
            match written {
                Some(_) => assert_eq!(found, new),
                // What was being appended may be there; what was to replace a file is not.
                None => assert!(found == old || append && found == new, "{name}: {found:?}"),
            }
            files.write(name, old).await.unwrap();
            files.close().await.unwrap();
        }
    }

    bury(&world).await;
    world.forget("b");
    let files = Filesystem::of(world.files("b").await);
    let operator = coffre_opendal::operator(files.clone()).unwrap();
    let mut writer = operator.writer(&other).await.unwrap();
    assert!(given_up_after(1, writer.write("ne")).await.is_none());
    // Asked for again it is written, once.
    writer.write("ne").await.unwrap();
    writer.write("w").await.unwrap();
    writer.close().await.unwrap();
    // An end that is asked for again, because nobody knows of the first, is no empty file.
    writer.close().await.unwrap_err();
    assert_eq!(files.read(&other).await.unwrap(), "new");
    files.close().await.unwrap();
    stop(s3).await;
}

/// Publishes something that is no neighbour of most of them.
async fn bury(world: &World) {
    let files = Filesystem::of(world.files("a").await);
    files.write("/many/late/file", "").await.unwrap();
    files.close().await.unwrap();
}
