//! The deterministic world: the real server code over a simulated network, disk and clock.
//!
//! One thread, virtual time, and one seed for every choice: the same seed is the same run, so that
//! a failure is replayed by its number. It runs the real shard, connections, codecs, driver of a
//! worker, journal logic, recovery and applier. Simulated are sockets (`network`, over the fake
//! ring), the disk (`disk`), the threads of the storage tier (`storage`), the clocks (`clock`) and
//! the clients (`clients`). What they do is seen from outside as facts (`fact`), and judged by
//! `checkers`, which know nothing else.
//!
//! After TigerBeetle's VOPR and FoundationDB's simulation.
#![forbid(unsafe_code)]

mod checkers;
mod clients;
mod clock;
mod content;
mod desk;
mod dice;
mod disk;
mod fact;
mod front_desk;
mod fuse;
mod mailboxes;
mod network;
mod options;
mod outage;
mod plant;
mod process;
mod reads;
mod regressions;
mod rings;
mod run;
mod speech;
mod storage;
mod tokens;
mod trace;
mod world;

pub use checkers::Violation;
pub use options::Options;
pub use plant::Plant;
pub use regressions::REGRESSIONS;
pub use run::{Failure, Outcome, doublecheck, run, running};
pub use world::Met;
