//! Where one scenario is played: one system on a store of its own at the end of a line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use coffre_benches::device::drop_caches;

use crate::finding::Measured;
use crate::mounted::Mounted;
use crate::mounted::Within;
use crate::plan::Plan;
use crate::plan::Route;
use crate::rclone::Upload;
use crate::site::Site;
use crate::site::Traffic;
use crate::systems::How;
use crate::systems::Over;
use crate::systems::System;

/// A system on an empty store.
pub struct Stage<'a> {
    pub plan: &'a Plan,
    pub route: Route,
    pub system: System,
    pub site: Site,
    folder: &'a Path,
}

/// Work that was timed.
pub struct Timed {
    pub seconds: f64,
    pub in_time: bool,
    pub traffic: Traffic,
}

impl<'a> Stage<'a> {
    /// Devices keep their things in `folder`.
    pub fn set(plan: &'a Plan, route: Route, system: System, folder: &'a Path) -> Result<Self> {
        let site = Site::open(route.line)?;
        system.create(&site, folder)?;
        Ok(Self {
            plan,
            route,
            system,
            site,
            folder,
        })
    }

    /// Fills the store, past the line.
    pub fn fill(&self, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let mounted = self.mount_with("filler", Over::Nothing, Upload::AtOnce)?;
        work(&mounted.place).context("filling the store")?;
        mounted.unmount()
    }

    /// A mount on a device that was not used yet, at rest, with cold caches.
    pub fn mount(&self, upload: Upload) -> Result<Mounted> {
        let mounted = self.mount_restless(upload)?;
        self.site.settle();
        drop_caches();
        Ok(mounted)
    }

    /// The same as soon as it is there.
    pub fn mount_restless(&self, upload: Upload) -> Result<Mounted> {
        self.mount_with("new", Over::Line, upload)
    }

    /// Does and times it, until the moment that it answers; gives it up when the plan's patience is at its end.
    pub fn timed(
        &self,
        mounted: &Mounted,
        work: impl FnOnce(&Mounted) -> Result<Instant>,
    ) -> Result<Timed> {
        self.timed_for(self.plan.patience, mounted, work)
    }

    /// As [`Stage::timed`], with a patience of its own.
    pub fn timed_for(
        &self,
        patience: Duration,
        mounted: &Mounted,
        work: impl FnOnce(&Mounted) -> Result<Instant>,
    ) -> Result<Timed> {
        let before = self.site.traffic();
        let begin = Instant::now();
        let (end, in_time) = match mounted.within(patience, work)? {
            Within::Done(end) => (end, true),
            Within::TooLong => (Instant::now(), false),
        };
        Ok(Timed {
            seconds: (end - begin).as_secs_f64(),
            in_time,
            traffic: self.site.traffic().since(&before),
        })
    }

    /// Unmounts, and looks at the store from yet another device: what is not there makes the figures worthless.
    pub fn look(
        &self,
        mounted: Mounted,
        timed: &Timed,
        work: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        if !timed.in_time {
            return Ok(());
        }
        mounted.unmount()?;
        let looking = self.mount_with("looker", Over::Nothing, Upload::AtOnce)?;
        work(&looking.place).context("looking at the store from another device")?;
        looking.unmount()
    }

    fn mount_with(&self, device: &str, over: Over, upload: Upload) -> Result<Mounted> {
        let how = How {
            device,
            over,
            upload,
        };
        self.system.mount(&self.site, self.folder, how)
    }
}

impl Timed {
    /// As it is told.
    pub fn measured(self, title: String, told: String) -> Measured {
        let told = match self.in_time {
            true => told,
            false => format!("not done in {:.0} s", self.seconds),
        };
        Measured {
            title,
            seconds: self.seconds,
            in_time: self.in_time,
            told,
            figures: BTreeMap::new(),
            traffic: self.traffic,
        }
    }
}
