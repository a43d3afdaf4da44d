//! The command line as people and scripts meet it: sentences that say what to do, exit codes, JSON, round trips.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use coffre_tests::command::Machine;
use coffre_tests::command::binary;
use coffre_tests::compare;
use coffre_tests::daemon::Background;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::programs::run;
use coffre_tests::s3::S3;

/// Every sentence names the thing it is about and what to do next.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(
        !text.contains("panicked") && !text.contains("backtrace") && !text.contains("horse"),
        "{text}"
    );
}

#[test]
fn a_wrong_passphrase_is_exit_code_3() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    fs::write(machine.path("wrong"), "not the passphrase at all\n").unwrap();
    let text = machine.fails(
        3,
        &["--passphrase-file", &machine.path("wrong"), "ls", &vault],
    );
    says(&text, &["passphrase"]);
    fs::write(machine.path("empty"), "").unwrap();
    machine.fails(
        3,
        &["--passphrase-file", &machine.path("empty"), "ls", &vault],
    );
    let text = machine.fails(
        5,
        &["--passphrase-file", &machine.path("nowhere"), "ls", &vault],
    );
    says(&text, &["nowhere"]);
    machine.ok(&["ls", &vault]);
}

#[test]
fn a_place_without_a_vault_is_exit_code_5() {
    let machine = Machine::new();
    let folder = machine.folder("empty");
    for place in [&folder, &machine.path("nowhere")] {
        let text = machine.fails(5, &["ls", place]);
        says(&text, &[place, "coffre init"]);
    }
    let s3 = S3::start();
    let config = Path::new(&machine.path("config")).join("coffre");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), s3.profile("work", "empty")).unwrap();
    says(&machine.fails(5, &["ls", "work"]), &["coffre init"]);
    assert!(
        !Path::new(&machine.path("nowhere")).exists(),
        "looking made a folder"
    );
}

#[test]
fn a_vault_is_not_made_where_something_is() {
    let machine = Machine::new();
    let folder = machine.folder("photos");
    fs::write(Path::new(&folder).join("cat.jpg"), "meow").unwrap();
    let text = machine.fails(1, &["init", &folder]);
    says(&text, &[&folder, "cat.jpg", "empty"]);
    let vault = machine.init("vault");
    let text = machine.fails(1, &["init", &vault]);
    says(&text, &[&vault]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn weak_passphrases_are_refused_unless_wanted() {
    let machine = Machine::new();
    fs::write(machine.path("passphrase"), "secret\n").unwrap();
    let vault = machine.path("vault");
    says(&machine.fails(2, &["init", &vault]), &["--weak"]);
    machine.ok(&["init", "--weak", "--kdf-memory", "64M", &vault]);
}

#[test]
fn usage_is_exit_code_2() {
    let machine = Machine::new();
    for arguments in [
        &["frobnicate"][..],
        &["ls"],
        &["mount", "vault"],
        &["ls", "nonsense://bucket/x"],
        &["ls", "s3://bucket/x?secret_access_key=abc"],
        &["mount", "--memory", "lots", "vault", "dir"],
        &["mount", "--memory", "16M", "vault", "dir"],
    ] {
        machine.fails(2, arguments);
    }
    let text = machine.fails(2, &["ls", "s3://bucket/x?secret_access_key=hunter2"]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_mount_point_must_be_an_empty_folder() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let missing = machine.path("missing");
    says(
        &machine.fails(5, &["mount", &vault, &missing]),
        &[&missing, "mkdir -p"],
    );
    let full = machine.folder("full");
    fs::write(Path::new(&full).join("file"), "").unwrap();
    says(
        &machine.fails(1, &["mount", &vault, &full]),
        &[&full, "not empty", "choose an empty folder"],
    );
    let file = machine.path("full/file");
    says(
        &machine.fails(1, &["mount", &vault, &file]),
        &["not a folder"],
    );
    let around = machine.path("");
    says(&machine.fails(2, &["mount", &vault, &around]), &["hide"]);
}

#[test]
fn without_dev_fuse_it_says_what_to_do() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let dir = machine.folder("mount");
    let namespace = "mount -t tmpfs none /mnt && cp -a /dev/null /dev/zero /dev/urandom /mnt/ && \
                     mount --move /mnt /dev && exec \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", namespace, "sh"]);
    let coffre = machine.command(&["mount", &vault, &dir]);
    command.arg(coffre.get_program()).args(coffre.get_args());
    for (key, value) in coffre.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare:") || text.contains("permission denied") {
        eprintln!("skipped: no mount namespaces here: {text}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    says(&text, &["/dev/fuse is missing", "modprobe fuse"]);
}

#[test]
fn a_second_mount_of_the_same_state_is_busy() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let (one, two) = (machine.folder("one"), machine.folder("two"));
    machine.ok(&["mount", &vault, &one]);
    let text = machine.fails(9, &["mount", &vault, &two]);
    says(&text, &["mounted already", &one]);
    let text = machine.fails(9, &["mount", &vault, &one]);
    says(&text, &[&one]);
    machine.ok(&["unmount", &one]);
    let text = machine.fails(5, &["unmount", &one]);
    says(&text, &[&one]);
    machine.ok(&["mount", &vault, &two]);
    machine.ok(&["unmount", &two]);
}

