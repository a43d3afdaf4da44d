//! Puts a folder into a vault, sealed before it leaves: `encrypt_folder FOLDER ADDRESS PASSPHRASE_FILE`.
//!
//! The address is a path, or for S3 `s3://bucket/prefix?region=eu-west-3`, with credentials from the environment.

use std::error::Error;
use std::path::Path;

use coffre::Filesystem;
use coffre::Secret;
use coffre::Vault;
use tokio::io::AsyncWriteExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address, passphrase] = arguments.as_slice() else {
        return Err("encrypt_folder FOLDER ADDRESS PASSPHRASE_FILE".into());
    };
    let secret = Secret::passphrase(std::fs::read(passphrase)?)?;
    let vault = match Vault::open(address, &secret).await {
        Err(coffre::Error::NoVault { .. }) => Vault::create(address, secret).await?,
        opened => opened?,
    };
    let files = vault.files().await?;
    let put = put(&files, Path::new(folder), Path::new("/")).await;
    // What was put is uploaded, whatever came after it.
    files.close().await?;
    println!("{} files are in {address}", put?);
    Ok(())
}

async fn put(files: &Filesystem, from: &Path, to: &Path) -> Result<u64, Box<dyn Error>> {
    let mut count = 0;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.create_dir_all(&target).await?;
            count += Box::pin(put(files, &entry.path(), &target)).await?;
        } else if kind.is_file() {
            // A file of any size passes in pieces, and shows in the vault when it is whole.
            let mut source = tokio::fs::File::open(entry.path()).await?;
            let mut replacement = files.replace(&target).await?;
            tokio::io::copy(&mut source, &mut replacement).await?;
            replacement.flush().await?;
            replacement.commit().await?;
            count += 1;
        }
    }
    Ok(count)
}
