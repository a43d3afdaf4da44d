//! Files of a vault as tests write and read them, and servers to keep them on.

use std::time::Duration;

use bytes::Bytes;
use coffre::fs::Follow;
use coffre::fs::Inode;
use coffre::fs::Listed;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::SetAttributes;
use coffre::fs::SetTime;
use coffre::fs::Timestamp;
use coffre::fs::Volume;

use crate::proxy::Proxy;
use crate::s3::S3;

pub const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};
/// What needs the store has an answer within this time, and what comes by itself has come.
pub const BOUND: Duration = Duration::from_secs(60);

pub fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

pub async fn write(files: &Volume, name: &str, content: Vec<u8>) {
    let created = files.create(Inode::ROOT, name.as_bytes(), OWNER).await;
    let (_, handle) = created.unwrap();
    files.write(handle, 0, Bytes::from(content)).await.unwrap();
    files.release(handle).await.unwrap();
}

pub async fn read(files: &Volume, name: &str) -> coffre::Result<Bytes> {
    let found = files
        .resolve(format!("/{name}").as_bytes(), Follow::No)
        .await?;
    let handle = files.open_file(found.inode, OpenMode::Read).await?;
    let size = u32::try_from(found.size).unwrap();
    let bytes = files.read(handle, 0, size).await;
    files.release(handle).await?;
    bytes
}

/// Times, as a kernel tells those of content that it has held back: once, and before the content or behind it.
pub fn late_times() -> SetAttributes {
    let time = Timestamp {
        seconds: 1,
        nanos: 0,
    };
    SetAttributes {
        mtime: Some(SetTime::At(time)),
        ctime: Some(time),
        ..SetAttributes::default()
    }
}

/// Everything in a folder, with attributes, `.` and `..` included.
pub async fn entries(files: &Volume, folder: Inode) -> coffre::Result<Vec<Listed>> {
    let handle = files.open_directory(folder).await?;
    let (mut all, mut cookie) = (Vec::new(), 0);
    let read = loop {
        let more = match files.read_directory(handle, cookie, 500, true).await {
            Ok(more) => more,
            Err(error) => break Err(error),
        };
        let Some(last) = more.last() else {
            break Ok(all);
        };
        cookie = last.cookie;
        all.extend(more);
    };
    files.release(handle).await?;
    read
}

pub async fn names(files: &Volume) -> Vec<String> {
    let all = entries(files, Inode::ROOT).await.unwrap().into_iter();
    let names = all.map(|entry| String::from_utf8(entry.name).unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

pub async fn server() -> S3 {
    tokio::task::spawn_blocking(S3::in_process).await.unwrap()
}

pub async fn stop(s3: S3) {
    tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
}

pub async fn server_and_proxy() -> (S3, Proxy) {
    let start = || {
        let s3 = S3::in_process();
        let proxy = s3.proxy();
        (s3, proxy)
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Waits for something that comes by itself.
pub async fn until(what: &str, mut come: impl FnMut() -> bool) {
    let wait = async {
        while !come() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let come = tokio::time::timeout(BOUND, wait).await;
    assert!(come.is_ok(), "{what}");
}

pub fn is_drained(files: &Volume) -> bool {
    let status = files.status();
    status.unpublished_operations == 0 && status.last_error.is_none()
}