#[test]
fn verbs_work_while_it_is_mounted_and_see_each_other() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let background = Background::mount(&machine, &vault, &[]);
    let dir = &background.dir;
    let mounted = Path::new(dir);
    fs::write(mounted.join("from the kernel"), "kernel").unwrap();
    assert_eq!(machine.ok(&["ls", &vault]).trim(), "from the kernel");
    machine.ok(&["mkdir", &vault, "/folder"]);
    machine.ok(&["mv", &vault, "/from the kernel", "/folder/moved"]);
    assert_eq!(fs::read(mounted.join("folder/moved")).unwrap(), b"kernel");
    let stat = &machine.json(&["stat", &vault, "/folder/moved"])[0];
    assert_eq!((&stat["size"], &stat["kind"]), (&6.into(), &"file".into()));
    // Content goes through the mount, or is said plainly where to go.
    let cat = machine.run(&["cat", &vault, "/folder/moved"]);
    match cat.status.code() {
        Some(0) => assert_eq!(cat.stdout, b"kernel"),
        code => {
            assert_eq!(code, Some(9));
            says(&String::from_utf8_lossy(&cat.stderr), &[dir]);
        }
    }
    let socket = machine.json(&["status", dir]);
    assert_eq!(socket[0]["mounted"], *dir);
    machine.ok(&["sync", dir]);
    let status = &machine.json(&["status", dir])[0];
    assert_eq!(status["unpublished_operations"], 0);
    assert_eq!(status["devices"][0]["this"], true);
    assert_eq!(
        status["devices"][0]["name"],
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .as_ref()
    );
    machine.ok(&["rm", "-r", &vault, "/folder"]);
    assert!(!mounted.join("folder").exists());
    let states: Vec<_> = fs::read_dir(machine.path("state")).unwrap().collect();
    let socket = states[0].as_ref().unwrap().path().join("control.sock");
    let mode = fs::metadata(socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.ok(&["unmount", dir]);
}

#[test]
fn unmount_now_leaves_the_rest_for_the_next_mount() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let background = Background::mount(&machine, &vault, &[]);
    let dir = &background.dir;
    fs::write(background.path("late"), vec![7; 300_000]).unwrap();
    let left = &machine.json(&["unmount", "--now", dir])[0]["left_bytes"];
    assert!(left.as_u64().unwrap() > 0, "{left}");
    // Another machine does not see it yet; this one uploads it the next time.
    let other = Machine::new();
    assert_eq!(other.ok(&["ls", &vault]), "");
    machine.ok(&["mount", &vault, dir]);
    assert_eq!(fs::read(background.path("late")).unwrap().len(), 300_000);
    machine.ok(&["unmount", dir]);
    assert_eq!(other.ok(&["cat", &vault, "/late"]).len(), 300_000);
}

