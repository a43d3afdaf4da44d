//! Programs cannot tell the drive from a local disk: what they print is the same on both; and the suites that judge
//! file systems find nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use coffre_tests::Mounted;
use coffre_tests::World;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::programs::run;

/// What the scenario prints in this folder.
fn told(scenario: &str, folder: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("posix/scenarios.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(scenario)
        .arg(folder)
        .output()
        .unwrap();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (answer, wrong) = (told(&output.stdout), told(&output.stderr));
    assert!(
        output.status.success(),
        "{scenario} in {}: {answer}{wrong}",
        folder.display()
    );
    answer
}

/// A folder on the disk that the build is on: no file system in memory, which knows less.
fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        eprintln!("skipped: only root can be several users");
    }
    root
}

/// Prints the same on the drive as on a local disk, and this as well where both should.
fn same(scenario: &str, expected: &[&str]) {
    if !can_mount() || !is_root() || !has("python3") {
        return;
    }
    let (local, world) = (disk(), World::local());
    let mounted = Mounted::for_all(&world, "a");
    let inside = mounted.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let right = told(scenario, local.path());
    for part in expected {
        assert!(right.contains(part), "{part:?} is not in\n{right}");
    }
    let found = told(scenario, &inside);
    assert!(
        found == right,
        "{scenario}: on a local disk\n{right}\non the drive\n{found}"
    );
    mounted.close();
}

#[test]
fn locks_between_processes() {
    same(
        "locks",
        &["'flock EAGAIN'", "'first half EAGAIN'", "waited for: 0"],
    );
}

#[test]
fn shared_writable_mappings() {
    same(
        "shared_mapping",
        &["[0, 0, 0, 0]\nTrue\nb'written'\nb'mapped'"],
    );
}

#[test]
fn appends_of_many_processes() {
    same("appends", &["2001 b''", "True\nTrue\nTrue\nTrue"]);
}

#[test]
fn unbuffered_access() {
    same("direct", &["8192 8192", "4096 True", "b'bufferedd"]);
}

#[test]
fn renames_over_open_files() {
    same("renames", &["b'old content' b'new content' 0", "[] ENOENT"]);
}

#[test]
fn places_in_a_directory_that_changes() {
    same("telldir", &["3000 True\nTrue\nTrue True"]);
}

#[test]
fn names_that_come_a_few_at_a_time() {
    same(
        "listing",
        &[
            "2000 True\n2000 True\n2000 True\n2000 True\n2000 True\nTrue True",
            "{'ENOENT'}\n{'0o600'}\n{6}\n0 0",
        ],
    );
}

#[test]
fn what_is_removed_fails_no_sync_and_what_is_open_stays() {
    same("removed_and_synced", &["[0, 0, 0, 0]"]);
}

#[test]
fn times_are_kept_as_they_are_shown() {
    if !can_mount() || !has("python3") {
        return;
    }
    let world = World::local();
    let mounted = Mounted::new(&world, "a");
    let content = coffre_tests::content::noise(1 << 20, 11);
    let shown = |mounted: &Mounted| {
        let times = |index: i32| {
            let found = fs::metadata(mounted.path().join(format!("{index}"))).unwrap();
            let changed = (found.ctime(), found.ctime_nsec());
            (found.modified().unwrap(), changed)
        };
        (0..4).map(times).collect::<Vec<_>>()
    };
    for index in 0..4 {
        let mut file = fs::File::create(mounted.path().join(format!("{index}"))).unwrap();
        for _ in 0..20 * (index + 1) {
            file.write_all(&content).unwrap();
        }
        // Written back while it is open, as the system does it in the background as well.
        rustix::fs::syncfs(&file).unwrap();
    }
    // What is given the size that it has is as it was.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let program = "import os; os.truncate('0', os.stat('0').st_size)";
    run(mounted.path(), "python3", &["-c", program]);
    let before = shown(&mounted);
    mounted.close();
    let mounted = Mounted::new(&world, "a");
    assert_eq!(shown(&mounted), before);
    mounted.close();
}

#[test]
fn a_sparse_tebibyte() {
    same("sparse", &["1099511627776 True", "EINVAL"]);
}

#[test]
fn names_of_any_bytes() {
    same("names", &["True\nTrue\nENAMETOOLONG"]);
}

