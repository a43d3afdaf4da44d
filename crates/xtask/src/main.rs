//! Workshop commands: `cargo xtask test`, `cargo xtask garage`, `cargo xtask peers`, `cargo xtask posix`,
//! `cargo xtask soak`.

mod garage;
mod peers;
mod posix;
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
        "peers" => peers::run(&rest),
        "posix" => posix::run(&rest),
        "soak" => soak::run(&rest),
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
cargo xtask garage          the S3 tests against a real Garage server, installed on demand
cargo xtask peers           speed beside a plain folder and gocryptfs, in one run
cargo xtask posix           pjdfstest, fsx and fio on a mount, in full
cargo xtask soak            a long life of a mount, with its memory, handles, disk and pace watched";