#[test]
fn an_ordinary_user_mounts_with_fusermount3() {
    if !can_mount() || !has("fusermount3") || !has("setpriv") {
        return;
    }
    let open_to_all = fs::metadata("/dev/fuse").unwrap().permissions().mode() & 0o006 == 0o006;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: every test here runs as an ordinary user already");
        return;
    }
    if !open_to_all {
        // As distributions ship it.
        fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
    }
    let home = tempfile::tempdir_in("/tmp").unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    fs::copy(binary(), path("coffre")).unwrap();
    fs::set_permissions(path("coffre"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path("passphrase"), "correct horse battery staple\n").unwrap();
    fs::create_dir(path("mount")).unwrap();
    run(home.path(), "chown", &["-R", "65534:65534", "."]);
    let as_nobody = |arguments: &[&str]| {
        let mut all = vec!["--reuid=65534", "--regid=65534", "--clear-groups", "env"];
        let home = format!("HOME={}", home.path().display());
        let file = format!("COFFRE_PASSPHRASE_FILE={}", path("passphrase"));
        all.extend([home.as_str(), file.as_str()]);
        all.extend_from_slice(arguments);
        run(Path::new("/"), "setpriv", &all)
    };
    let (coffre, vault, mount) = (path("coffre"), path("vault"), path("mount"));
    as_nobody(&[
        &coffre,
        "init",
        "--no-recovery",
        "--kdf-memory",
        "64M",
        &vault,
    ]);
    as_nobody(&[&coffre, "mount", &vault, &mount]);
    as_nobody(&[
        "sh",
        "-c",
        &format!("echo mine > {mount}/file && mkdir {mount}/folder"),
    ]);
    assert_eq!(as_nobody(&["cat", &format!("{mount}/file")]), "mine\n");
    assert!(
        fs::read_dir(&mount).is_err(),
        "another user, root included, looks into it"
    );
    as_nobody(&[&coffre, "unmount", &mount]);
    assert_eq!(fs::read_dir(&mount).unwrap().count(), 0);
    as_nobody(&[&coffre, "mount", &vault, &mount]);
    as_nobody(&["fusermount3", "-u", &mount]);
    assert_eq!(as_nobody(&[&coffre, "cat", &vault, "/file"]), "mine\n");
}

/// One of everything that put and get promise to keep.
fn sampler(root: &Path) {
    fs::create_dir_all(root.join("folder/deep/er")).unwrap();
    fs::write(root.join("folder/text"), "hello").unwrap();
    let mut blob = vec![0; 700_000];
    getrandom::fill(&mut blob).unwrap();
    fs::write(root.join("folder/deep/er/blob"), blob).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("b\u{e9}b\u{e9}"), "named").unwrap();
    fs::set_permissions(root.join("folder/text"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("folder/text"), root.join("folder/same")).unwrap();
    std::os::unix::fs::symlink("folder/nowhere", root.join("link")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 20 << 20).unwrap();
    sparse.set_len(40 << 20).unwrap();
    if has("setfattr") {
        run(
            root,
            "setfattr",
            &["-n", "user.colour", "-v", "blue", "empty"],
        );
    }
    for (name, time) in [
        ("folder/text", "@1234567890.123456789"),
        ("folder", "@1000000000.000000001"),
    ] {
        run(root, "touch", &["-d", time, name]);
    }
}

#[test]
fn put_and_get_keep_everything() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let source = Path::new(&machine.folder("source")).join("tree");
    sampler(&source);
    machine.ok(&["put", &vault, source.to_str().unwrap(), "/"]);
    let back = machine.folder("back");
    machine.ok(&["get", &vault, "/tree", &back]);
    let expected = compare::tree(&source);
    assert_eq!(expected.len(), 10);
    compare::assert_same(&expected, &compare::tree(&Path::new(&back).join("tree")));
    // Replacing is whole, and a second get does not disturb the first.
    fs::write(source.join("folder/text"), "changed").unwrap();
    machine.ok(&[
        "put",
        &vault,
        source.join("folder/text").to_str().unwrap(),
        "/tree/folder/text",
    ]);
    assert_eq!(machine.ok(&["cat", &vault, "/tree/folder/text"]), "changed");
    let entries = machine.json(&["ls", "-R", &vault]);
    let paths: Vec<_> = entries
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&"/tree/folder/deep/er/blob"), "{paths:?}");
    let usage = &machine.json(&["du", &vault, "/tree"])[0];
    assert!(usage["apparent_bytes"].as_u64().unwrap() > 40 << 20);
    assert!(usage["bytes"].as_u64().unwrap() < 2 << 20);
    machine.ok(&["check", "--data", &vault]);
    // What was removed stays in the store until it is swept, and is told.
    machine.ok(&["rm", "-r", &vault, "/tree"]);
    for counted in [
        machine.json(&["du", &vault]).pop().unwrap(),
        machine.json(&["status", &vault]).pop().unwrap(),
    ] {
        let unused = counted["unused_bytes"].as_u64().unwrap();
        assert!(unused > 700_000, "{counted}");
        assert!(
            counted["stored_bytes"].as_u64().unwrap() > unused,
            "{counted}"
        );
    }
}

