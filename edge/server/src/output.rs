//! The one place that writes to standard output and standard error.
//!
//! Everything else returns text or logs. A closed pipe (`ringpost check-config | head`) is not an
//! error of the command.
//!
//! A command writes itself and may wait for its reader. A server may not: [`hand_over`] gives both
//! streams to threads of their own ([`Lines`]), and from then on no other thread ever waits for who
//! reads them; what a panic says goes the same way. [`flush`] gives them a bounded time at the end.
//!
//! Not `tracing-appender`: its guard, which alone flushes, belongs to one owner, and a forced end, an
//! abort and an ordinary end each need it; and with a full queue it prints to standard output, which
//! may be such a pipe as well.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::lines::Lines;

/// How long the end of the process may wait for who reads its streams.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The streams, once they are handed over.
static STANDARD_OUTPUT: OnceLock<Lines> = OnceLock::new();
static STANDARD_ERROR: OnceLock<Lines> = OnceLock::new();

/// Writes a block of text to standard output, with a line end.
pub fn say(text: &str) {
    write(&STANDARD_OUTPUT, io::stdout(), &format!("{}\n", text.trim_end()));
}

/// Writes why the command failed to standard error, with a line end.
pub fn complain(text: &str) {
    write(&STANDARD_ERROR, io::stderr(), &format!("ringpost: {}\n", text.trim_end()));
}

fn write(stream: &OnceLock<Lines>, mut direct: impl Write, text: &str) {
    match stream.get() {
        Some(lines) => lines.offer(text.as_bytes()),
        None => {
            let _ = direct.write_all(text.as_bytes());
        }
    }
}

/// From here on only two threads write, one for each stream. A second call does nothing.
///
/// # Errors
/// If the system gives no thread or no descriptor.
pub fn hand_over() -> io::Result<()> {
    if STANDARD_ERROR.get().is_some() {
        return Ok(());
    }
    // Descriptors of their own: the streams of the library have locks, which a write would hold.
    let file = |stream: &dyn AsFd| stream.as_fd().try_clone_to_owned().map(File::from);
    let tell = |lines| tracing::error!(lines, "lines of the log were lost: nobody read them");
    let errors = Lines::start("stderr", file(&io::stderr())?, tell)?;
    let summary = Lines::start("stdout", file(&io::stdout())?, |_| {})?;
    let _ = (STANDARD_ERROR.set(errors), STANDARD_OUTPUT.set(summary));
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let mut text = format!("\nthread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>"));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{backtrace}\n"));
        }
        write(&STANDARD_ERROR, io::sink(), &text);
        // The process aborts behind the hook.
        flush();
    }));
    Ok(())
}

/// Waits until all is written, for a second at most. To be called before the process ends.
pub fn flush() {
    for stream in [&STANDARD_ERROR, &STANDARD_OUTPUT] {
        if let Some(lines) = stream.get() {
            lines.flush(FLUSH_MAX / 2);
        }
    }
}

/// Lines for standard error that nobody will read.
pub fn lines_lost() -> u64 {
    STANDARD_ERROR.get().map_or(0, Lines::lost)
}

/// Takes lines of the log, each in one write.
#[derive(Clone, Copy, Debug)]
pub struct LogLine;

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match STANDARD_ERROR.get() {
            Some(lines) => lines.offer(line),
            // Whoever logs without having handed over is no server, and waits.
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
