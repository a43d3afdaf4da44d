//! Many small files in one folder, and a tree of folders: names and attributes more than content.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::content::noise;
use crate::content::per_second;
use crate::mounting::quiet;
use crate::sizes::Sizes;

const LENGTH: usize = 4096;
/// Files of each folder of the tree, and folders of each folder.
const WIDTH: usize = 10;

/// Opened, written, closed.
pub fn create(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let content = noise(LENGTH, 2);
    fs::create_dir(mount.join("small"))?;
    per_file(sizes, |index| Ok(fs::write(small(mount, index), &content)?))
}

pub fn stat(mount: &Path, sizes: &Sizes) -> Result<f64> {
    per_file(sizes, |index| {
        Ok(fs::metadata(small(mount, index)).map(drop)?)
    })
}

/// Away and back.
pub fn rename(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let away = |index: usize| mount.join(format!("small/{index} away"));
    let begin = Instant::now();
    for index in 0..sizes.small {
        fs::rename(small(mount, index), away(index))?;
    }
    for index in 0..sizes.small {
        fs::rename(away(index), small(mount, index))?;
    }
    Ok(per_second(sizes.small * 2, begin))
}

pub fn read(mount: &Path, sizes: &Sizes) -> Result<f64> {
    per_file(sizes, |index| {
        let length = fs::read(small(mount, index))?.len();
        ensure!(
            length == LENGTH,
            "{length} bytes came back of a file of {LENGTH}"
        );
        Ok(())
    })
}

pub fn unlink(mount: &Path, sizes: &Sizes) -> Result<f64> {
    per_file(sizes, |index| Ok(fs::remove_file(small(mount, index))?))
}

/// Folders in folders, with small files in the inner ones.
pub fn plant_tree(mount: &Path, sizes: &Sizes) -> Result<()> {
    let content = noise(1024, 3);
    for folder in (0..sizes.folders).flat_map(|outer| (0..WIDTH).map(move |inner| (outer, inner))) {
        let path = mount.join(format!("tree/{}/{}", folder.0, folder.1));
        fs::create_dir_all(&path)?;
        for file in 0..WIDTH {
            fs::write(path.join(format!("file {file}")), &content)?;
        }
    }
    Ok(())
}

pub fn remove_tree(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let begin = Instant::now();
    quiet(Command::new("rm").arg("-r").arg(mount.join("tree")))?;
    Ok(per_second(tree_entries(sizes), begin))
}

/// All names below both, with their attributes, as `ls -lR` asks for them.
pub fn list(mount: &Path, sizes: &Sizes) -> Result<f64> {
    let begin = Instant::now();
    let mut seen = 0;
    for folder in ["small", "tree"] {
        seen += walk(&mount.join(folder))?;
    }
    let figure = per_second(seen, begin);
    let expected = sizes.small + tree_entries(sizes) - 1;
    ensure!(
        seen == expected,
        "{seen} entries are listed of {expected} that there are"
    );
    Ok(figure)
}

fn walk(folder: &Path) -> Result<usize> {
    let mut seen = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        seen += 1;
        if entry.metadata()?.is_dir() {
            seen += walk(&entry.path())?;
        }
    }
    Ok(seen)
}

/// With the folder that holds all of it.
fn tree_entries(sizes: &Sizes) -> usize {
    1 + sizes.folders * (1 + WIDTH * (1 + WIDTH))
}

fn small(mount: &Path, index: usize) -> PathBuf {
    mount.join(format!("small/{index}"))
}

fn per_file(sizes: &Sizes, work: impl Fn(usize) -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    for index in 0..sizes.small {
        work(index)?;
    }
    Ok(per_second(sizes.small, begin))
}