#[test]
fn standard_input_and_output_are_files_too() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let text = "a dump\n".repeat(50_000);
    let mut child = machine
        .command(&["put", "-p", &vault, "-", "/dumps/shop.sql"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(machine.ok(&["cat", &vault, "/dumps/shop.sql"]), text);
    assert_eq!(machine.ok(&["get", &vault, "/dumps/shop.sql", "-"]), text);
}

#[test]
fn what_is_not_there_is_exit_code_5() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    for arguments in [
        &["cat", &vault, "/no"][..],
        &["ls", &vault, "/no"],
        &["stat", &vault, "/no"],
        &["get", &vault, "/no"],
        &["rm", &vault, "/no"],
        &["mv", &vault, "/no", "/yes"],
        &["put", &vault, "/no/such/file", "/"],
    ] {
        says(&machine.fails(5, arguments), &["/no"]);
    }
    machine.ok(&["rm", "-f", &vault, "/no"]);
    machine.ok(&["mkdir", &vault, "/yes"]);
    says(&machine.fails(1, &["mkdir", &vault, "/yes"]), &["/yes"]);
    says(&machine.fails(1, &["cat", &vault, "/yes"]), &["/yes"]);
}

#[test]
fn errors_are_objects_with_json() {
    let machine = Machine::new();
    let output = machine.run(&["--json", "ls", &machine.path("nowhere")]);
    assert_eq!(output.status.code(), Some(5));
    let text = [output.stdout, output.stderr].concat();
    let error: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(error["code"], 5);
    assert!(
        error["error"].as_str().unwrap().contains("nowhere"),
        "{error}"
    );
}

#[test]
fn keys_are_added_listed_and_removed() {
    let machine = Machine::new();
    let vault = machine.path("vault");
    let made = &machine.json(&["init", "--kdf-memory", "64M", &vault])[0];
    let recovery = made["recovery_code"].as_str().unwrap();
    assert_eq!(machine.json(&["key", "list", &vault]).len(), 2);
    fs::write(machine.path("recovery"), recovery).unwrap();
    let by_recovery = ["--passphrase-file", &machine.path("recovery")];
    machine.ok(&[&by_recovery[..], &["ls", &vault]].concat());
    let status = &machine.json(&["status", &vault])[0];
    assert_eq!(status["mounted"], serde_json::Value::Null);

    let opens_with = |name: &str| {
        let given = machine.path(name);
        let listed = machine.run(&["--passphrase-file", &given, "ls", &vault]);
        listed.status.code().unwrap()
    };
    let second = machine.path("second");
    fs::write(&second, "a second one for the office\n").unwrap();
    let added = &machine.json(&["key", "add", "--new-passphrase-file", &second, &vault])[0];
    let added = added["slot"].as_str().unwrap();
    assert_eq!(opens_with("second"), 0);
    let slots = machine.json(&["key", "list", &vault]);
    assert_eq!(slots.len(), 3);
    // A guess at it costs what one at the others does.
    let costs: Vec<_> = slots.iter().map(|slot| &slot["kdf_memory"]).collect();
    assert!(costs.iter().all(|cost| **cost == 64 << 20), "{costs:?}");
    machine.fails(5, &["key", "remove", &vault, "not a slot"]);
    machine.ok(&["key", "remove", &vault, &added[..12]]);
    assert_eq!((opens_with("second"), opens_with("passphrase")), (3, 0));

    let file = machine.path("file.key");
    machine.ok(&["key", "add", "--new-key-file", &file, &vault]);
    let mut by_file = machine.command(&["--key-file", &file, "ls", &vault]);
    let by_file = by_file.env_remove("COFFRE_PASSPHRASE_FILE").status();
    assert!(by_file.unwrap().success());

    machine.ok(&[
        "key",
        "passphrase",
        "--new-passphrase-file",
        &second,
        &vault,
    ]);
    assert_eq!((opens_with("second"), opens_with("passphrase")), (0, 3));
    let by_second = ["--passphrase-file", &second];
    let made = &machine.json(&[&by_second[..], &["key", "recovery", &vault]].concat())[0];
    assert_eq!(opens_with("recovery"), 3);
    let code = made["recovery_code"].as_str().unwrap();
    fs::write(machine.path("recovery"), code).unwrap();
    assert_eq!(opens_with("recovery"), 0);

    let slots = machine.json(&[&by_second[..], &["key", "list", &vault]].concat());
    let others = slots.iter().filter(|slot| slot["current"] == false);
    for slot in others {
        let id = slot["id"].as_str().unwrap();
        machine.ok(&[&by_second[..], &["key", "remove", &vault, id]].concat());
    }
    let last = slots.iter().find(|slot| slot["current"] == true).unwrap();
    let last = last["id"].as_str().unwrap();
    let text = machine.fails(
        1,
        &[&by_second[..], &["key", "remove", &vault, last]].concat(),
    );
    says(&text, &["only key slot"]);
    assert_eq!(opens_with("second"), 0);
}

