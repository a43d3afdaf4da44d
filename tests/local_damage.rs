//! A local disk that has lost what it had kept: told with file and offset, never cut off or made anew in silence,
//! and each time with a way out that works.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use coffre::Error;
use coffre::fs::Damage;
use coffre::fs::Inode;
use coffre::fs::Options;
use coffre::fs::Volume;
use coffre::store::Store;
use coffre::store::StoreUri;
use coffre::vault::Access;
use coffre::vault::StateDir;
use coffre::vault::Vault;
use coffre_tests::World;
use coffre_tests::command::Machine;
use coffre_tests::mounted::can_mount;
use coffre_tests::sequence;
use coffre_tests::world::copy_folder;
use coffre_tests::world::secret;
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The vault of a machine, opened by the library beside the command.
struct Beside {
    uri: StoreUri,
    root: PathBuf,
    options: Options,
}

impl Beside {
    fn new(machine: &Machine, vault: &str) -> Self {
        let world = World::local();
        let options = Options {
            publish_after: Duration::from_secs(3600),
            ..world.options("a", Access::ReadWrite)
        };
        Self {
            uri: StoreUri::local(Path::new(vault)),
            root: PathBuf::from(machine.path("state")),
            options,
        }
    }

    async fn open(&self, access: Access, damage: Damage) -> coffre::Result<Volume> {
        let state = StateDir::open(&self.root, &self.uri, access)?;
        let store = Store::open(&self.uri)?;
        let vault = Vault::unlock(store, state, &secret(), access).await?;
        let options = Options {
            access,
            damage,
            ..self.options.clone()
        };
        Volume::open(vault, options).await
    }

    async fn files(&self) -> Volume {
        self.open(Access::ReadWrite, Damage::Refuse).await.unwrap()
    }

    fn state(&self) -> PathBuf {
        StateDir::locate(&self.root, &self.uri)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut segments: Vec<_> = listed(&self.state().join("journal"));
        segments.sort();
        segments
    }

    /// Moves folders out of the state folder, as a message says.
    fn move_away(&self, folders: &[&str]) -> tempfile::TempDir {
        let kept = tempfile::tempdir_in(&self.root).unwrap();
        for folder in folders {
            fs::rename(self.state().join(folder), kept.path().join(folder)).unwrap();
        }
        kept
    }

    fn move_back(&self, kept: &tempfile::TempDir, folders: &[&str]) {
        for folder in folders {
            let place = self.state().join(folder);
            if place.exists() {
                fs::remove_dir_all(&place).unwrap();
            }
            fs::rename(kept.path().join(folder), place).unwrap();
        }
    }
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

async fn write(files: &Volume, index: usize) {
    let (name, content) = (sequence::name(index), sequence::content(index));
    sequence::write_file(files, &name, content).await.unwrap();
    files.fsync().await.unwrap();
}

/// Two files in the store, six more that are only in the journal and its packs.
async fn filled(beside: &Beside) {
    let files = beside.files().await;
    for index in 0..2 {
        write(&files, index).await;
    }
    files.publish().await.unwrap();
    for index in 2..8 {
        write(&files, index).await;
    }
    files.close_now().await.unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

const LOCAL: [&str; 3] = ["journal", "open", "outbox"];

#[test]
fn a_damaged_journal_is_told_and_what_was_before_can_be_taken_out() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    let vault = machine.init("vault");
    let beside = Beside::new(&machine, &vault);
    let runtime = runtime();
    runtime.block_on(filled(&beside));
    let segment = beside.segments().pop().unwrap();
    let honest = fs::read(&segment).unwrap();
    flip(&segment, honest.len() as u64 / 2);

    let opened = runtime.block_on(beside.open(Access::ReadWrite, Damage::Refuse));
    let Err(Error::Damaged { file, offset, .. }) = opened.map(drop) else {
        panic!("the damage is not told");
    };
    assert_eq!(file, segment);
    assert!(offset > 32 && offset <= honest.len() as u64 / 2, "{offset}");
    // To a person, by any verb, with its code; and nothing was made anew.
    let damaged = fs::read(&segment).unwrap();
    let dir = machine.folder("mount");
    for arguments in [
        vec!["mount", &vault, &dir],
        vec!["ls", &vault],
        vec!["cat", &vault, "/f000"],
    ] {
        let text = machine.fails(7, &arguments);
        let place = format!("{} is damaged at byte {offset}", segment.display());
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("mount --read-only"), "{text}");
    }
    assert!(fs::read(&segment).unwrap() == damaged);

