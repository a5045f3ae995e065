//! The real binary, on a directory and ports of its own, and clients over real sockets.
//!
//! Setup: a [`rig::Node`]. Action: what clients, attackers and operators do. Expectation: what
//! PROTOCOL.md and the command line promise. Nothing here is measured in time: every wait has a
//! generous end and goes on as soon as it can. [`rig`] starts nodes, [`peer`] speaks to them,
//! [`siege`] holds what every attack must leave alone.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod abuse;
mod abuse_foreign;
mod abuse_poison;
mod abuse_replay;
mod abuse_sign_in;
mod abuse_stalls;
mod abuse_storms;
mod abuse_websocket;
mod admin;
mod backup;
mod cable;
mod clock;
mod close_reasons;
mod disk;
mod documents;
mod few_files;
mod first_sign_in;
mod foreign_library;
mod gaps;
mod host_refusals;
mod http;
mod ipv6;
mod kept;
mod kill;
mod limit_walk;
mod limits;
mod log_markers;
mod log_pipe;
mod lost_files;
mod one_answer;
mod pairings;
mod peer;
mod protocol_sentences;
mod proxies;
mod quick_start;
mod reload;
mod rig;
mod ring_health;
mod shutdown;
mod siege;
mod sign_out;
mod storage_faults;
mod stuck;
mod supervisor;