#[test]
fn a_copy_tells_what_waits_for_its_upload() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let background = Background::mount(&machine, &vault, &[]);
    let dir = &background.dir;
    let said = |copy: &str| {
        let copied = machine.run(&["copy", &vault, &machine.path(copy)]);
        assert!(copied.status.success(), "{copied:?}");
        String::from_utf8(copied.stderr).unwrap()
    };
    fs::write(background.path("late"), vec![7; 300_000]).unwrap();
    let file = fs::File::open(background.path("late")).unwrap();
    file.sync_all().unwrap();
    drop(file);
    says(&said("first"), &["wait", "coffre sync"]);
    machine.ok(&["sync", dir]);
    let text = said("second");
    assert!(!text.contains("wait"), "{text}");
    machine.ok(&["unmount", dir]);
    says(&said("third"), &["coffre status", &vault]);
    // A machine that has never opened it has nothing that could wait.
    let other = Machine::new();
    let copied = other.run(&["copy", &vault, &other.path("fourth")]);
    let text = String::from_utf8(copied.stderr).unwrap();
    assert!(!text.contains("note"), "{text}");
    assert_eq!(
        other.ok(&["cat", &other.path("fourth"), "/late"]).len(),
        300_000
    );
}

#[test]
fn fsync_waits_for_the_store_where_it_is_told_to() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let background = Background::mount(&machine, &vault, &["--fsync", "remote"]);
    let dir = &background.dir;
    let mut file = fs::File::create(background.path("file")).unwrap();
    let other = Machine::new();
    for (written, shown) in [("one", "one"), (", two", "one, two")] {
        file.write_all(written.as_bytes()).unwrap();
        file.sync_all().unwrap();
        assert_eq!(other.ok(&["cat", &vault, "/file"]), shown);
    }
    drop(file);
    machine.ok(&["unmount", dir]);
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let machine = Machine::new();
    let verbs = [
        "init",
        "mount",
        "unmount",
        "status",
        "sync",
        "ls",
        "cat",
        "put",
        "get",
        "rm",
        "mkdir",
        "mv",
        "stat",
        "du",
        "check",
        "key",
        "checkpoint",
        "doctor",
        "copy",
        "demo",
        "completions",
        "man",
    ];
    for shell in ["bash", "zsh", "fish"] {
        let text = machine.ok(&["completions", shell]);
        for verb in verbs {
            assert!(text.contains(verb), "{verb} is missing for {shell}");
        }
    }
    let pages = machine.folder("man");
    machine.ok(&["man", "--dir", &pages]);
    for verb in verbs {
        let page = Path::new(&pages).join(format!("coffre-{verb}.1"));
        assert!(page.exists(), "no page for {verb}");
    }
    for verb in verbs {
        let text = machine.ok(&[verb, "--help"]);
        assert!(text.contains("Example"), "no example in {verb} --help");
    }
}

#[test]
fn a_profile_names_a_vault_its_store_and_its_credentials() {
    let machine = Machine::new();
    let s3 = S3::start();
    let config = Path::new(&machine.path("config")).join("coffre");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), s3.profile("work", "prefix")).unwrap();
    machine.ok(&["init", "--no-recovery", "--kdf-memory", "64M", "work"]);
    fs::write(machine.path("note"), "in S3").unwrap();
    machine.ok(&["put", "work", &machine.path("note"), "/note"]);
    assert_eq!(machine.ok(&["cat", "work", "/note"]), "in S3");
    let copy = machine.path("copy");
    machine.ok(&["copy", "work", &copy]);
    assert_eq!(machine.ok(&["cat", &copy, "/note"]), "in S3");
    fs::write(
        config.join("config.toml"),
        "[profile.work]\nurl = \"x\"\nsecret = \"hunter2\"\n",
    )
    .unwrap();
    let text = machine.fails(2, &["ls", "work"]);
    says(&text, &["config.toml", "line 3"]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn the_demo_shows_both_views() {
    let machine = Machine::new();
    let home = machine.folder("home");
    let demo = || {
        let mut command = machine.command(&["demo"]);
        command.env("HOME", &home).env_remove("XDG_DATA_HOME");
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let text = demo();
    for part in ["letters/landlord.txt", "packs/", "storage provider sees"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    demo();
}