    // The way out: look, take along, move aside, go on.
    let output = machine.run(&["mount", "--read-only", &vault, &dir]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("is damaged at byte"), "{said}");
    let status = machine.ok(&["status", &dir]);
    assert!(status.contains("is damaged at byte"), "{status}");
    let mut seen: Vec<_> = listed(Path::new(&dir));
    seen.sort();
    assert!(seen.len() > 2 && seen.len() < 8, "{seen:?}");
    for (index, path) in seen.iter().enumerate() {
        assert!(path.ends_with(sequence::name(index)));
        let read = fs::read(path).unwrap();
        let newest = index + 1 == seen.len();
        assert!(
            read == sequence::content(index) || newest && read.is_empty(),
            "{path:?}"
        );
    }
    let salvaged = machine.path("salvaged");
    copy_folder(Path::new(&dir), Path::new(&salvaged));
    machine.ok(&["unmount", &dir]);
    let kept = beside.move_away(&LOCAL);
    machine.ok(&["mount", &vault, &dir]);
    assert_eq!(listed(Path::new(&dir)).len(), 2);
    for path in listed(Path::new(&salvaged)) {
        fs::copy(&path, Path::new(&dir).join(path.file_name().unwrap())).unwrap();
    }
    machine.ok(&["unmount", &dir]);
    machine.ok(&["check", "--data", &vault]);
    assert_eq!(machine.ok(&["ls", &vault]).lines().count(), seen.len());
    assert!(kept.path().join("journal").exists());
}

#[test]
fn a_reader_finds_what_a_writer_left_in_journal_and_open_packs() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let beside = Beside::new(&machine, &vault);
    runtime().block_on(async {
        filled(&beside).await;
        let before = listed(&beside.state().join("open"));
        assert!(!before.is_empty());
        let files = beside.open(Access::ReadOnly, Damage::Refuse).await.unwrap();
        assert_eq!(sequence::judge(&files, 8).await, Ok(8));
        assert_eq!(listed(&beside.state().join("open")).len(), before.len());
    });
}

#[test]
fn a_damaged_open_pack_is_damage_where_its_content_had_been_synced() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let beside = Beside::new(&machine, &vault);
    runtime().block_on(async {
        filled(&beside).await;
        for pack in listed(&beside.state().join("open")) {
            let length = pack.metadata().unwrap().len();
            flip(&pack, length / 3);
        }
        let opened = beside
            .open(Access::ReadWrite, Damage::Refuse)
            .await
            .map(drop);
        let Err(Error::Damaged { why, .. }) = opened else {
            panic!("the damage is not told: {opened:?}");
        };
        assert!(
            why.contains("data frame") && why.contains("--read-only"),
            "{why}"
        );
        let files = beside
            .open(Access::ReadOnly, Damage::ShowBefore)
            .await
            .unwrap();
        let count = sequence::judge(&files, 2).await.unwrap();
        assert!((2..8).contains(&count), "{count}");
        let warnings = files.status().warnings;
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains("damaged at byte"))
        );
    });
}

#[test]
fn without_its_journal_what_was_left_in_packs_is_not_thrown_away() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let beside = Beside::new(&machine, &vault);
    runtime().block_on(filled(&beside));
    let packs = listed(&beside.state().join("open"));
    let kept = beside.move_away(&["journal"]);
    let text = machine.fails(7, &["put", &vault, &machine.path("passphrase"), "/x"]);
    assert!(text.contains("journal is gone"), "{text}");
    assert_eq!(listed(&beside.state().join("open")), packs);
    // Put back, all is well.
    beside.move_back(&kept, &["journal"]);
    assert_eq!(machine.ok(&["ls", &vault]).lines().count(), 8);
    // Moved away as the message says, the store's state goes on.
    drop(kept);
    let _kept = beside.move_away(&LOCAL);
    machine.ok(&["put", &vault, &machine.path("passphrase"), "/x"]);
    assert_eq!(machine.ok(&["ls", &vault]).lines().count(), 3);
}

