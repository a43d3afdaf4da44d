//! A large file: written, read in order, and read here and there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::content::noise;
use crate::content::of_large;
use crate::content::read_large;
use crate::content::write_large;
use crate::finding::Measured;
use crate::rclone::Upload;
use crate::stage::Stage;
use crate::stage::Timed;

const NAME: &str = "large";
/// What a program reads at once, in bytes.
const PAGE: u64 = 4096;
/// One read at most falls into each of these parts of the file, in bytes: what one fetches shall help no other.
const PART: u64 = 256 << 10;

/// Round trips that the median read takes, without the time in which its bytes are carried.
pub const ROUND_TRIPS: &str = "round trips";
/// What a read receives.
pub const BYTES: &str = "bytes per read";
/// What a read asks.
pub const REQUESTS: &str = "requests per read";
/// Content carried, over what the line could have carried in that time.
pub const SHARE: &str = "share of the line";

/// Written, until it is in the store.
pub fn write(stage: &Stage<'_>) -> Result<Measured> {
    let mebibytes = stage.route.large;
    let mounted = stage.mount(Upload::AtOnce)?;
    let timed = stage.timed(&mounted, |mounted| {
        write_large(&mounted.place.join(NAME), mebibytes)?;
        mounted.publish()
    })?;
    stage.look(mounted, &timed, |place| {
        read_large(&place.join(NAME), mebibytes)
    })?;
    let title = format!("writing {mebibytes} MiB until they are in the store");
    Ok(of_the_line(stage, title, timed))
}

/// Read in order on a new device.
pub fn read(stage: &Stage<'_>) -> Result<Measured> {
    let mebibytes = stage.route.large;
    stage.fill(|place| write_large(&place.join(NAME), mebibytes))?;
    let mounted = stage.mount(Upload::AtOnce)?;
    let timed = stage.timed(&mounted, |mounted| {
        read_large(&mounted.place.join(NAME), mebibytes)?;
        Ok(Instant::now())
    })?;
    if timed.in_time {
        mounted.unmount()?;
    }
    let title = format!("reading {mebibytes} MiB on a new device");
    Ok(of_the_line(stage, title, timed))
}

/// Read here and there on a new device, one read after the other.
pub fn random(stage: &Stage<'_>) -> Result<Measured> {
    let mebibytes = stage.route.large;
    stage.fill(|place| write_large(&place.join(NAME), mebibytes))?;
    let mounted = stage.mount(Upload::AtOnce)?;
    let file = File::open(mounted.place.join(NAME))?;
    // What opening has set in motion belongs to no read.
    stage.site.settle();
    let mut latencies = Vec::new();
    let before = stage.site.traffic();
    let mut timed = stage.timed(&mounted, |_| {
        for place in places(mebibytes << 20, stage.plan.reads) {
            let mut page = vec![0; PAGE as usize];
            let begin = Instant::now();
            file.read_exact_at(&mut page, place)?;
            latencies.push(begin.elapsed().as_secs_f64());
            ensure!(
                page == of_large(place, page.len()),
                "byte {place} is another"
            );
        }
        Ok(Instant::now())
    })?;
    // What the last read has set in motion belongs to the reads.
    stage.site.settle();
    timed.traffic = stage.site.traffic().since(&before);
    drop(file);
    if timed.in_time {
        mounted.unmount()?;
    }
    Ok(of_reads(stage, latencies, timed))
}

fn of_reads(stage: &Stage<'_>, mut latencies: Vec<f64>, timed: Timed) -> Measured {
    latencies.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = (latencies.len() as f64 * share) as usize;
        latencies.get(at).copied().unwrap_or(f64::NAN)
    };
    let reads = latencies.len() as f64;
    let line = stage.route.line;
    let bytes = timed.traffic.received as f64 / reads;
    // Listings are those of a mount that looks for other devices.
    let requests = timed.traffic.requests.at_the_price_of_get() as f64 / reads;
    let carrying = bytes * 8.0 / line.bits_per_second as f64;
    let round_trips = |seconds: f64| seconds / line.round_trip.as_secs_f64();
    let median = quantile(0.5);
    let title = format!(
        "{reads:.0} reads of 4 KiB in {} MiB on a new device",
        stage.route.large
    );
    let told = format!(
        "median {:.1} ms = {:.2} round trips, {:.2} without the bytes; {requests:.2} requests and {:.0} KiB each",
        median * 1e3,
        round_trips(median),
        round_trips(median - carrying),
        bytes / 1024.0
    );
    let mut measured = timed.measured(title, told);
    measured.figures.extend([
        ("median, s", median),
        ("95 %, s", quantile(0.95)),
        ("median ÷ round trip", round_trips(median)),
        (ROUND_TRIPS, round_trips(median - carrying)),
        (BYTES, bytes),
        (REQUESTS, requests),
    ]);
    measured
}

fn of_the_line(stage: &Stage<'_>, title: String, timed: Timed) -> Measured {
    let bytes = (stage.route.large << 20) as f64;
    let bits_per_second = bytes * 8.0 / timed.seconds;
    let share = bits_per_second / stage.route.line.bits_per_second as f64;
    let told = format!(
        "{:.0} Mbit/s, {share:.2} of the line",
        bits_per_second / 1e6
    );
    let mut measured = timed.measured(title, told);
    if measured.in_time {
        measured.figures.insert(SHARE, share);
    }
    measured
}

/// Pages of a file without an order, each in a part of its own.
fn places(length: u64, most: u64) -> Vec<u64> {
    let mut parts: Vec<u64> = (0..length / PART).collect();
    parts.sort_by_key(|part| noise(*part, 8));
    let pages = parts.iter().take(most as usize).map(|part| {
        let page = u64::from(noise(*part, 9)[8]) % (PART / PAGE);
        part * PART + page * PAGE
    });
    pages.collect()
}
