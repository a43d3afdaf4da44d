//! One run of one system: everything that is asked for, first as it comes, then remounted with cold caches.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;

use crate::big;
use crate::durable;
use crate::durable::Sustained;
use crate::mounting;
use crate::programs;
use crate::random;
use crate::random::Range;
use crate::rest::drop_caches;
use crate::rest::rest;
use crate::sizes::Sizes;
use crate::small;
use crate::sources::Sources;
use crate::sqlite;
use crate::sqlite::Journal;
use crate::system::System;
use crate::workload::Group;
use crate::workload::Workload;

/// What all runs have in common.
pub struct Plan {
    pub sizes: Sizes,
    pub sources: Sources,
    pub groups: Vec<Group>,
}

/// Measures a fresh file system in `folder`, as far as it comes. What it cannot do is told and left out.
pub fn run(system: System, folder: &Path, plan: &Plan) -> Vec<(Workload, f64)> {
    let mut run = Run {
        system,
        folder,
        plan,
        mount: folder.join("mount"),
        figures: Vec::new(),
    };
    if let Err(error) = run.all() {
        run.tell("going on", &error);
        mounting::abandon(folder);
    }
    run.figures
}

struct Run<'a> {
    system: System,
    folder: &'a Path,
    plan: &'a Plan,
    mount: PathBuf,
    figures: Vec<(Workload, f64)>,
}

impl Run<'_> {
    fn all(&mut self) -> Result<()> {
        let groups = &self.plan.groups;
        mounting::create(self.system, self.folder)?;
        mounting::mount(self.system, self.folder)?;
        groups.iter().for_each(|group| self.warm(*group));
        self.cool()?;
        groups.iter().for_each(|group| self.cold(*group));
        mounting::unmount(self.system, self.folder)
    }

    fn warm(&mut self, group: Group) {
        use Workload::*;
        let (plan, keeps) = (self.plan, self.system.keeps_content());
        let (sizes, sources) = (&plan.sizes, &plan.sources);
        match group {
            Group::Big => {
                self.measure(SequentialWrite, |mount| big::write(mount, sizes));
                self.measure(SequentialReadWarm, |mount| big::read(mount, sizes));
            }
            Group::Small => {
                self.measure(Create, |mount| small::create(mount, sizes));
                self.measure(StatWarm, |mount| small::stat(mount, sizes));
                self.measure(Rename, |mount| small::rename(mount, sizes));
                self.prepare(|mount| small::plant_tree(mount, sizes));
            }
            Group::Random => {
                self.prepare(|mount| random::prepare(mount, sizes, Range::Narrow));
                self.measure(RandomWrite, |mount| random::write(mount, sizes));
                self.prepare(|mount| random::prepare(mount, sizes, Range::Wide));
            }
            Group::Sync => {
                self.measure(Fsync, |mount| durable::fsync(mount, sizes));
                self.sustain(FsyncSustained, FsyncStall, |mount| {
                    durable::fsync_sustained(mount, sizes)
                });
            }
            Group::Sqlite => {
                for (journal, once, long, stall) in [
                    (Journal::Wal, SqliteWal, SqliteWalSustained, SqliteWalStall),
                    (
                        Journal::Rollback,
                        SqliteRollback,
                        SqliteRollbackSustained,
                        SqliteRollbackStall,
                    ),
                ] {
                    self.measure(once, |mount| sqlite::transactions(mount, journal, sizes));
                    self.sustain(long, stall, |mount| {
                        sqlite::sustained(mount, journal, sizes)
                    });
                }
            }
            Group::Tree if keeps => self.measure(Untar, |mount| programs::untar(mount, sources)),
            Group::Git if keeps => {
                self.measure(GitClone, |mount| programs::clone(mount, sources));
                self.measure(GitStatusWarm, |mount| programs::status_warm(mount, sources));
            }
            Group::Cargo if keeps => self.measure(CargoBuild, programs::build),
            Group::Tree | Group::Git | Group::Cargo => {}
        }
    }

    fn cold(&mut self, group: Group) {
        use Workload::*;
        let (plan, keeps) = (self.plan, self.system.keeps_content());
        let (sizes, sources) = (&plan.sizes, &plan.sources);
        match group {
            Group::Big => self.measure(SequentialReadCold, |mount| big::read(mount, sizes)),
            Group::Small => {
                self.measure(ListCold, |mount| small::list(mount, sizes));
                self.measure(ReadSmallCold, |mount| small::read(mount, sizes));
                self.measure(Unlink, |mount| small::unlink(mount, sizes));
                self.measure(RemoveTree, |mount| small::remove_tree(mount, sizes));
            }
            Group::Random => {
                self.measure(RandomReadNarrow, |mount| {
                    random::read(mount, sizes, Range::Narrow)
                });
                self.measure(RandomReadWide, |mount| {
                    random::read(mount, sizes, Range::Wide)
                });
            }
            Group::Tree if keeps => self.measure(GrepCold, programs::grep),
            Group::Git if keeps => {
                self.measure(GitStatusCold, |mount| programs::status_cold(mount, sources));
            }
            Group::Tree | Group::Git | Group::Sync | Group::Sqlite | Group::Cargo => {}
        }
    }

    /// What was written is read next from where it was put.
    fn cool(&mut self) -> Result<()> {
        self.rest();
        // What the null file system knows is gone with its process.
        if self.system.keeps_content() {
            mounting::unmount(self.system, self.folder)?;
            drop_caches();
            mounting::mount(self.system, self.folder)?;
        } else {
            drop_caches();
        }
        Ok(())
    }

    fn rest(&self) {
        rest(self.system, self.folder, self.plan.sizes.rest);
    }

    fn measure(&mut self, workload: Workload, work: impl FnOnce(&Path) -> Result<f64>) {
        self.rest();
        match work(&self.mount) {
            Ok(figure) => self.figures.push((workload, figure)),
            Err(error) => self.tell(workload.name(), &error),
        }
    }

    fn sustain(
        &mut self,
        rate: Workload,
        stall: Workload,
        work: impl FnOnce(&Path) -> Result<Sustained>,
    ) {
        self.rest();
        match work(&self.mount) {
            Ok(shown) => self
                .figures
                .extend([(rate, shown.rate), (stall, shown.stall)]),
            Err(error) => self.tell(rate.name(), &error),
        }
    }

    fn prepare(&mut self, work: impl FnOnce(&Path) -> Result<()>) {
        if let Err(error) = work(&self.mount) {
            self.tell("preparing", &error);
        }
    }

    fn tell(&self, what: &str, error: &anyhow::Error) {
        eprintln!("{}: {what} failed: {error:#}", self.system.name());
    }
}
