//! The log: structured lines on standard error, as text or JSON.
//!
//! Values are escaped by the formatter, so that no client can forge a line. No content, token or
//! phone number is ever given to it.

use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{Handle, Layer as Reloaded};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat, LogLevel};
use crate::output::LogLine;
use crate::reload;

/// What is written of the process's log, once it has started.
static WRITTEN: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Starts writing. A second call does nothing.
pub fn start(settings: &Log) {
    let (ours, handle) = Reloaded::new(targets(settings.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogLine)
        // What cannot be formatted would be told on standard error by the thread that logs.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false);
    let lines = match settings.format {
        LogFormat::Text => lines.with_filter(ours).boxed(),
        LogFormat::Json => lines.json().with_filter(ours).boxed(),
    };
    // Fails only where a log was started before: then that one goes on.
    if tracing_subscriber::registry().with(lines).try_init().is_ok() {
        let _ = WRITTEN.set(handle);
    }
}

/// From here on writes lines of this level and worse. Does nothing where no log was started.
pub fn set_level(level: LogLevel) {
    if let Some(written) = WRITTEN.get() {
        // Fails only where the log is gone, and it stays until the process ends.
        let _ = written.reload(targets(level));
    }
}

/// Whether a log was started.
pub fn is_started() -> bool {
    WRITTEN.get().is_some()
}

/// What answers an operator's signal is written at every level. Libraries log what they parse, at `debug` a peer's bytes among it: of them, warnings only.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("ringpost", level)
        .with_target(reload::TARGET, level.max(LevelFilter::INFO))
}
