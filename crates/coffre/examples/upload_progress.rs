//! Shows how far an upload is: `upload_progress FILE ADDRESS PASSPHRASE_FILE`.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use coffre::Secret;
use coffre::Status;
use coffre::Vault;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, address, passphrase] = arguments.as_slice() else {
        return Err("upload_progress FILE ADDRESS PASSPHRASE_FILE".into());
    };
    let name = Path::new(file).file_name().ok_or("name a file")?;
    let secret = Secret::passphrase(std::fs::read(passphrase)?)?;
    let files = Vault::open(address, &secret).await?.files().await?;
    let mut source = tokio::fs::File::open(file).await?;
    let mut replacement = files.replace(name).await?;
    tokio::io::copy(&mut source, &mut replacement).await?;
    replacement.commit().await?;
    // From here on it is safe on this machine; what follows is the way to the store.
    let mut publish = Box::pin(files.publish());
    loop {
        tokio::select! {
            published = &mut publish => break published?,
            () = tokio::time::sleep(Duration::from_millis(200)) => show(&files.status()),
        }
    }
    drop(publish);
    println!("everything is in the store");
    files.close().await?;
    Ok(())
}

fn show(status: &Status) {
    println!(
        "{} bytes to go, {} a second",
        status.unpublished_bytes, status.speed
    );
    if let Some(why) = &status.last_error {
        println!("{why}");
    }
}
