//! The clock of the machine steps by ten years, either way, while a vault is used and between two uses: only the times
//! that files show follow it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use bytes::Bytes;
use coffre::clock;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre::vault::Access;
use coffre::vault::Depth;
use coffre::vault::check;
use coffre_tests::World;

const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};
const TEN_YEARS: i64 = 315_360_000;
/// Now, later, earlier, before there was a clock, now.
const STEPS: [i64; 5] = [0, TEN_YEARS, -TEN_YEARS, -7 * TEN_YEARS, 0];

async fn write(files: &Volume, name: &str) {
    let created = files.create(Inode::ROOT, name.as_bytes(), OWNER).await;
    let (_, handle) = created.unwrap();
    let content = Bytes::from(format!("content of {name}"));
    files.write(handle, 0, content).await.unwrap();
    files.release(handle).await.unwrap();
}

/// The content is right, and the time is that of the stepped clock.
async fn verify(files: &Volume, name: &str, step: i64) {
    let path = format!("/{name}");
    let found = files.resolve(path.as_bytes(), Follow::No).await.unwrap();
    let handle = files.open_file(found.inode, OpenMode::Read).await.unwrap();
    let bytes = files.read(handle, 0, 1000).await.unwrap();
    files.release(handle).await.unwrap();
    assert_eq!(bytes, format!("content of {name}"));
    clock::planted::step(0);
    let off = found.mtime.seconds - clock::now().seconds - step;
    assert!(off.abs() < 3600, "{name} is off by {off} s");
}

/// Nothing in what is shown is older or later than what happened here.
fn plausible(files: &Volume) {
    let status = files.status();
    assert!(status.unpublished_seconds < 3600, "{status:?}");
    assert!(status.diverged.is_empty(), "{status:?}");
    assert_eq!(status.last_error, None);
    let expected = |warning: &String| warning.contains("first contact");
    assert!(status.warnings.iter().all(expected), "{status:?}");
}

/// Without being asked to, within a time that has nothing to do with the steps.
async fn published_by_itself(files: &Volume) {
    let waited = tokio::time::timeout(Duration::from_secs(90), async {
        while files.status().unpublished_operations > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("it was never published");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_ten_years_change_nothing_but_the_times_of_files() {
    let world = World::local();
    drop(world.create("a").await);
    let open = async |machine: &str| {
        let vault = world.open(machine, Access::ReadWrite).await.unwrap();
        let mut options = world.options(machine, Access::ReadWrite);
        options.publish_after = Duration::from_millis(200);
        Volume::open(vault, options).await.unwrap()
    };
    let mut commits = Vec::new();
    // During use.
    let a = open("a").await;
    for (index, step) in STEPS.into_iter().enumerate() {
        clock::planted::step(step);
        write(&a, &format!("during {index}")).await;
        a.fsync().await.unwrap();
        plausible(&a);
        if index < 2 {
            published_by_itself(&a).await;
        } else {
            a.publish().await.unwrap();
        }
        plausible(&a);
        commits.push(a.status().last_commit);
    }
    a.close().await.unwrap();
    drop(a);
    // Between two uses; what was not uploaded before the step is uploaded after it.
    for (index, step) in STEPS.into_iter().enumerate() {
        clock::planted::step(step);
        let a = open("a").await;
        plausible(&a);
        write(&a, &format!("between {index}")).await;
        a.close_now().await.unwrap();
        drop(a);
        clock::planted::step(-step);
        let a = open("a").await;
        plausible(&a);
        a.close().await.unwrap();
        commits.push(a.status().last_commit);
    }
    assert!(commits.is_sorted_by(|one, next| one < next), "{commits:?}");
    // Another device, whose clock goes wrong as well, in turn with the first.
    clock::planted::step(-TEN_YEARS);
    let b = open("b").await;
    write(&b, "of b").await;
    b.close().await.unwrap();
    plausible(&b);
    drop(b);
    clock::planted::step(TEN_YEARS);
    let a = open("a").await;
    plausible(&a);
    for (index, step) in STEPS.into_iter().enumerate() {
        verify(&a, &format!("during {index}"), step).await;
        verify(&a, &format!("between {index}"), step).await;
    }
    verify(&a, "of b", -TEN_YEARS).await;
    let root = a.root();
    let report = check(a.vault(), a.nodes(), &root, Depth::Data, &|_| ()).await;
    assert!(report.unwrap().is_sound());
    a.close().await.unwrap();
}