#[test]
fn setgid_and_sticky_directories() {
    same(
        "groups_and_sticky",
        &["file 1234 0o0", "inside 1234 0o2000", "('EPERM', 'EPERM')"],
    );
}

#[test]
fn suid_and_capabilities_are_dropped_on_write() {
    same(
        "privileges",
        &[
            "before ('0o6777', 'capable')",
            "by another user: write ('0o777', 'ENODATA')",
        ],
    );
}

#[test]
fn extended_attributes() {
    same("attributes", &["trusted.one b'trusted.one'", "ENODATA"]);
}

#[test]
fn access_lists() {
    if !has("setfacl") {
        eprintln!("skipped: there is no setfacl");
        return;
    }
    same("access_lists", &["file 0o664", "after 0o600"]);
}

#[test]
fn times_to_the_nanosecond() {
    same("times", &["4102444800123456789"]);
}

#[test]
fn files_without_names_fifos_and_sockets() {
    same("unnamed", &["b'through'", "b'answered'"]);
}

#[test]
fn space_is_told() {
    same("space", &["255 True True True"]);
}

/// A program of a suite that `cargo xtask test` installs.
fn tool(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("tools/bin").join(name);
    if !path.exists() {
        eprintln!("skipped: {name} is not installed; `cargo xtask posix` does that");
        return None;
    }
    Some(path)
}

#[test]
fn pjdfstest_finds_nothing() {
    if !can_mount() || !is_root() {
        return;
    }
    let Some(pjdfstest) = tool("pjdfstest") else {
        return;
    };
    let world = World::local();
    let mounted = Mounted::for_all(&world, "a");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("posix/pjdfstest.toml");
    let output = Command::new(pjdfstest)
        .arg("-c")
        .arg(config)
        .arg("-p")
        .arg(mounted.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = told.lines().find(|line| line.starts_with("Summary:"));
    println!("{summary:?}");
    assert!(output.status.success(), "{told}");
    assert!(summary.unwrap().contains(" 0 failed"), "{told}");
    let passed: usize = summary
        .unwrap()
        .split(", ")
        .find_map(|part| part.strip_suffix(" passed"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(passed >= 370, "{told}");
    mounted.close();
}

/// How many operations fsx does each time; with more than the short form's, with five seeds.
const FSX: u32 = 20_000;

#[test]
fn fsx_finds_nothing() {
    if !can_mount() {
        return;
    }
    let Some(fsx) = tool("fsx") else {
        return;
    };
    let asked = std::env::var("COFFRE_TEST_FSX").map(|asked| asked.parse().unwrap());
    let operations: u32 = asked.unwrap_or(FSX);
    let seeds = if operations > FSX { 1..=5 } else { 1..=1 };
    let world = World::local();
    let mounted = Mounted::new(&world, "a");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("posix/fsx.toml");
    for seed in seeds {
        let output = Command::new(&fsx)
            .args(["-N", &operations.to_string(), "-S", &seed.to_string()])
            .arg("-f")
            .arg(&config)
            .arg(mounted.path().join("file"))
            .current_dir(world.dir.path())
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success(), "seed {seed}: {told}");
        println!("fsx: {operations} operations, seed {seed}: nothing found");
    }
    mounted.close();
}

/// Random writes from several jobs, each block with a checksum that is read back: from the cache, and from the drive.
#[test]
fn fio_verifies_what_it_wrote() {
    if !can_mount() || !has("fio") {
        return;
    }
    let world = World::local();
    let mounted = Mounted::new(&world, "a");
    let fio = |arguments: &[&str]| {
        let output = Command::new("fio")
            .args([
                "--name=verify",
                "--rw=randwrite",
                "--bsrange=512-64k",
                "--size=24m",
            ])
            .args([
                "--numjobs=3",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--randseed=7",
            ])
            .args(["--fallocate=none", "--verify_state_save=0", "--directory"])
            .arg(mounted.path())
            .args(arguments)
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success(), "{arguments:?}: {told}");
        assert!(told.contains("err= 0"), "{arguments:?}: {told}");
    };
    fio(&["--do_verify=0", "--end_fsync=1"]);
    mounted.runtime.block_on(mounted.files.publish()).unwrap();
    fio(&["--verify_only"]);
    // With the kernel's pages gone it is all read from the drive.
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    fio(&["--verify_only"]);
    mounted.close();
}
