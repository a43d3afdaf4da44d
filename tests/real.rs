//! Real files and real programs: everything they left is found again by a machine that knows the passphrase alone.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;

use coffre::store::StoreUri;
use coffre::vault::copy::copy;
use coffre_tests::Mounted;
use coffre_tests::World;
use coffre_tests::compare;
use coffre_tests::compare::Entry;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::programs::run;
use coffre_tests::s3::S3;

/// More than this many real files are copied.
const FILES: usize = 10_000;

/// A folder with more than `FILES` real files, symlinks and hard links among them.
fn real_files(into: &Path) {
    fs::create_dir_all(into).unwrap();
    let mut copied = 0;
    for source in [
        "/usr/share/zoneinfo",
        "/usr/lib/python3",
        "/usr/share/perl",
        "/usr/share/doc",
        "/usr/share/man",
        "/usr/include",
        "/usr/share",
    ] {
        let source = Path::new(source);
        if copied > FILES || !source.exists() {
            continue;
        }
        let target = into.join(source.file_name().unwrap());
        run(
            into,
            "cp",
            &["-a", source.to_str().unwrap(), target.to_str().unwrap()],
        );
        copied = compare::tree(into).len();
    }
    let mut made = 0;
    while copied + made <= FILES {
        let folder = into.join(format!("made/{}", made / 200));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("file {made}")),
            vec![made as u8; made % 9000],
        )
        .unwrap();
        made += 1;
    }
    fs::write(into.join("one name"), "one file").unwrap();
    fs::hard_link(into.join("one name"), into.join("another name")).unwrap();
    fs::write(into.join("special \u{1F980} name"), "crab").unwrap();
    run(into, "mkfifo", &["pipe"]);
    if has("setfattr") {
        run(
            into,
            "setfattr",
            &["-n", "user.colour", "-v", "blue", "another name"],
        );
    }
    let sparse = File::create(into.join("sparse")).unwrap();
    sparse.write_all_at(b"middle", 40 << 20).unwrap();
    sparse.set_len(80 << 20).unwrap();
}

fn copy_and_find_again(world: &World) -> BTreeMap<PathBuf, Entry> {
    let source = tempfile::tempdir().unwrap();
    real_files(&source.path().join("files"));
    let expected = compare::tree(source.path());
    assert!(expected.len() > FILES, "only {} files", expected.len());
    let mounted = Mounted::new(world, "a");
    run(
        mounted.path(),
        "cp",
        &["-a", source.path().join("files").to_str().unwrap(), "."],
    );
    compare::assert_same(&expected, &compare::tree(mounted.path()));
    mounted.close();
    world.forget("a");
    let mounted = Mounted::new(world, "b");
    compare::assert_same(&expected, &compare::tree(mounted.path()));
    mounted.close();
    expected
}

/// The same vault at another provider, without its key on the way.
fn moved(world: &World, uri: StoreUri) -> World {
    let there = World::at(uri);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (from, to) = (world.store(), there.store());
    let report = runtime.block_on(copy(&from, &to, &|_| ())).unwrap();
    assert!(report.copied > 3 && report.damaged.is_empty(), "{report:?}");
    there
}

#[test]
fn ten_thousand_files_in_a_folder_and_moved_to_s3() {
    if can_mount() {
        let world = World::local();
        let expected = copy_and_find_again(&world);
        let s3 = S3::start();
        let there = moved(&world, s3.uri("moved"));
        let mounted = Mounted::new(&there, "c");
        compare::assert_same(&expected, &compare::tree(mounted.path()));
        mounted.close();
    }
}

#[test]
fn ten_thousand_files_in_s3() {
    if can_mount() {
        let s3 = S3::start();
        copy_and_find_again(&World::at(s3.uri("photos")));
    }
}

#[test]
fn git_works_in_a_folder() {
    git(&World::local());
}

#[test]
fn git_works_in_s3() {
    let s3 = S3::start();
    git(&World::at(s3.uri("git")));
}

