//! `ringpost-sim`: runs seeds until a promise breaks, the seeds are done, or the time is over.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a tool for the terminal: what it prints is its output")]

use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use ringpost_sim::{Met, Options, Plant, REGRESSIONS, doublecheck, run, running};

/// Runs the real server in a simulated world, and says which promise broke, if one did.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim", version)]
struct Cli {
    /// This seed, or the first of `--seeds`.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds; 1 unless `--minutes` is given.
    #[arg(long)]
    seeds: Option<u64>,
    /// Go on with the next seeds for so long.
    #[arg(long)]
    minutes: Option<u64>,
    /// Run each seed twice and compare everything that happened.
    #[arg(long)]
    doublecheck: bool,
    /// Run the seeds that once broke something, each twice.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "minutes"])]
    regressions: bool,
    /// Commit a fault on purpose: the run must fail.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Lines of the trace that a report shows.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Threads; each runs a seed of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
}

struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    failed: AtomicBool,
    met: Mutex<Met>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let inherited = std::panic::take_hook();
    // Where a panic aborts, this is the last that is heard of the run.
    std::panic::set_hook(Box::new(move |panic| {
        inherited(panic);
        if let Some((command, lines)) = running() {
            println!("{}\nthe code under test panicked; replay it by: {command}", lines.join("\n"));
        }
    }));
    if cli.regressions {
        println!("{} seeds that once broke something, commit {}", REGRESSIONS.len(), commit());
    } else {
        println!("seeds from {}, commit {}", cli.seed, commit());
    }
    let begun = Instant::now();
    let progress = Progress {
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        met: Mutex::new(Met::default()),
    };
    thread::scope(|scope| {
        for _ in 0..cli.jobs {
            scope.spawn(|| work(&cli, &progress, begun));
        }
    });
    let done = progress.done.load(Ordering::Relaxed);
    let met = *progress.met.lock().expect("no thread panics while it holds the sum");
    let hours = begun.elapsed().as_secs_f64() / 3_600.0;
    println!("{done} seeds in {:.1} s, {:.0} an hour", hours * 3_600.0, done as f64 / hours);
    println!("{met}");
    if progress.failed.load(Ordering::Relaxed) {
        return ExitCode::FAILURE;
    }
    if met.shown == 0 {
        println!("nobody was shown anything: nothing was proved by this run");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn work(cli: &Cli, progress: &Progress, begun: Instant) {
    let limit = cli.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let seeds = cli.seeds.unwrap_or(if limit.is_some() { u64::MAX } else { 1 });
    loop {
        let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
        let place = progress.next.fetch_add(1, Ordering::Relaxed);
        let regression = REGRESSIONS.get(place as usize);
        let seed = match regression {
            _ if over || progress.failed.load(Ordering::Relaxed) => return,
            Some((seed, _)) if cli.regressions => *seed,
            _ if cli.regressions || place >= seeds => return,
            _ => cli.seed.wrapping_add(place),
        };
        let lines_max = cli.events as usize;
        let options = Options { plant: cli.plant, lines_max, ..Options::of_seed(seed) };
        let outcome =
            if cli.doublecheck || cli.regressions { doublecheck(&options) } else { run(&options) };
        progress.done.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(outcome) => {
                let mut met = progress.met.lock().expect("no thread panics while it holds it");
                met.add(&outcome.met);
            }
            Err(failure) => {
                if !progress.failed.swap(true, Ordering::Relaxed) {
                    println!("{failure}\ncommit {}", commit());
                }
            }
        }
    }
}

/// The commit that runs, if this is a clone.
fn commit() -> String {
    let said = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
