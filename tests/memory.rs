//! What the memory of a mount holds while it is used: neither the passphrase nor, outside its own page, the root key;
//! and a core dump, where one is allowed at all, holds neither.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::Version;
use chacha20poly1305::KeyInit;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::aead::Payload;
use coffre_tests::command::Machine;
use coffre_tests::command::binary;
use coffre_tests::daemon::Background;
use coffre_tests::daemon::Foreground;
use coffre_tests::mounted::can_mount;
use coffre_tests::programs::has;
use coffre_tests::world::PASSPHRASE;
use rustix::process::Pid;
use rustix::process::Signal;

/// Something that is in the memory of every mount here: what finds it would find keys.
const CANARY: &str = "a-name-that-the-kernel-has-asked-for-6617";

/// What must not be found.
struct Planted {
    passphrase: Vec<u8>,
    root: Vec<u8>,
    structure: Vec<u8>,
}

/// The keys in a vault's one slot, opened as docs/FORMAT.md says and by none of the product's code.
fn planted(vault: &str) -> Planted {
    let folder = Path::new(vault).join("keys");
    let slot = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let slot = fs::read(slot.path()).unwrap();
    let number = |at: usize| u32::from_le_bytes(slot[at..at + 4].try_into().unwrap());
    let params = Params::new(number(12), number(16), number(20), Some(64)).unwrap();
    let mut stretched = [0; 64];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(PASSPHRASE.as_bytes(), &slot[64..96], &mut stretched)
        .unwrap();
    let mut okm = [0; 64];
    blake3::Hasher::new_derive_key("coffre v1 slot")
        .update(&stretched)
        .update(&[0; 32])
        .update(&slot[..96])
        .finalize_xof()
        .fill(&mut okm);
    assert_eq!(okm[..32], slot[96..128], "the commitment");
    let aad = [b"coffre1 slot\0\0\0\0", &slot[..96]].concat();
    let sealed = Payload {
        msg: &slot[152..296],
        aad: &aad,
    };
    let cipher = XChaCha20Poly1305::new_from_slice(&okm[32..]).unwrap();
    let nonce: [u8; 24] = slot[128..152].try_into().unwrap();
    let payload = cipher.decrypt(&nonce.into(), sealed).unwrap();
    Planted {
        passphrase: PASSPHRASE.as_bytes().to_vec(),
        root: payload[4..36].to_vec(),
        structure: payload[36..68].to_vec(),
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    // One in 2^32 places is looked at twice.
    let (first, rest) = wanted.split_first_chunk::<4>().unwrap();
    let mut from = bytes;
    while let Some(at) = position(from, first) {
        let after = &from[at + 4..];
        if after.starts_with(rest) {
            return true;
        }
        from = &from[at + 1..];
    }
    false
}

fn position(bytes: &[u8], wanted: &[u8; 4]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == wanted[0]) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// A piece of a process's memory.
struct Region {
    what: String,
    /// The kernel's flags: `dd` is left out of dumps, `lo` is locked.
    flags: Vec<String>,
    bytes: Vec<u8>,
}

/// All that can be read of a process's memory.
fn memory(pid: Pid) -> Vec<Region> {
    let pid = pid.as_raw_nonzero();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut regions: Vec<Region> = Vec::new();
    for line in maps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let flags = flags.split_whitespace().map(str::to_owned);
            regions.last_mut().unwrap().flags = flags.collect();
            continue;
        }
        let range = line.split(' ').next().and_then(|word| word.split_once('-'));
        let hex = |word| u64::from_str_radix(word, 16);
        let Some((Ok(from), Ok(to))) = range.map(|(from, to)| (hex(from), hex(to))) else {
            continue;
        };
        let mut bytes = vec![0; (to - from) as usize];
        let readable = line.split(' ').nth(1).unwrap().starts_with('r');
        if !readable || memory.read_exact_at(&mut bytes, from).is_err() {
            bytes.clear();
        }
        regions.push(Region {
            what: line.to_owned(),
            flags: Vec::new(),
            bytes,
        });
    }
    regions
}

/// Where one of the halves of a key is: registers are saved in halves.
fn found<'a>(regions: &'a [Region], key: &[u8]) -> Vec<&'a Region> {
    let halves: Vec<&[u8]> = key.chunks(16).collect();
    let held = regions
        .iter()
        .filter(|region| halves.iter().any(|half| holds(&region.bytes, half)));
    held.collect()
}

#[track_caller]
fn verify_memory(pid: Pid, planted: &Planted) {
    let regions = memory(pid);
    let canary = regions
        .iter()
        .any(|region| holds(&region.bytes, CANARY.as_bytes()));
    assert!(canary, "the search finds nothing at all");
    let whole = |key: &[u8]| {
        regions
            .iter()
            .filter(|region| holds(&region.bytes, key))
            .count()
    };
    assert_eq!(whole(&planted.passphrase), 0, "the passphrase is there");
    for (name, key) in [("root", &planted.root), ("structure", &planted.structure)] {
        assert_eq!(whole(key), 1, "the {name} key has one place");
        for region in found(&regions, key) {
            for flag in ["dd", "lo"] {
                assert!(
                    region.flags.contains(&flag.to_owned()),
                    "the {name} key is in {} {:?}",
                    region.what,
                    region.flags
                );
            }
        }
    }
}

