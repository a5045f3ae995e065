//! `ringpost-sim`: runs seeds until a rule breaks, the seeds are done, or the time is over.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a tool for the terminal: what it prints is its output")]

use std::cell::Cell;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use ringpost_sim::{Counts, Options, Planted, Violation, run};

/// Runs the deterministic world of many seeds and says which rule broke, if one did.
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
    /// Plant a fault: the run must fail.
    #[arg(long, value_enum)]
    planted: Option<Planted>,
    /// Events that a report shows.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Threads; each runs a seed of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    failed: AtomicBool,
    sum: Mutex<Counts>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        inherited(panic);
        println!("violation: no-panic\nreplay: {}", replay(SEED.get(), None));
    }));
    println!("from seed {}", cli.seed);
    let begun = Instant::now();
    let progress = Progress {
        next: AtomicU64::new(cli.seed),
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        sum: Mutex::new(Counts::default()),
    };
    thread::scope(|scope| {
        for _ in 0..cli.jobs {
            scope.spawn(|| work(&cli, &progress, begun));
        }
    });
    let done = progress.done.load(Ordering::Relaxed);
    let sum = *progress.sum.lock().expect("no thread panics while it holds the sum");
    let hours = begun.elapsed().as_secs_f64() / 3_600.0;
    println!("{done} seeds in {:.1} s, {:.0} an hour", hours * 3_600.0, done as f64 / hours);
    println!(
        "{} messages made, {} answered, {} pushed, {} delivered, {} crashes, {} steps",
        sum.made, sum.sent, sum.pushed, sum.delivered, sum.crashes, sum.steps
    );
    if progress.failed.load(Ordering::Relaxed) {
        return ExitCode::FAILURE;
    }
    if sum.pushed == 0 {
        println!("nothing was pushed: nothing was shown by this run");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn work(cli: &Cli, progress: &Progress, begun: Instant) {
    let limit = cli.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let seeds = cli.seeds.unwrap_or(if limit.is_some() { u64::MAX } else { 1 });
    loop {
        let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
        let seed = progress.next.fetch_add(1, Ordering::Relaxed);
        if over || seed - cli.seed >= seeds || progress.failed.load(Ordering::Relaxed) {
            return;
        }
        SEED.set(seed);
        let events_shown_max = cli.events as usize;
        let options = Options { planted: cli.planted, events_shown_max, ..Options::of_seed(seed) };
        let outcome = run(&options);
        progress.done.fetch_add(1, Ordering::Relaxed);
        let mut sum = progress.sum.lock().expect("no thread panics while it holds the sum");
        sum.made += outcome.counts.made;
        sum.sent += outcome.counts.sent;
        sum.pushed += outcome.counts.pushed;
        sum.delivered += outcome.counts.delivered;
        sum.crashes += outcome.counts.crashes;
        sum.steps += outcome.counts.steps;
        drop(sum);
        let differs = cli.doublecheck && run(&options).digest != outcome.digest;
        let violation = outcome.violation.or_else(|| {
            let what = "two runs of the seed are not alike".to_owned();
            differs.then_some(Violation { checker: "determinism", what })
        });
        if let Some(violation) = violation
            && !progress.failed.swap(true, Ordering::Relaxed)
        {
            println!("violation: {}: {}", violation.checker, violation.what);
            println!("{options:?}\nthe last events:\n{}", outcome.tail);
            println!("commit {}\nreplay: {}", commit(), replay(seed, cli.planted));
        }
    }
}

fn replay(seed: u64, planted: Option<Planted>) -> String {
    use clap::ValueEnum;
    let fault = planted.and_then(|it| it.to_possible_value());
    let fault = fault.map(|it| format!(" --planted {}", it.get_name())).unwrap_or_default();
    format!("cargo xtask sim --seed {seed}{fault}")
}

fn commit() -> String {
    let said = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
