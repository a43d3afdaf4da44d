//! `coffre doctor` gathers what a bug report needs in every situation, says what is wrong, and gives nothing away.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_tests::command::Machine;
use coffre_tests::daemon::Background;
use coffre_tests::mounted::can_mount;
use coffre_tests::s3::Reach;
use coffre_tests::s3::S3;
use coffre_tests::world::PASSPHRASE;
use rustix::process::Signal;
use serde_json::Value;

const NAME: &str = "grandmother-recipe-7261";
const TEXT: &str = "two spoons of saffron, and never tell 9914";

fn doctor(machine: &Machine, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = machine.run(&[&["--json", "doctor"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    secret_free(&text);
    secret_free(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_str(&text).unwrap())
}

#[track_caller]
fn secret_free(text: &str) {
    for secret in [NAME, TEXT, PASSPHRASE, "testsecret", "testkey"] {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
}

/// A profile `work` for a prefix of a server.
fn profile(machine: &Machine, s3: &S3) {
    let folder = Path::new(&machine.folder("config")).join("coffre");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), s3.profile("work", "vault")).unwrap();
}

#[track_caller]
fn probed_well(report: &Value) {
    let findings = report["store"]["probe"].as_array().unwrap();
    let of = |what: &str| {
        let found = findings.iter().find(|finding| finding["what"] == what);
        &found.unwrap_or_else(|| panic!("{what} was not tried: {report}"))["verdict"]
    };
    for what in [
        "write",
        "read back",
        "read a range",
        "tell the length",
        "list after a write",
        "write 16 MiB",
        "read 16 MiB",
        "delete",
        "look for what was deleted",
        "delete what is not there",
        "list after a delete",
    ] {
        assert_eq!(of(what), "good", "{what}: {report}");
    }
    for what in ["read a range past the end", "write over it"] {
        assert!(of(what)["note"].is_string(), "{what}: {report}");
    }
    let ahead = report["store"]["clock_ahead_seconds"].as_i64().unwrap();
    assert!(ahead.abs() < 60, "{report}");
}

#[test]
fn a_sound_vault_in_a_folder_is_exit_code_0_and_stays_as_it_was() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let before = coffre_tests::compare::tree(Path::new(&vault));
    let (code, report) = doctor(&machine, &[&vault]);
    assert_eq!(code, Some(0), "{report}");
    probed_well(&report);
    assert_eq!(report["versions"]["coffre"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["versions"]["format"], 1);
    assert_eq!(report["vault"]["source"], "opened for reading");
    assert_eq!(report["vault"]["devices"].as_array().unwrap().len(), 1);
    assert_eq!(report["state"]["mode"], "0700");
    assert_eq!(report["problems"].as_array().unwrap().len(), 0);
    let after = coffre_tests::compare::tree(Path::new(&vault));
    assert!(before.keys().eq(after.keys()), "the probe left something");
    let text = machine.ok(&["doctor", &vault]);
    for words in ["versions", "read a range", "nothing is wrong", "anchor"] {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
}

#[test]
fn without_a_passphrase_it_tells_the_rest() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let mut command = machine.command(&["--json", "doctor", "--read-only", &vault]);
    let output = command.env_remove("COFFRE_PASSPHRASE_FILE").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = report["vault"]["source"].as_str().unwrap();
    assert!(source.contains("not at hand"), "{source}");
    assert!(report["state"]["vault_id"].is_string());
    assert_eq!(report["store"]["probe_skipped"], "--read-only");
    assert!(report["store"]["probe"].as_array().unwrap().is_empty());
}

#[test]
fn while_it_is_mounted_the_process_behind_the_mount_tells() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let s3 = S3::in_process();
    profile(&machine, &s3);
    machine.ok(&["init", "--no-recovery", "--kdf-memory", "64M", "work"]);
    let mount = Background::mount(&machine, "work", &[]);
    fs::write(mount.path(NAME), TEXT).unwrap();
    let (code, report) = doctor(&machine, &["work"]);
    assert_eq!(code, Some(0), "{report}");
    probed_well(&report);
    assert_eq!(report["vault"]["source"], "the process that has it mounted");
    assert_eq!(report["state"]["mounted_at"], mount.dir);
    let holder = report["state"]["locked_by"][0].as_str().unwrap();
    assert!(holder.contains("coffre"), "{report}");
    assert!(report["state"]["journal_bytes"].as_u64().unwrap() > 0);
    // The store goes away: the rest is told, with what is wrong.
    s3.set_reach(Reach::Away);
    fs::write(mount.path("more"), TEXT).unwrap();
    let (code, report) = doctor(&machine, &["work"]);
    assert_eq!(code, Some(6), "{report}");
    assert_eq!(report["store"]["reached"], false);
    assert!(report["vault"]["unpublished_bytes"].as_u64().unwrap() > 0);
    assert_eq!(report["problems"][0]["code"], 6);
    s3.set_reach(Reach::Reachable);
    // The process dies: what it had mounted is told, and how to clear it.
    let pid = mount.pid().unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    coffre_tests::daemon::until("it has ended", || !coffre_tests::daemon::is_running(pid));
    let (code, report) = doctor(&machine, &["work"]);
    assert_eq!(code, Some(1), "{report}");
    let what = report["problems"][0]["what"].as_str().unwrap();
    assert!(what.contains("fusermount3 -uz"), "{what}");
}

#[test]
fn what_is_wrong_has_the_code_of_what_it_is() {
    let machine = Machine::new();
    let folder = machine.folder("empty");
    let (code, report) = doctor(&machine, &[&folder]);
    assert_eq!(code, Some(5), "{report}");
    probed_well(&report);
    let left = fs::read_dir(&folder).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    // Where a local store writes before it renames.
    assert!(left.iter().all(|name| name == ".coffre-tmp"), "{left:?}");
    let vault = machine.init("vault");
    let state = fs::read_dir(machine.path("state")).unwrap();
    let mut states = state.map(|state| state.unwrap().path());
    let state = states.find(|state| state.join("anchor").exists()).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, report) = doctor(&machine, &["--read-only", &vault]);
    assert_eq!(code, Some(1), "{report}");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(machine.path("passphrase"), "not the passphrase at all\n").unwrap();
    let (code, report) = doctor(&machine, &["--read-only", &vault]);
    assert_eq!(code, Some(3), "{report}");
    fs::write(state.join("anchor"), "not an anchor").unwrap();
    let (code, report) = doctor(&machine, &["--read-only", &vault]);
    assert_eq!(code, Some(7), "{report}");
}

#[test]
fn what_a_killed_probe_leaves_is_told_and_in_nobody_s_way() {
    let machine = Machine::new();
    let place = Path::new(&machine.folder("vault")).join(".coffre-probe");
    fs::create_dir(&place).unwrap();
    let left = place.join("0123456789abcdef-large");
    fs::write(&left, "left behind").unwrap();
    // A new vault can be made there, and is sound.
    let vault = machine.init("vault");
    let check = machine.run(&["check", &vault]);
    assert!(check.status.success(), "{check:?}");
    let said = [check.stdout, check.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("left behind by a probe"), "{said}");
    let (code, report) = doctor(&machine, &[&vault]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["store"]["probes_left_behind"], 1);
    assert!(!left.exists(), "it was not removed");
    let said = machine.ok(&["check", &vault]);
    assert!(!said.contains("probe"), "{said}");
}
