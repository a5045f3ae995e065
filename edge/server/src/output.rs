//! The one place that writes to standard output and standard error for people.
//!
//! Everything else returns text or logs. A closed pipe (`ringpost check-config | head`) is not an
//! error of the command.

use std::io::Write;

/// Writes a block of text to standard output, with a line end.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}

/// Writes why the command failed to standard error, with a line end.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ringpost: {}", text.trim_end());
}
