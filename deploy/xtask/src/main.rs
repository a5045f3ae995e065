//! `cargo xtask`: every task of the repository, in Rust, so that a clone needs nothing but Cargo.
//!
//! This file owns the command line; each task is a module with its own `Args` and `run`. A task
//! finds the repository by itself and may be started in any folder of it. Tasks print to the
//! terminal, which no library of the workspace may.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a tool for the terminal: what it prints is its output")]

mod dist;
mod doors;
mod fleet;
mod fuzz;
mod gate;
mod hostile;
mod micro;
mod passage;
mod peers;
mod powercut;
mod seeded;
mod server;
mod sim;
mod smoke;
mod step;
mod tools;
mod torture;
mod tour;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The tasks of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the whole gate: what must pass before a change lands.
    Test(gate::Args),
    /// Run seeds of the deterministic world, and see whether a promise breaks.
    Sim(sim::Args),
    /// Count the instructions of the hot path, and compare them with the committed numbers.
    Micro(micro::Args),
    /// Install the servers that `ringpost-bench compare` measures, below target/peers.
    Peers(peers::Args),
    /// Build the binary that is shipped, stripped, and print its size.
    Dist(dist::Args),
    /// Put other people's proxies in front of the server, and other people's clients.
    Doors(doors::Args),
    /// Give hostile bytes to everything that reads bytes, by coverage.
    Fuzz(fuzz::Args),
    /// Cut the power of the server's disk under its clients, again and again.
    Powercut(powercut::Args),
    /// Run the guard of `ringpost-bench`: what an idle connection and a message may cost.
    Smoke(smoke::Args),
    /// Kill the server under its clients, again and again, and count what it kept.
    Torture(torture::Args),
    /// Run the tour of the binary; docs/TOUR.md has what it prints.
    Tour(tour::Args),
}

fn main() -> anyhow::Result<()> {
    let repository = &repository();
    match Cli::parse().task {
        Task::Test(args) => gate::run(&args, repository),
        Task::Sim(args) => sim::run(&args, repository),
        Task::Micro(args) => micro::run(&args, repository),
        Task::Peers(args) => peers::run(&args, repository),
        Task::Dist(args) => dist::run(&args, repository),
        Task::Doors(args) => doors::run(&args, repository),
        Task::Fuzz(args) => fuzz::run(&args, repository),
        Task::Powercut(args) => powercut::run(&args, repository),
        Task::Smoke(args) => smoke::run(&args, repository),
        Task::Torture(args) => torture::run(&args, repository),
        Task::Tour(args) => tour::run(&args, repository),
    }
}

/// The root of the repository that Cargo was called in. Cargo says it when it runs this: the binary
/// may have been built for another checkout with which it shares a target folder.
fn repository() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = package.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = package.ancestors().nth(2).expect("this crate stands two folders below the root");
    root.to_owned()
}
