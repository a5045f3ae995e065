//! The deterministic world: the real shard, workers, codecs, journal and applier over a simulated
//! network, disk and clock, a fleet of clients that retry, forget and stall, and checkers that hold
//! the promise against what can be seen from outside. One seed replays a run.
//!
//! ```text
//!   world -- node -- driver: Worker over FakeRing     device (fleet) -- observed --> checkers
//!     |       '----- tier: Journal, Applier, Tables        |                          trace
//!     '- disk, clock, chance ------------------------------'
//! ```
//!
//! What stands outside: the threads of journal and store, REST, sign-in by code and the kernel's
//! ring. They are run by the tests of the real binary.
#![forbid(unsafe_code)]

mod chance;
mod checkers;
mod credentials;
mod device;
mod disk;
mod driver;
mod node;
mod observed;
mod options;
mod planted;
mod tier;
mod trace;
mod world;

pub use observed::{DeviceKey, Observed, Violation};
pub use options::Options;
pub use planted::Planted;
pub use world::{Counts, Outcome, run};
