//! Two trees of files are the same: kinds, content, modes, owners, times, links, attributes and holes.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// What one name stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    pub mtime: (i64, i64),
    pub rdev: u64,
    pub target: Option<PathBuf>,
    pub content: Option<String>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name, in order, of the same inode.
    pub same_as: PathBuf,
    /// Whether less is stored than the size says.
    pub sparse: bool,
}

/// Everything below a folder, by path.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                folders.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    let mut first_names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for path in paths {
        let metadata = path.symlink_metadata().unwrap();
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let same_as = first_names
            .entry(metadata.ino())
            .or_insert_with(|| relative.clone())
            .clone();
        tree.insert(relative, entry(&path, &metadata, same_as));
    }
    tree
}

/// Panics with the first differences of two trees.
pub fn assert_same(expected: &BTreeMap<PathBuf, Entry>, found: &BTreeMap<PathBuf, Entry>) {
    let mut differences = Vec::new();
    for (path, entry) in expected {
        match found.get(path) {
            None => differences.push(format!("{} is missing", path.display())),
            Some(other) if other != entry => {
                differences.push(format!(
                    "{}:\n  expected {entry:?}\n  found    {other:?}",
                    path.display()
                ));
            }
            Some(_) => {}
        }
    }
    differences.extend(
        found
            .keys()
            .filter(|path| !expected.contains_key(*path))
            .map(|path| format!("{} is new", path.display())),
    );
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        expected.len(),
        differences
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

fn entry(path: &Path, metadata: &Metadata, same_as: PathBuf) -> Entry {
    let is_link = metadata.is_symlink();
    Entry {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        size: if metadata.is_dir() {
            0
        } else {
            metadata.size()
        },
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        rdev: metadata.rdev(),
        target: is_link.then(|| fs::read_link(path).unwrap()),
        content: metadata.is_file().then(|| hash(path)),
        xattrs: if is_link {
            BTreeMap::new()
        } else {
            xattrs(path)
        },
        same_as,
        sparse: metadata.is_file() && metadata.blocks() * 512 + 65_536 < metadata.size(),
    }
}

fn hash(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            return hasher.finalize().to_hex().to_string();
        }
        hasher.update(&buffer[..read]);
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::listxattr(path, &mut names).unwrap_or(0);
    let mut xattrs = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 65_536];
        let name_text = std::ffi::OsStr::from_bytes(name);
        let length = rustix::fs::getxattr(path, name_text, &mut value).unwrap();
        value.truncate(length);
        xattrs.insert(name.to_vec(), value);
    }
    xattrs
}
