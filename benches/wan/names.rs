//! Many files: uploaded, listed on a new device, and under a folder that gets another name.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::content::Many;
use crate::content::Spread;
use crate::finding::Measured;
use crate::rclone::Upload;
use crate::stage::Stage;

/// Small files, until they are all in the store.
pub fn small(stage: &Stage<'_>) -> Result<Measured> {
    let many = Many {
        files: stage.plan.small,
        length: 4096,
        spread: Spread::OneFolder,
    };
    let mounted = stage.mount(Upload::AtOnce)?;
    let timed = stage.timed(&mounted, |mounted| {
        many.write(&mounted.place.join("small"))?;
        mounted.publish()
    })?;
    stage.look(mounted, &timed, |place| many.compare(&place.join("small")))?;
    let title = format!("{} files of 4 KiB until they are in the store", many.files);
    let told = format!("{:.2} s", timed.seconds);
    Ok(timed.measured(title, told))
}

/// `ls -lR` on a new device, as soon as the mount is there.
pub fn list(stage: &Stage<'_>) -> Result<Measured> {
    let many = Many {
        files: stage.plan.many,
        length: 100,
        spread: Spread::Folders,
    };
    stage.fill(|place| many.write(&place.join("many")))?;
    let before = stage.site.traffic();
    let begin = Instant::now();
    let mounted = stage.mount_restless(Upload::AtOnce)?;
    let mounting = begin.elapsed().as_secs_f64();
    let for_mount = stage.site.traffic().since(&before);
    let mut listing = String::new();
    let timed = stage.timed(&mounted, |mounted| {
        let mut ls = Command::new("ls");
        ls.args(["-lR", "--color=never"]).env("LC_ALL", "C");
        let output = ls.arg(&mounted.place).output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ls: {}", words.trim());
        listing = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Instant::now())
    })?;
    if timed.in_time {
        many.compare_listing(&listing)?;
        mounted.unmount()?;
    }
    let title = format!("`ls -lR` of {} files on a new device", many.files);
    let told = format!("{:.2} s", timed.seconds);
    let mut measured = timed.measured(title, told);
    let figures = [
        ("mount, s", mounting),
        ("mount, requests", for_mount.requests.all() as f64),
        ("mount, bytes received", for_mount.received as f64),
    ];
    measured.figures.extend(figures);
    Ok(measured)
}

/// A folder of many files gets another name.
pub fn rename(stage: &Stage<'_>) -> Result<Measured> {
    let many = Many {
        files: stage.plan.many,
        length: 100,
        spread: Spread::OneFolder,
    };
    stage.fill(|place| many.write(&place.join("before")))?;
    let mounted = stage.mount(Upload::AtOnce)?;
    let commits = stage.site.commits();
    let timed = stage.timed(&mounted, |mounted| {
        std::fs::rename(mounted.place.join("before"), mounted.place.join("after"))?;
        mounted.publish()
    })?;
    let commits = stage.site.commits() - commits;
    stage.look(mounted, &timed, |place| {
        ensure!(
            !place.join("before").exists(),
            "the folder is still where it was"
        );
        many.compare(&place.join("after"))
    })?;
    let title = format!("renaming a folder of {} files", many.files);
    let sent = timed.traffic.sent as f64 / 1024.0;
    let told = format!("{:.2} s, {sent:.0} KiB sent", timed.seconds);
    let mut measured = timed.measured(title, told);
    measured.figures.insert("commits", commits as f64);
    Ok(measured)
}
