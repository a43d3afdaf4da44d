//! Files made one after the other, some fsynced: what a crash may leave of them is a prefix with all that was promised.

use bytes::Bytes;
use coffre::fs::Attributes;
use coffre::fs::Inode;
use coffre::fs::Listed;
use coffre::fs::OpenMode;
use coffre::fs::Owner;
use coffre::fs::Volume;
use coffre::vault::Depth;

use crate::content::entries;

pub const OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
    umask: 0,
};

/// Content of a file: inline, small, whole blocks, and more than one block.
pub fn content(index: usize) -> Vec<u8> {
    let length = [17, 3_000, 70_000, 131_072, 700_000][index % 5];
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&index.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

pub fn name(index: usize) -> String {
    format!("f{index:03}")
}

pub async fn write_file(files: &Volume, name: &str, content: Vec<u8>) -> coffre::Result<()> {
    let (_, handle) = files.create(Inode::ROOT, name.as_bytes(), OWNER).await?;
    files.write(handle, 0, Bytes::from(content)).await?;
    files.release(handle).await
}

pub async fn read(files: &Volume, found: &Attributes) -> coffre::Result<Vec<u8>> {
    let handle = files.open_file(found.inode, OpenMode::Read).await?;
    let bytes = files.read(handle, 0, 1 << 20).await?;
    files.release(handle).await?;
    Ok(bytes.to_vec())
}

/// The files of the sequence, in order.
pub async fn listed(files: &Volume) -> coffre::Result<Vec<(String, Attributes)>> {
    let listed = entries(files, Inode::ROOT).await?;
    let entry = |entry: Listed| Some((String::from_utf8(entry.name).ok()?, entry.attributes?));
    let mut names: Vec<_> = listed.into_iter().filter_map(entry).collect();
    names.retain(|(name, _)| name.starts_with('f'));
    names.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
}

/// What is wrong with what is there, if `promised` files were fsynced; else how many there are.
pub async fn judge(files: &Volume, promised: usize) -> Result<usize, String> {
    let told = |error: coffre::Error| error.to_string();
    let found = listed(files).await.map_err(told)?;
    if found.len() < promised {
        return Err(format!("{} files, {promised} were fsynced", found.len()));
    }
    for (index, (found_name, attributes)) in found.iter().enumerate() {
        if *found_name != name(index) {
            return Err(format!("a gap before {found_name}"));
        }
        let (expected, bytes) = (content(index), read(files, attributes).await.map_err(told)?);
        let newest = index + 1 == found.len() && index >= promised;
        if bytes != expected && !(newest && bytes.is_empty()) {
            let (found, expected) = (bytes.len(), expected.len());
            return Err(format!("{found_name} differs: {found} of {expected} bytes"));
        }
    }
    Ok(found.len())
}

/// The same of a check of all that is published.
pub async fn check(files: &Volume) -> Result<(), String> {
    let root = files.root();
    let checked =
        coffre::vault::check(files.vault(), files.nodes(), &root, Depth::Data, &|_| ()).await;
    let report = checked.map_err(|error| error.to_string())?;
    if report.is_sound() {
        Ok(())
    } else {
        Err(format!("{:?}", report.problems))
    }
}
