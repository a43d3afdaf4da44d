//! What goes wrong: kills, power cuts, disks, networks and stores that fail or lie.

mod cache_faults;
mod crash;
mod crowded;
mod damage;
mod disk_errors;
mod disk_full;
mod faults;
mod hostile;
mod local_damage;
mod outage;
mod power;
mod queue;
mod slow_disk;
mod storms;
mod unkind;
