//! Vaults that older programs made are read for ever, by this program and by a reader that shares nothing with it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use coffre::fs::Attributes;
use coffre::fs::FileKind;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Volume;
use coffre::store::Store;
use coffre::store::StoreUri;
use coffre::vault::Access;
use coffre::vault::StateDir;
use coffre::vault::Vault;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::Secret;
use coffre_tests::World;
use serde_json::Value;
use serde_json::json;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Folders of kept vaults: the folder is the list.
fn vaults() -> Vec<PathBuf> {
    std::fs::read_dir(tests().join("vaults"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn expected(vault: &Path) -> BTreeMap<String, Value> {
    by_path(&std::fs::read_to_string(vault.join("EXPECTED.jsonl")).unwrap())
}

fn by_path(lines: &str) -> BTreeMap<String, Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|entry| (entry["path"].as_str().unwrap().to_owned(), entry))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

async fn describe(files: &Volume, path: &str, found: &Attributes) -> Value {
    let kind = match found.kind {
        FileKind::Regular => "regular",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        other => panic!("no {other:?} is expected"),
    };
    let mut entry = json!({ "path": path, "kind": kind, "mode": found.mode });
    if found.kind == FileKind::Regular {
        let handle = files.open_file(found.inode, OpenMode::Read).await.unwrap();
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < found.size {
            let bytes = files.read(handle, at, 1 << 20).await.unwrap();
            hasher.update(&bytes);
            at += bytes.len() as u64;
        }
        files.release(handle).await.unwrap();
        entry["size"] = found.size.into();
        entry["blake3"] = hasher.finalize().to_hex().as_str().into();
    }
    if found.kind == FileKind::Symlink {
        entry["target"] = String::from_utf8(files.read_link(found.inode).await.unwrap())
            .unwrap()
            .into();
    }
    for name in files.list_xattrs(found.inode).await.unwrap() {
        let value = files.xattr(found.inode, &name).await.unwrap();
        let name = String::from_utf8(name).unwrap();
        entry["xattrs"][name] = blake3::hash(&value).to_hex().as_str().into();
    }
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn this_program_reads_every_kept_vault() {
    for kept in vaults() {
        let world = World::local();
        copy(&kept.join("store"), &world.folder());
        let passphrase = std::fs::read(kept.join("PASSPHRASE")).unwrap();
        let secret = Secret::Passphrase(Passphrase::new(&passphrase).unwrap());
        let uri = StoreUri::local(&world.folder());
        let state = StateDir::open(&world.state_root("a"), &uri, Access::ReadOnly).unwrap();
        let vault = Vault::unlock(Store::open(&uri).unwrap(), state, &secret, Access::ReadOnly)
            .await
            .unwrap();
        let files = Volume::open(vault, world.options("a", Access::ReadOnly))
            .await
            .unwrap();
        let mut found = BTreeMap::new();
        let mut folders = vec![(Inode::ROOT, String::new())];
        while let Some((inode, prefix)) = folders.pop() {
            let handle = files.open_directory(inode).await.unwrap();
            let listed = files.read_directory(handle, 0, 10_000, true).await.unwrap();
            for entry in listed
                .into_iter()
                .filter(|entry| entry.name != b"." && entry.name != b"..")
            {
                let path = format!("{prefix}{}", String::from_utf8(entry.name).unwrap());
                if entry.kind == FileKind::Directory {
                    folders.push((entry.inode, format!("{path}/")));
                }
                let attributes = entry.attributes.unwrap();
                found.insert(path.clone(), describe(&files, &path, &attributes).await);
            }
            files.release(handle).await.unwrap();
        }
        assert_eq!(found, expected(&kept), "{}", kept.display());
    }
}

#[test]
fn a_reader_written_from_the_document_alone_reads_every_kept_vault() {
    let python = std::env::var_os("COFFRE_PYTHON").unwrap_or_else(|| "python3".into());
    let packages = "import argon2, blake3, cryptography, zstandard";
    if !Command::new(&python)
        .args(["-c", packages])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!(
            "skipped: no Python with argon2-cffi, blake3, cryptography and zstandard (`cargo xtask test` sets one up)"
        );
        return;
    }
    for kept in vaults() {
        let run = |what: &[&str]| {
            let output = Command::new(&python)
                .arg(tests().join("reader/coffre_reader.py"))
                .arg(kept.join("store"))
                .arg("--passphrase-file")
                .arg(kept.join("PASSPHRASE"))
                .args(what)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        let expected = expected(&kept);
        assert_eq!(by_path(&run(&["list"])), expected, "{}", kept.display());
        let folder = tempfile::tempdir().unwrap();
        run(&["extract", folder.path().to_str().unwrap()]);
        for (path, entry) in expected
            .iter()
            .filter(|(_, entry)| entry["kind"] == "regular")
        {
            let content = std::fs::read(folder.path().join(path)).unwrap();
            assert_eq!(
                entry["blake3"],
                blake3::hash(&content).to_hex().as_str(),
                "{path}"
            );
        }
    }
}
