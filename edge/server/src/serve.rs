//! The command `serve`: from settings to a running node, and from a signal to its end.

use crate::auth::Keys;
use crate::clock;
use crate::config::{Limits, Loaded};
use crate::data_dir::DataDir;
use crate::exit::{Failure, Kind};
use crate::host::{self, Host};
use crate::reload::Loader;
use crate::signals::{Signals, Told};
use crate::{log, node, output, set_aside};

/// Checked settings, an owned data directory and its keys.
pub struct Prepared {
    /// Settings and where they came from.
    pub loaded: Loaded,
    /// Limits for this host.
    pub limits: Limits,
    /// Held until the process ends.
    pub data_dir: DataDir,
    /// Keys for tokens and tickets.
    pub keys: Keys,
}

/// Computes the limits, takes the data directory and opens its keys, in this order, so that a
/// mistake is found before anything is written.
///
/// # Errors
/// The first step that fails.
pub fn prepare(loaded: Loaded) -> Result<Prepared, Failure> {
    let limits = Limits::compute(&loaded.config, &Host::of_this_process())?;
    let data_dir = DataDir::open(&loaded.config.data_dir)?;
    set_aside::note_crashes(data_dir.path());
    let keys = Keys::open(data_dir.path(), clock::wall_ms())?;
    Ok(Prepared { loaded, limits, data_dir, keys })
}

/// Serves until SIGTERM or SIGINT, or until it can do no more good, then leaves in order. `load`
/// reads the settings, at the start and again.
///
/// # Errors
/// The first step that fails, why it ended by itself, or what could not be made durable at the end.
pub fn serve(load: Loader) -> Result<(), Failure> {
    let host = |error| Failure::new(Kind::Host, error);
    // First of all: whatever follows may wait, for a file or for who reads the log.
    let signals = Signals::take().map_err(host)?;
    output::hand_over().map_err(host)?;
    let loaded = load()?;
    log::start(&loaded.config.log);
    host::raise_file_limit();
    ringpost_ring::self_test().map_err(|error| Failure::new(Kind::Host, error))?;
    let (node, summary) = node::start(prepare(loaded)?)?;
    output::say(&summary);
    signals.server_stands(node.stop_max());
    node.watch_ending(signals.failing());
    let reload = node.reload(load).start().map_err(host)?;
    // Ends: by a signal to stop, or a part that has failed. A round is one of what is told.
    let signal = loop {
        match signals.next() {
            Told::Reload => reload.ask(),
            Told::Stop(signal) => break Some(signal),
            Told::Failed => break None,
        }
    };
    let Some(signal) = signal else { return Err(node.stop_failed(&signals.doing())) };
    tracing::info!(signal, "stopping: clients are told to leave");
    node.stop(&signals.doing())?;
    tracing::info!("stopped; everything acknowledged is durable");
    Ok(())
}