fn git(world: &World) {
    if !can_mount() || !has("git") {
        return;
    }
    let origin = tempfile::tempdir().unwrap();
    run(origin.path(), "git", &["init", "-q", "-b", "main"]);
    for round in 0..30 {
        for index in 0..40 {
            let folder = origin.path().join(format!("src/{}", index % 7));
            fs::create_dir_all(&folder).unwrap();
            fs::write(
                folder.join(format!("{index}.txt")),
                format!("{round} {index}\n").repeat(index + round),
            )
            .unwrap();
        }
        run(origin.path(), "git", &["add", "-A"]);
        run(origin.path(), "git", &["commit", "-q", "-m", "a round"]);
    }
    let mounted = Mounted::new(world, "a");
    let origin_path = format!("file://{}", origin.path().display());
    run(
        mounted.path(),
        "git",
        &["clone", "-q", &origin_path, "clone"],
    );
    let clone = mounted.path().join("clone");
    assert_eq!(run(&clone, "git", &["status", "--porcelain"]), "");
    fs::write(clone.join("src/1/1.txt"), "changed").unwrap();
    run(&clone, "git", &["commit", "-qam", "here"]);
    run(&clone, "git", &["gc", "-q", "--aggressive", "--prune=now"]);
    run(&clone, "git", &["fsck", "--full", "--strict"]);
    let head = run(&clone, "git", &["rev-parse", "HEAD"]);
    mounted.close();
    world.forget("a");
    let mounted = Mounted::new(world, "b");
    let clone = mounted.path().join("clone");
    assert_eq!(run(&clone, "git", &["status", "--porcelain"]), "");
    run(&clone, "git", &["fsck", "--full", "--strict"]);
    assert_eq!(run(&clone, "git", &["rev-parse", "HEAD"]), head);
    mounted.close();
}

#[test]
fn two_processes_write_sqlite_in_both_journal_modes_in_a_folder() {
    sqlite(&World::local());
}

#[test]
fn two_processes_write_sqlite_in_both_journal_modes_in_s3() {
    let s3 = S3::start();
    sqlite(&World::at(s3.uri("sqlite")));
}

fn sqlite(world: &World) {
    if !can_mount() || !has("sqlite3") {
        return;
    }
    let mounted = Mounted::new(world, "a");
    for mode in ["wal", "delete"] {
        let base = format!("{mode}.db");
        run(
            mounted.path(),
            "sqlite3",
            &[
                &base,
                &format!("pragma journal_mode={mode}; create table t(who, n);"),
            ],
        );
        let insert = |who: &str| {
            let statements: String = (0..150)
                .map(|n| format!("begin immediate; insert into t values('{who}',{n}); commit;\n"))
                .collect();
            let mut child = std::process::Command::new("sqlite3")
                .args(["-cmd", ".timeout 20000", &base])
                .current_dir(mounted.path())
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(statements.as_bytes())
                .unwrap();
            child
        };
        let (mut one, mut two) = (insert("one"), insert("two"));
        assert!(one.wait().unwrap().success() && two.wait().unwrap().success());
    }
    mounted.close();
    world.forget("a");
    let mounted = Mounted::new(world, "b");
    for mode in ["wal", "delete"] {
        let base = format!("{mode}.db");
        assert_eq!(
            run(
                mounted.path(),
                "sqlite3",
                &[&base, "pragma integrity_check;"]
            )
            .trim(),
            "ok"
        );
        let count = "select count(*), count(distinct who||n) from t;";
        assert_eq!(
            run(mounted.path(), "sqlite3", &[&base, count]).trim(),
            "300|300"
        );
    }
    mounted.close();
}

#[test]
fn a_file_of_two_gibibytes_in_a_folder() {
    big_file(&World::local());
}

#[test]
fn a_file_of_two_gibibytes_in_s3() {
    let s3 = S3::start();
    big_file(&World::at(s3.uri("big")));
}

fn big_file(world: &World) {
    if !can_mount() {
        return;
    }
    let mounted = Mounted::new(world, "a");
    let mut hasher = blake3::Hasher::new();
    let mut file = File::create(mounted.path().join("big")).unwrap();
    let mut chunk = vec![0u8; 1 << 20];
    for index in 0..2048u64 {
        blake3::Hasher::new()
            .update(&index.to_le_bytes())
            .finalize_xof()
            .fill(&mut chunk);
        hasher.update(&chunk);
        file.write_all(&chunk).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    mounted.close();
    world.forget("a");
    let mounted = Mounted::new(world, "b");
    let found = compare::tree(mounted.path());
    let big = &found[Path::new("big")];
    assert_eq!(
        (big.size, big.content.as_deref()),
        (2 << 30, Some(hasher.finalize().to_hex().as_str()))
    );
    mounted.close();
}
