//! Workshop commands: `cargo xtask test`, `cargo xtask garage`, `cargo xtask bench`, `cargo xtask posix`,
//! `cargo xtask soak`, `cargo xtask python`, `cargo xtask wheel`.

mod bench;
mod garage;
mod posix;
mod python;
mod release;
mod run;
mod setup;
mod soak;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let result = match command.as_str() {
        "test" => test::run(&rest),
        "garage" => garage::run(),
        "bench" => bench::run(&rest),
        "posix" => posix::run(&rest),
        "soak" => soak::run(&rest),
        "python" => python::alone(),
        "wheel" => python::wheel(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "\
cargo xtask test [FILTER]   sets up what the tests need, then runs all of them
cargo xtask python          the tests of the Python package alone
cargo xtask wheel           the Python package for others, in target/wheels
cargo xtask garage          the S3 tests against a real Garage server, installed on demand
cargo xtask bench           speed of the parts, and beside a plain folder, the limit of FUSE and installed peers
cargo xtask bench wan       far from the store: round trips, requests and bytes, beside installed peers
cargo xtask bench growth    what a vault costs with ten thousand files, and with a million
cargo xtask bench library   the Python package beside the library it is made of, and beside rclone
cargo xtask posix           pjdfstest, fsx and fio on a mount, in full
cargo xtask soak            a long life of a mount, with its memory, handles, disk and pace watched";
