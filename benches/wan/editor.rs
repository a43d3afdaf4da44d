//! A person writes: a file of some pages is saved every twenty seconds, as editors do it.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::ask::Requests;
use crate::content::noise;
use crate::finding::Measured;
use crate::rclone::Upload;
use crate::stage::Stage;

const EVERY: Duration = Duration::from_secs(20);
const LENGTH: usize = 20 << 10;
const NAME: &str = "notes.txt";
/// What Amazon S3 asks in its standard class, in dollars per thousand requests. Storing a GB costs $0.023 a month,
/// receiving one from it $0.09, sending one to it nothing.
const PUTS: f64 = 0.005;
const GETS: f64 = 0.0004;

/// What these requests cost, in dollars.
fn price(requests: &Requests) -> f64 {
    let puts = requests.at_the_price_of_put() as f64 * PUTS;
    let gets = requests.at_the_price_of_get() as f64 * GETS;
    (puts + gets) / 1000.0
}

pub fn run(stage: &Stage<'_>) -> Result<Measured> {
    let editing = stage.plan.editing;
    let saves = (editing.as_secs() / EVERY.as_secs()).max(1) as u32;
    let mounted = stage.mount(Upload::AsItComes)?;
    // The file is there before it is edited.
    save(&mounted.place, 0)?;
    mounted.publish()?;
    stage.site.settle();
    let stored = stage.site.stored();
    let timed = stage.timed_for(editing + stage.plan.patience, &mounted, |mounted| {
        let begin = Instant::now();
        for number in 1..=saves {
            save(&mounted.place, number)?;
            let due = begin + EVERY * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        mounted.publish()
    })?;
    let grown = stage.site.stored().saturating_sub(stored);
    stage.look(mounted, &timed, |place| {
        let found = fs::read(place.join(NAME))?;
        ensure!(found == text(saves), "the text is another");
        Ok(())
    })?;
    let requests = timed.traffic.requests;
    let dollars = price(&requests);
    let hour = dollars / timed.seconds * 3600.0;
    let title = format!("{saves} saves of 20 KiB in {:.0} s", timed.seconds);
    let told = format!(
        "{} requests: ${dollars:.5}, ${hour:.4} an hour; the store grows by {:.0} KiB",
        requests.all(),
        grown as f64 / 1024.0
    );
    let mut measured = timed.measured(title, told);
    let figures = [
        ("saves", f64::from(saves)),
        ("requests, $", dollars),
        ("requests, $ an hour", hour),
        ("stored, bytes", grown as f64),
    ];
    measured.figures.extend(figures);
    Ok(measured)
}

/// As vim and many others: into a new file, synced, then over the old one.
fn save(folder: &Path, number: u32) -> Result<()> {
    let new = folder.join(format!(".{NAME}.new"));
    let mut file = File::create(&new)?;
    file.write_all(&text(number))?;
    file.sync_all()?;
    drop(file);
    fs::rename(new, folder.join(NAME))?;
    Ok(())
}

/// The text after so many changes: a line of it is another each time.
fn text(number: u32) -> Vec<u8> {
    let mut text = noise(u64::MAX / 2, LENGTH);
    let at = number as usize * 997 % (LENGTH - 80);
    text[at..at + 80].copy_from_slice(&noise(u64::from(number), 80));
    text
}
