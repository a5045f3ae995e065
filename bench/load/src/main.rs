//! `ringpost-bench`: ringpost, its peers and the physical floor under the same load.
//!
//! ```text
//!   cli -> scenario -> peer (a server's process on its core)      -> verdict -> report
//!                  \-> fleet (clients on the ring, the other core) -> ledger, latency
//! ```
//! A leaf: it uses what it measures with, and nothing uses it. What it claims can be checked:
//! each message is stamped and counted, latency counts from the intended time, and a run whose
//! times mean nothing says so.
#![forbid(unsafe_code)]

mod arrival;
mod cli;
mod command;
mod compare;
mod dialect;
mod exit;
mod fleet;
mod floor;
mod guard;
mod latency;
mod ledger;
mod measure;
mod peer;
mod progress;
mod report;
mod scenario;
mod stamp;
mod terminal;
mod tie;
mod tungstenite;
mod verdict;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match command::run(&cli::Cli::parse()) {
        Ok(outcome) => outcome.code(),
        Err(error) => {
            terminal::complain(&error);
            exit::code_of(&error)
        }
    }
}
