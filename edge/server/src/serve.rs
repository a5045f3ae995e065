//! The command `serve`: from settings to a running node, and from a signal to its end.

use crate::auth::Keys;
use crate::clock;
use crate::config::{CodeSenderKind, Config, Limits, Loaded};
use crate::data_dir::DataDir;
use crate::exit::{Failure, Kind};
use crate::host::Host;
use crate::reload::Loader;
use crate::signals::{Signals, Told};
use crate::{log, node, output, rlimits, set_aside, supervisor};

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

/// Takes the data directory and opens its keys. Limits and host were checked before, so that a
/// mistake is found before anything is written.
///
/// # Errors
/// The first step that fails.
pub fn prepare(loaded: Loaded, limits: Limits) -> Result<Prepared, Failure> {
    let data_dir = DataDir::open(&loaded.config.data_dir)?;
    set_aside::note_crashes(data_dir.path());
    let keys = Keys::open(data_dir.path(), clock::wall_ms())?;
    Ok(Prepared { loaded, limits, data_dir, keys })
}

/// Whoever can see the way between a client and this server sees tokens and who writes to whom: the
/// server speaks no TLS by itself. Who has named a proxy has one in front.
fn warn_of_listening(config: &Config) {
    if !config.trusted_proxies.is_empty() {
        return;
    }
    for address in config.listen.iter().filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(
            %address,
            "LISTENING BEYOND THIS HOST WITHOUT TLS: let clients come through a proxy that speaks it \
             (examples stand in deploy/proxy), name it in trusted_proxies, and keep everybody else \
             from this port"
        );
    }
}

/// Who has named a proxy lets others than this host in, though the server itself listens here alone: then
/// whoever reads the log signs in as anybody. The proxy may still be one for development, so it is no
/// mistake by itself.
fn warn_of_codes_in_the_log(config: &Config) {
    if config.auth.code_sender == CodeSenderKind::Log && !config.trusted_proxies.is_empty() {
        tracing::warn!(
            "CODES OF SIGN-IN GO TO THE LOG WHILE OTHERS COME IN THROUGH trusted_proxies: whoever reads \
             the log could be anybody; set auth.code_sender to \"webhook\", or to \"none\" where nobody \
             signs in by phone"
        );
    }
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
    rlimits::raise();
    let limits = Limits::compute(&loaded.config, &Host::of_this_process())?;
    rlimits::check(&loaded.config, &limits)?;
    ringpost_ring::self_test().map_err(|error| {
        Failure::new(Kind::Host, rlimits::explain_memory(error.into(), &limits))
    })?;
    warn_of_listening(&loaded.config);
    warn_of_codes_in_the_log(&loaded.config);
    let (node, summary) = node::start(prepare(loaded, limits)?)?;
    output::say(&summary);
    let (listen, admin) = (node.listen(), node.admin());
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, ?listen, %admin, "started: clients may come");
    signals.server_stands(node.stop_max());
    supervisor::ready();
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
    supervisor::stopping();
    let Some(signal) = signal else { return Err(node.stop_failed(&signals.doing())) };
    tracing::info!(signal, "stopping: clients are told to leave");
    node.stop(&signals.doing())?;
    tracing::info!("stopped; everything acknowledged is durable");
    Ok(())
}
