//! The command and the mount, as users and their programs meet them.

mod cli;
mod doctor;
mod memory;
mod mount;
mod posix;
mod process;
mod real;
mod service;
mod terminals;
mod unmounted;
