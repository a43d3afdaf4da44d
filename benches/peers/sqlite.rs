//! SQLite, by its own program: each insertion a transaction of its own, with `synchronous=FULL`.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::content::per_second;
use crate::durable::Sustained;
use crate::durable::sustain;
use crate::sizes::Sizes;

/// How a transaction is made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    Wal,
    Rollback,
}

const INSERT: &str = "INSERT INTO t (v) VALUES ('the value of a row');\n";

/// All in one script.
pub fn transactions(mount: &Path, journal: Journal, sizes: &Sizes) -> Result<f64> {
    let mut session = Session::begin(mount, journal, "")?;
    let count = sizes.operations / 2;
    let script = INSERT.repeat(count);
    let begin = Instant::now();
    session.run(&script)?;
    let figure = per_second(count, begin);
    session.end()?;
    Ok(figure)
}

/// One after the other, each timed.
pub fn sustained(mount: &Path, journal: Journal, sizes: &Sizes) -> Result<Sustained> {
    let mut session = Session::begin(mount, journal, "-sustained")?;
    let shown = sustain(sizes.sustained, || session.run(INSERT))?;
    session.end()?;
    Ok(shown)
}

/// The program at work on a database of its own.
struct Session {
    child: Child,
    input: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Session {
    fn begin(mount: &Path, journal: Journal, suffix: &str) -> Result<Self> {
        let (name, mode) = match journal {
            Journal::Wal => ("wal", "WAL"),
            Journal::Rollback => ("rollback", "DELETE"),
        };
        let mut child = Command::new("sqlite3")
            .arg("-bail")
            .arg(mount.join(format!("{name}{suffix}.db")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start sqlite3")?;
        let input = child.stdin.take().context("its input is piped")?;
        let told = child.stdout.take().context("its output is piped")?;
        let mut session = Self {
            child,
            input,
            told: BufReader::new(told),
        };
        session.run(&format!(
            ".output /dev/null\nPRAGMA journal_mode={mode};\n.output\nPRAGMA synchronous=FULL;\n\
             CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT);\n"
        ))?;
        Ok(session)
    }

    /// Returns when all of it is done.
    fn run(&mut self, statements: &str) -> Result<()> {
        self.input.write_all(statements.as_bytes())?;
        self.input.write_all(b".print done\n")?;
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        ensure!(line == "done\n", "sqlite3 says {line:?}");
        Ok(())
    }

    fn end(self) -> Result<()> {
        let Self {
            mut child, input, ..
        } = self;
        drop(input);
        let status = child.wait()?;
        ensure!(status.success(), "sqlite3: {status}");
        Ok(())
    }
}
