//! The drive under test: a vault, mounted by the real command.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use coffre_benches::device::Device;

use crate::plan::Plan;

/// Of the kernel's counters in one second, on every Linux.
const TICKS: f64 = 100.0;

/// A vault that is mounted.
pub struct Drive {
    device: Device,
    store: String,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The process behind the mount.
    pub pid: u32,
}

impl Drive {
    /// Mounts the vault of a run, creating it the first time.
    pub fn mount(folder: &Path, plan: &Plan) -> Result<Self> {
        let store = plan.store.as_deref();
        let local = folder.join("store");
        let store = store.map_or_else(|| local.display().to_string(), str::to_owned);
        let known = folder.join("passphrase").exists();
        let device = Device::at(folder)?;
        let mount = folder.join("mount");
        // A run that was stopped may have left its mount.
        drop(device.coffre(&["unmount", &mount.display().to_string()]));
        if !known {
            device.coffre(&["init", &store])?;
        }
        let (memory, queue) = (plan.memory.to_string(), plan.queue.to_string());
        let bounds = ["--memory", &memory, "--queue-size", &queue];
        Ok(Self {
            pid: device.mount(&store, &mount, &bounds)?,
            device,
            store,
            mount,
        })
    }

    /// Unmounts; everything is in the store then.
    pub fn unmount(&self) -> Result<()> {
        self.device
            .coffre(&["unmount", &self.mount.display().to_string()])
            .map(drop)
    }

    /// Every invariant of what is in the store.
    pub fn check(&self) -> Result<()> {
        self.device.coffre(&["check", &self.store]).map(drop)
    }

    /// Seconds of a processor that the process behind the mount has taken.
    pub fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS
    }

    /// Journal, open packs, outbox.
    pub fn state(&self) -> PathBuf {
        self.device.state()
    }

    pub fn cache(&self) -> PathBuf {
        self.device.cache()
    }

    /// The store, where it is a folder.
    pub fn local_store(&self) -> Option<PathBuf> {
        Some(PathBuf::from(&self.store)).filter(|path| path.is_absolute())
    }
}
