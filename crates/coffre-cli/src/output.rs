//! What people and scripts see: text or JSON on standard output, notes and progress on standard error.

use std::fmt::Display;
use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use serde::Serialize;

use crate::exit;

/// Where and how results are shown.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// `json`: one object, or one per line; `quiet`: neither notes nor progress.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether scripts are listening.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line of the result, for people; nothing in JSON.
    pub fn line(&self, text: impl Display) {
        if !self.json {
            write_line(&text.to_string());
        }
    }

    /// An object of the result, for scripts; nothing otherwise.
    pub fn object(&self, value: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string(value).expect("results are plain data");
            write_line(&text);
        }
    }

    /// A remark beside the result, on standard error.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            say(&text.to_string());
        }
    }

    /// Why it failed, on standard error.
    pub fn error(&self, error: &anyhow::Error, code: u8) {
        let message = exit::message(error);
        if self.json {
            say(&serde_json::json!({ "error": message, "code": code }).to_string());
        } else {
            say(&format!("coffre: {message}"));
        }
    }

    /// A bar that counts bytes; shown on a terminal only. A total of 0 is "not known".
    pub fn bytes_bar(&self, total: u64, what: &'static str) -> ProgressBar {
        let template = if total == 0 {
            "{msg} {bytes} {binary_bytes_per_sec}"
        } else {
            "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}"
        };
        self.bar(total, what, template)
    }

    /// A bar that counts things.
    pub fn count_bar(&self, what: &'static str) -> ProgressBar {
        self.bar(1, what, "{msg} {wide_bar} {pos}/{len} {eta}")
    }

    /// A line that says what is being waited for.
    pub fn spinner(&self, what: &'static str) -> ProgressBar {
        self.bar(0, what, "{spinner} {msg}")
    }

    fn bar(&self, total: u64, what: &'static str, template: &str) -> ProgressBar {
        let shown = !self.json && !self.quiet && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let length = (total > 0).then_some(total);
        let bar = ProgressBar::with_draw_target(length, target).with_message(what);
        bar.set_style(ProgressStyle::with_template(template).expect("templates are constant"));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}

/// A reader that has gone away (`| head`) is no error; there is nobody to tell.
fn write_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// A terminal that was closed is no reason to end before everything is in the journal.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes what can be written: nobody is told that a log's terminal is gone.
pub struct Patient<W>(pub W);

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// Writes a whole text to standard output.
pub fn pipe(text: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
