//! What the README shows, as a program: `readme ADDRESS`, where a vault with a file `/film.mkv` is.

use std::error::Error;

use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("readme ADDRESS")?;
    let address = address.as_str();

    let secret = coffre::Secret::passphrase("correct horse battery staple")?;
    let vault = coffre::Vault::open(address, &secret).await?; // "s3://my-bucket/coffre?region=eu-west-3"
    let files = vault.files().await?;

    files.create_dir_all("/reports").await?;
    files.write("/reports/may.txt", "sealed").await?; // the old content or the new, never half
    let part = files.read_range("/film.mkv", 0..1_000_000).await?; // fetches no more than that
    let mut film = files.open("/film.mkv").await?; // AsyncRead, AsyncWrite, AsyncSeek
    files.copy("/film.mkv", "/again.mkv").await?; // shares its content
    files.publish().await?; // everything is in the store

    let mut streamed = Vec::new();
    film.read_to_end(&mut streamed).await?;
    assert_eq!(part, streamed);
    drop(film);
    files.close().await?;
    println!("{} bytes", streamed.len());
    Ok(())
}
