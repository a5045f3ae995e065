//! Configuration: one TOML file, environment `RINGPOST_*`, flags, in this order.
//!
//! ```text
//! defaults -> file -> environment -> flags   layers     every key known, every value well formed
//!                       |
//!                     Config                 check      every value in range, no contradiction
//!                       |
//!                     Limits                 limits     computed once; the sum of memory fits
//! ```
//! Invariant: nothing behind this module reads a file, the environment or a flag for a setting.

mod address;
mod check;
mod layers;
mod limits;
mod parts;
mod problem;
pub mod quantity;
mod sections;

pub use check::{SEGMENT_BYTES, WORKERS_MAX, check};
pub use layers::{ENV_FILE, ENV_PREFIX, Loaded, Origin, Sources, env_name, keys, load, values};
pub use limits::{Limits, LimitsError, MemoryLine};
pub use problem::{ConfigError, Mistake, Problem};
pub use sections::{
    Admin, Auth, CodeSenderKind, Config, Journal, JournalDevice, LimitKeys, Log, LogFormat,
    LogLevel, Provision, Rest, Store,
};

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
