//! The log: structured lines on standard error, as text or JSON.
//!
//! Values are escaped by the formatter, so that no client can forge a line. No content, token or
//! phone number is ever given to it.

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat, LogLevel};

/// Starts writing. A second call does nothing.
pub fn start(settings: &Log) {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Libraries log what they parse, at `debug` a peer's bytes among it: of them, warnings only.
    let ours =
        Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("ringpost", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    let lines = match settings.format {
        LogFormat::Text => lines.with_filter(ours).boxed(),
        LogFormat::Json => lines.json().with_filter(ours).boxed(),
    };
    // Fails only where a log was started before: then that one goes on.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}
