//! What a server needs before it can open a door: limits, data directory, keys.

use crate::auth::Keys;
use crate::clock;
use crate::config::{Limits, Loaded};
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::host;

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
    let limits = Limits::compute(&loaded.config, host::cores(), host::memory())?;
    let data_dir = DataDir::open(&loaded.config.data_dir)?;
    let keys = Keys::open(data_dir.path(), clock::wall_ms())?;
    Ok(Prepared { loaded, limits, data_dir, keys })
}
