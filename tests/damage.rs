//! A dishonest store through the real command: EIO on the mount, exit codes, names of objects and files, and all
//! is well again when the store is honest again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use coffre_tests::command::Machine;
use coffre_tests::mounted::can_mount;

const PLANTED: &str = "grandmother-recipe-7261";

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files(folder).into_iter().map(read).collect()
}

fn restore(folder: &Path, snapshot: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in files(folder) {
        if !snapshot.contains_key(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in snapshot {
        fs::write(path, bytes).unwrap();
    }
}

/// A vault with one big file, whose content fills packs of its own, and a small one.
fn filled(machine: &Machine) -> (String, Vec<u8>) {
    let vault = machine.init("vault");
    let mut content = vec![0; 20 << 20];
    getrandom::fill(&mut content).unwrap();
    fs::write(machine.path("big"), &content).unwrap();
    fs::write(machine.path("small"), "small and safe").unwrap();
    machine.ok(&["put", &vault, &machine.path("big"), &format!("/{PLANTED}")]);
    machine.ok(&["put", &vault, &machine.path("small"), "/small"]);
    (vault, content)
}

/// The largest pack: full of content.
fn full_pack(vault: &str) -> PathBuf {
    let packs = files(&Path::new(vault).join("packs"));
    let length = |path: &PathBuf| path.metadata().unwrap().len();
    packs.into_iter().max_by_key(length).unwrap()
}

#[test]
fn check_ends_with_4_for_forgery_and_7_for_loss_and_names_both() {
    let machine = Machine::new();
    let (vault, _) = filled(&machine);
    let honest = snapshot(Path::new(&vault));
    machine.ok(&["check", "--data", &vault]);
    let pack = full_pack(&vault);
    let object = pack.file_name().unwrap().to_str().unwrap().to_owned();
    let named = |codes: &[i32]| {
        let output = machine.run(&["check", "--data", &vault]);
        let code = output.status.code().unwrap();
        assert!(codes.contains(&code), "{code}, not {codes:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&object) && text.contains(PLANTED), "{text}");
    };
    let mut forged = honest[&pack].clone();
    forged[5 << 20] ^= 1;
    fs::write(&pack, forged).unwrap();
    named(&[4]);
    // Cut off, and not what its commit promised.
    fs::write(&pack, &honest[&pack][..5 << 20]).unwrap();
    named(&[4, 7]);
    fs::remove_file(&pack).unwrap();
    named(&[7]);
    restore(Path::new(&vault), &honest);
    machine.ok(&["check", "--data", &vault]);
}

#[test]
fn a_damaged_file_is_eio_on_the_mount_and_the_rest_stays_readable() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let (vault, content) = filled(&machine);
    let pack = full_pack(&vault);
    let honest = fs::read(&pack).unwrap();
    let mut forged = honest.clone();
    forged.iter_mut().skip(4096).for_each(|byte| *byte ^= 1);
    fs::write(&pack, forged).unwrap();
    let dir = machine.folder("mount");
    machine.ok(&["mount", &vault, &dir]);
    let error = fs::read(Path::new(&dir).join(PLANTED)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    let small = fs::read(Path::new(&dir).join("small")).unwrap();
    assert_eq!(small, b"small and safe");
    // The log says what happened, without the name of the file.
    let state = fs::read_dir(machine.path("state")).unwrap().next();
    let log = state.unwrap().unwrap().path().join("daemon.log");
    let log = fs::read_to_string(log).unwrap();
    let object = pack.file_name().unwrap().to_str().unwrap();
    assert!(log.contains(object), "{log}");
    assert!(!log.contains(PLANTED), "{log}");
    fs::write(&pack, honest).unwrap();
    assert!(fs::read(Path::new(&dir).join(PLANTED)).unwrap() == content);
    machine.ok(&["unmount", &dir]);
}

#[test]
fn nothing_planted_is_in_the_log_or_any_other_file_of_a_mount() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let dir = machine.folder("mount");
    machine.ok(&["-v", "mount", &vault, &dir]);
    let text = "two spoons of saffron, and never tell 9914";
    fs::create_dir(Path::new(&dir).join(PLANTED)).unwrap();
    let file = Path::new(&dir).join(PLANTED).join(PLANTED);
    fs::write(&file, text.repeat(5000)).unwrap();
    let _ = fs::read(Path::new(&dir).join("not-there")).unwrap_err();
    machine.ok(&["mv", &vault, &format!("/{PLANTED}/{PLANTED}"), "/moved"]);
    machine.ok(&["unmount", "--now", &dir]);
    let leaks = |root: &str| {
        let holds = |path: &PathBuf| {
            let bytes = fs::read(path).unwrap_or_default();
            let found = |word: &str| {
                bytes
                    .windows(word.len())
                    .any(|part| part == word.as_bytes())
            };
            found(PLANTED) || found(text) || path.to_string_lossy().contains(PLANTED)
        };
        let found: Vec<_> = files(Path::new(root)).into_iter().filter(holds).collect();
        found
    };
    let log = files(Path::new(&machine.path("state")));
    assert!(
        log.iter()
            .any(|path| path.ends_with("daemon.log") && path.metadata().unwrap().len() > 0),
        "there is a log to look into"
    );
    assert_eq!(leaks(&machine.path("")), Vec::<PathBuf>::new());
    // It would have found them.
    fs::write(machine.path("control"), format!("x{text}x")).unwrap();
    assert_eq!(leaks(&machine.path("")).len(), 1);
}

#[test]
fn a_store_put_back_to_yesterday_is_exit_code_4_until_it_is_honest_again() {
    let machine = Machine::new();
    let (vault, _) = filled(&machine);
    let yesterday = snapshot(Path::new(&vault));
    fs::write(machine.path("later"), "of today").unwrap();
    machine.ok(&["put", &vault, &machine.path("later"), "/later"]);
    let today = snapshot(Path::new(&vault));
    restore(Path::new(&vault), &yesterday);
    let text = machine.fails(4, &["ls", &vault]);
    assert!(text.contains("accepted earlier"), "{text}");
    // Another verb does not make it forget.
    machine.fails(4, &["put", &vault, &machine.path("later"), "/again"]);
    // A machine that never saw today cannot know.
    let other = Machine::new();
    assert!(!other.ok(&["ls", &vault]).contains("later"));
    restore(Path::new(&vault), &today);
    assert_eq!(machine.ok(&["cat", &vault, "/later"]), "of today");
    assert_eq!(other.ok(&["cat", &vault, "/later"]), "of today");
    // The newest commit hidden, all else there.
    let hidden: Vec<_> = today
        .keys()
        .filter(|path| !yesterday.contains_key(*path))
        .collect();
    let commit = hidden
        .iter()
        .find(|path| path.to_string_lossy().contains("/commits/"));
    fs::remove_file(commit.unwrap()).unwrap();
    machine.fails(4, &["ls", &vault]);
    restore(Path::new(&vault), &today);
    machine.ok(&["ls", &vault]);
}