#[test]
fn a_damaged_or_missing_anchor_is_told_and_never_made_anew() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let beside = Beside::new(&machine, &vault);
    runtime().block_on(filled(&beside));
    let anchor = beside.state().join("anchor");
    let honest = fs::read(&anchor).unwrap();
    // From the magic over the copies of the slots to the last byte that is sealed.
    let positions = (0..honest.len()).step_by(honest.len() / 6 + 1);
    for at in positions.chain([honest.len() - 1]) {
        flip(&anchor, at as u64);
        let damaged = fs::read(&anchor).unwrap();
        let output = machine.run(&["ls", &vault]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(7), "byte {at}: {text}");
        assert!(
            text.contains("anchor is damaged") && text.contains("move its folder"),
            "{text}"
        );
        assert!(
            fs::read(&anchor).unwrap() == damaged,
            "byte {at}: it was made anew"
        );
        fs::write(&anchor, &honest).unwrap();
    }
    fs::write(&anchor, &honest[..honest.len() / 2]).unwrap();
    assert!(
        machine
            .fails(7, &["ls", &vault])
            .contains("anchor is damaged")
    );
    fs::remove_file(&anchor).unwrap();
    for arguments in [
        vec!["ls", &vault],
        vec!["put", &vault, &machine.path("passphrase"), "/x"],
    ] {
        let text = machine.fails(7, &arguments);
        assert!(
            text.contains("it is gone") && text.contains("restore the file"),
            "{text}"
        );
        assert!(!anchor.exists(), "it was made anew");
    }
    // Both ways out: the file again, or another folder.
    fs::write(&anchor, &honest).unwrap();
    assert_eq!(machine.ok(&["ls", &vault]).lines().count(), 8);
    fs::rename(beside.state(), machine.path("aside")).unwrap();
    assert_eq!(machine.ok(&["ls", &vault]).lines().count(), 2);
    machine.ok(&["put", &vault, &machine.path("passphrase"), "/x"]);
    machine.ok(&["check", "--data", &vault]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_of_the_outbox_costs_its_files_and_nothing_else() {
    let machine = Machine::new();
    let vault = {
        let machine = &machine;
        tokio::task::block_in_place(|| machine.init("vault"))
    };
    let beside = Beside::new(&machine, &vault);
    let files = beside.files().await;
    let made = files.create(Inode::ROOT, b"big", sequence::OWNER).await;
    let (_, handle) = made.unwrap();
    let mut content = vec![0; 18 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    files.write(handle, 0, Bytes::from(content)).await.unwrap();
    files.release(handle).await.unwrap();
    write(&files, 0).await;
    let outbox = beside.state().join("outbox");
    while listed(&outbox).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    files.close_now().await.unwrap();
    drop(files);
    // Early uploads may have brought it to the store, where it would be found.
    for pack in listed(&outbox) {
        let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
        let stored = Path::new(&vault).join("packs").join(&name[..2]).join(&name);
        drop(fs::remove_file(stored));
        flip(&pack, 5 << 20);
    }
    let files = beside.files().await;
    let found = files
        .resolve(b"/big", coffre::fs::Follow::No)
        .await
        .unwrap();
    let handle = files
        .open_file(found.inode, coffre::fs::OpenMode::Read)
        .await
        .unwrap();
    let mut told = None;
    for at in (0..18_u64 << 20).step_by(1 << 20) {
        match files.read(handle, at, 1 << 20).await {
            Ok(_) => {}
            Err(Error::Damaged { file, why, .. }) => {
                assert_eq!(file.parent(), Some(outbox.as_path()));
                assert!(why.contains("delete those files"), "{why}");
                told = Some(at);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(told.is_some(), "the damage is not told");
    files.release(handle).await.unwrap();
    assert_eq!(sequence::judge(&files, 1).await, Ok(1));
    let failed = files.publish().await.unwrap_err();
    assert!(matches!(failed, Error::Damaged { .. }), "{failed}");
    // The way out that the message tells.
    files.unlink(Inode::ROOT, b"big").await.unwrap();
    files.publish().await.unwrap();
    sequence::check(&files).await.unwrap();
    files.close().await.unwrap();
}