#[track_caller]
fn verify_core(core: &Path, planted: &Planted) {
    let bytes = fs::read(core).unwrap();
    assert!(holds(&bytes, CANARY.as_bytes()), "it is not a dump of that");
    for (name, secret) in [
        ("passphrase", &planted.passphrase),
        ("root key", &planted.root),
        ("structure key", &planted.structure),
    ] {
        let halves = match name {
            "passphrase" => secret.chunks(secret.len()),
            _ => secret.chunks(16),
        };
        for half in halves {
            assert!(!holds(&bytes, half), "the {name} is in the core");
        }
    }
}

/// Makes the mount do everything that it does with keys.
fn use_it(machine: &Machine, dir: &str) {
    let folder = Path::new(dir);
    fs::write(folder.join(CANARY), vec![9; 700_000]).unwrap();
    fs::write(folder.join("small"), "content").unwrap();
    machine.ok(&["sync", dir]);
    assert_eq!(fs::read(folder.join("small")).unwrap(), b"content");
    // Asks the kernel for its name once more, and us.
    assert!(fs::metadata(folder.join(format!("{CANARY}-absent"))).is_err());
}

fn can_look() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root reads the memory of other processes");
    }
    root && can_mount()
}

#[test]
fn a_mount_in_the_background_keeps_only_the_keys_and_those_in_their_place() {
    if !can_look() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let planted = planted(&vault);
    let mount = Background::mount(&machine, &vault, &[]);
    use_it(&machine, &mount.dir);
    verify_memory(mount.pid().unwrap(), &planted);
    machine.ok(&["unmount", &mount.dir]);
}

#[test]
fn a_mount_in_the_foreground_forgets_where_the_passphrase_came_from() {
    if !can_look() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let planted = planted(&vault);
    let dir = machine.folder("mount");
    let mut command = machine.command(&["mount", "--foreground", &vault, &dir]);
    command
        .env_remove("COFFRE_PASSPHRASE_FILE")
        .env("COFFRE_PASSPHRASE", PASSPHRASE);
    let mount = Foreground::start(command, dir);
    use_it(&machine, &mount.dir);
    verify_memory(mount.pid(), &planted);
    mount.signal(Signal::TERM);
    let (status, said) = mount.ended();
    assert!(status.success(), "{said}");
}

#[test]
fn a_core_taken_from_outside_holds_no_secret() {
    if !can_look() || !has("gcore") {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let planted = planted(&vault);
    let mount = Background::mount(&machine, &vault, &[]);
    use_it(&machine, &mount.dir);
    let pid = mount.pid().unwrap().as_raw_nonzero().to_string();
    let taken = Command::new("gcore")
        .args(["-o", &machine.path("core"), &pid])
        .output()
        .unwrap();
    let core = PathBuf::from(machine.path(&format!("core.{pid}")));
    assert!(core.exists(), "gcore: {taken:?}");
    verify_core(&core, &planted);
    machine.ok(&["unmount", &mount.dir]);
}

/// Mounts with the highest limit there is for cores, in a folder of its own, and aborts it.
fn aborted(machine: &Machine, vault: &str, variables: &[(&str, &str)]) -> (bool, Option<PathBuf>) {
    let dir = machine.folder("mount");
    let folder = machine.folder("cores");
    let coffre = machine.command(&["mount", "--foreground", vault, &dir]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .arg(binary())
        .args(coffre.get_args())
        .envs(
            coffre
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .envs(variables.iter().copied())
        .current_dir(&folder);
    let mut mount = Foreground::start(command, dir);
    use_it(machine, &mount.dir);
    mount.signal(Signal::ABORT);
    let status = mount.wait();
    let core = fs::read_dir(&folder).unwrap().next();
    (status.core_dumped(), core.map(|core| core.unwrap().path()))
}

#[test]
fn the_kernel_dumps_nothing_unless_a_debug_build_is_told_to() {
    if !can_look() {
        return;
    }
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with('|') || pattern.contains('/') {
        eprintln!("skipped: this system's cores go elsewhere: {pattern}");
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let planted = planted(&vault);
    let (dumped, core) = aborted(&machine, &vault, &[]);
    assert!(!dumped && core.is_none(), "{core:?}");
    if binary().parent().unwrap().ends_with("release") {
        eprintln!("skipped: a release build cannot be told to dump");
        return;
    }
    let allowed = [("COFFRE_ALLOW_DUMPS", "1")];
    let (dumped, core) = aborted(&machine, &vault, &allowed);
    assert!(dumped, "the search finds nothing at all");
    verify_core(&core.unwrap(), &planted);
}
