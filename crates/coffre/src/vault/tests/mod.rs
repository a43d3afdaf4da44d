//! The vault layer against stores that lose, hide, replace and alter, and processes that die.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::id::Inode;
use coffre_format::id::Lsn;
use coffre_format::id::SessionPrefix;
use coffre_format::keyslot::KdfParams;
use coffre_format::keyslot::Passphrase;
use coffre_format::keyslot::Secret;
use coffre_format::name::ObjectName;
use coffre_format::record::Child;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::Value;
use coffre_format::record::tag;
use tempfile::TempDir;

use crate::error::Result;
use crate::store::Outbox;
use crate::store::Reader;
use crate::store::Store;
use crate::store::StoreUri;
use crate::tree;
use crate::tree::Changes;
use crate::tree::Nodes;
use crate::vault::Access;
use crate::vault::Draft;
use crate::vault::FrozenPack;
use crate::vault::PackSink;
use crate::vault::Setup;
use crate::vault::StateDir;
use crate::vault::Vault;

mod bases;
mod checking;
mod devices;
mod hostile;
mod opening;
mod packing;
mod publishing;

/// A store in a folder, and the state folders of several machines.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(world.folder()).unwrap();
        world
    }

    /// Where the objects are.
    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    fn uri(&self) -> StoreUri {
        StoreUri::local(&self.folder())
    }

    fn store(&self) -> Store {
        Store::open(&self.uri()).unwrap()
    }

    /// The state root of a machine.
    fn machine(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn state(&self, machine: &str, access: Access) -> StateDir {
        let root = self.machine(machine);
        StateDir::open_waiting(&root, &self.uri(), access, Duration::ZERO).unwrap()
    }

    async fn create(&self, machine: &str) -> Vault {
        let state = self.state(machine, Access::ReadWrite);
        Vault::make(self.store(), state, setup("right"))
            .await
            .unwrap()
    }

    async fn open(&self, machine: &str, access: Access) -> Result<Vault> {
        let state = self.state(machine, access);
        Vault::unlock(self.store(), state, &passphrase("right"), access).await
    }

    /// A copy of all objects, to be put back later.
    fn snapshot(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&self.folder(), copy.path());
        copy
    }

    fn put_back(&self, snapshot: &TempDir) {
        fs::remove_dir_all(self.folder()).unwrap();
        copy_folder(snapshot.path(), &self.folder());
    }

    fn object(&self, name: &ObjectName) -> std::path::PathBuf {
        self.folder().join(name.to_string())
    }

    fn commit(&self, device: coffre_format::id::DeviceId, point: Point) -> std::path::PathBuf {
        self.object(&super::kept::commit_name(device, &point))
    }

    fn clone_machine(&self, from: &str, to: &str) {
        copy_folder(&self.machine(from), &self.machine(to));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn passphrase(text: &str) -> Secret {
    Secret::Passphrase(Passphrase::new(text.as_bytes()).unwrap())
}

fn setup(secret: &str) -> Setup {
    Setup {
        secrets: vec![(passphrase(secret), "first".to_owned())],
        kdf: KdfParams::FLOOR,
        device_name: "here".to_owned(),
        uid: 1000,
        gid: 1000,
    }
}

fn nodes(vault: &Vault) -> Nodes {
    let outbox = Outbox::open(&vault.state().outbox()).unwrap();
    let reader = Reader::new(vault.store().clone(), None, outbox);
    Nodes::new(reader, vault.ring(), 16 << 20)
}

/// Puts these records into the tree of the current base and uploads the packs.
async fn draft(vault: &Vault, records: Vec<(Key, Record)>) -> Draft {
    let heads = vault.heads();
    let mut changes = Changes::default();
    if vault.last().is_none() && vault.access() == Access::ReadWrite {
        let (device, record) = vault.enrol("another").unwrap();
        let key = Key::new(Inode::VAULT, tag::DEVICE, &device.0);
        changes.put(key, Arc::new(Value::Record(Record::Device(record))));
    }
    for (key, record) in records {
        changes.put(key, Arc::new(Value::Record(record)));
    }
    let mut merged: Vector = heads.base.commit.body.merged.clone();
    merged.insert(heads.base.device, heads.base.point);
    let (root, packs) = fold(vault, &heads.base.commit.body.root, &changes).await;
    Draft {
        root,
        merged,
        packs: packs.iter().map(FrozenPack::added).collect(),
        node_packs: packs.iter().map(FrozenPack::name).collect(),
        session: SessionPrefix(7),
        lsn: Lsn(3),
        label: String::new(),
    }
}

async fn fold(vault: &Vault, root: &Child, changes: &Changes) -> (Child, Vec<FrozenPack>) {
    let ring = vault.ring();
    let mut sink = PackSink::new(ring.clone(), 0).unwrap();
    let nodes = nodes(vault);
    let root = tree::edit(root, changes, ring.structure(), &nodes, &mut sink)
        .await
        .unwrap();
    let sealed = sink.finish().unwrap();
    for pack in &sealed.packs {
        let name = ObjectName::Pack(pack.name());
        vault.store().put(&name, pack.bytes.clone()).await.unwrap();
    }
    (sealed.settled.child(root), sealed.packs)
}

/// A commit that sets a setting.
async fn publish(vault: &Vault, word: &str) -> Point {
    let draft = draft(vault, vec![setting(word)]).await;
    vault.publish(draft).await.unwrap()
}

fn setting(word: &str) -> (Key, Record) {
    let key = Key::new(Inode::VAULT, tag::SETTING, b"word");
    (key, Record::Setting(word.as_bytes().to_vec().into()))
}

/// The setting in the base of a vault.
async fn word(vault: &Vault) -> String {
    let (key, _) = setting("");
    let root = vault.heads().base.commit.body.root;
    match nodes(vault).get(&root, &key).await.unwrap() {
        Some(Record::Setting(word)) => String::from_utf8(word.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}
