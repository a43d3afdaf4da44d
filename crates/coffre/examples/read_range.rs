//! Reads a part of a file, however large that is, and fetches no more than that part:
//! `read_range ADDRESS PASSPHRASE_FILE PATH START LENGTH`.

use std::error::Error;
use std::io::Write;

use coffre::Secret;
use coffre::Vault;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, passphrase, path, start, length] = arguments.as_slice() else {
        return Err("read_range ADDRESS PASSPHRASE_FILE PATH START LENGTH".into());
    };
    let secret = Secret::passphrase(std::fs::read(passphrase)?)?;
    // Read only: others may have the vault open meanwhile, and nothing is written.
    let vault = Vault::at(address)?.read_only().open(&secret).await?;
    let files = vault.files().await?;
    let start: u64 = start.parse()?;
    let range = start..start.saturating_add(length.parse()?);
    std::io::stdout().write_all(&files.read_range(path, range).await?)?;
    Ok(())
}
