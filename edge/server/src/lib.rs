//! The server `ringpost`: what wires wire, shard, conn, ring, journal and store into a process.
//!
//! ```text
//! config -> limits -> data directory, keys -> journal, store -> workers -> REST, admin -> boot text
//! ```
//! Owns configuration, the command line, sign-in (tokens, tickets, codes, refresh tokens), the
//! REST service, the private port and the threads. Does not own what a message means
//! (`core/shard`), how a connection speaks (`edge/conn`), or how bytes reach a disk (`storage/*`).
#![forbid(unsafe_code)]

pub mod admin;
pub mod auth;
pub mod backup;
pub mod boot;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod data_dir;
pub mod exit;
pub mod host;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod missing_rows;
pub mod node;
pub mod output;
pub mod readiness;
pub mod refusals;
pub mod reload;
pub mod rest;
pub mod rlimits;
pub mod serve;
pub mod set_aside;
pub mod signals;
pub mod supervisor;
mod try_tour;
