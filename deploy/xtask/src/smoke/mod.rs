//! `cargo xtask smoke`: what one worker of the real binary does, and what a connection costs.
//!
//! Prints each number with what it was measured with, and fails if one of the two bounds is
//! missed: [`IDLE_BYTES_MAX`] and [`ENTERS_PER_MESSAGE_MAX`]. The clients run on the same machine
//! and take their share of its cores: rates say what this machine does, not what a server can.

mod idle;
mod link;
mod load;
mod process;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use self::load::{CONTENT_BYTES, LANES, Measured, Mode, OUTSTANDING};
use crate::server::{self, Server};

/// User space of an idle signed-in connection, bytes, at most.
const IDLE_BYTES_MAX: f64 = 1024.0;
/// `io_uring_enter` calls for a message with [`OUTSTANDING`] on their way, at most.
const ENTERS_PER_MESSAGE_MAX: f64 = 0.5;

/// Pairs that a lane works through without the journal, and with it.
const PLAIN_PAIRS: usize = 30;
const FULL_PAIRS: usize = 12;

/// Nobody is pinged while memory is read.
const SETTINGS: &[&str] = &["--set", "limits.ping_interval=1h", "--log-level", "warn"];

/// The same on a journal that keeps nothing.
const UNLOGGED_SETTINGS: &[&str] =
    &["--set", "limits.ping_interval=1h", "--log-level", "warn", "--set", "journal.device=none"];

/// Caches of users and of the store as small as may be: they are full before the first reading, as
/// they are in a server with many more connections, and what they hold is not a connection's.
const IDLE_SETTINGS: &[&str] = &[
    "--set",
    "limits.ping_interval=1h",
    "--log-level",
    "warn",
    "--set",
    "limits.resident_bytes_max=1MiB",
    "--set",
    "store.cache_bytes=1MiB",
];

/// Where README keeps the numbers.
const README_BEGIN: &str = "<!-- smoke:begin -->\n";
const README_END: &str = "<!-- smoke:end -->";

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the numbers into README.md
    #[arg(long)]
    write: bool,
}

/// Measures, prints, and checks the bounds.
///
/// # Errors
/// If something cannot be measured, or a bound is missed.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    server::build(repository)?;
    let measured_with = process::measured_with(repository)?;
    let unlogged = measure_unlogged(repository)?;
    let idle_bytes = measure_idle(repository)?;
    let mut server = Server::prepare(repository, "smoke", 1, SETTINGS)?;
    server.start()?;
    let log = server.log();
    let outcome = measure(&server, unlogged, idle_bytes);
    let numbers = outcome.with_context(|| format!("server log: {}", log.display()))?;
    server.kill()?;
    server.remove()?;
    let text = format!("cargo xtask smoke ({measured_with})\n{}", numbers.text());
    println!("{text}");
    if args.write {
        let path = repository.join("README.md");
        fs::write(&path, with_numbers(&fs::read_to_string(&path)?, &text)?)?;
    }
    numbers.check()
}

/// The full load on a server whose journal keeps nothing.
fn measure_unlogged(repository: &Path) -> anyhow::Result<Measured> {
    let mut server = Server::prepare(repository, "smoke-unlogged", 1, UNLOGGED_SETTINGS)?;
    server.start()?;
    let measured = load::run(&server, Mode::Full, FULL_PAIRS).context("load without a journal")?;
    server.kill()?;
    server.remove()?;
    Ok(measured)
}

/// What an idle connection takes.
fn measure_idle(repository: &Path) -> anyhow::Result<f64> {
    let mut server = Server::prepare(repository, "smoke-idle", 1, IDLE_SETTINGS)?;
    server.start()?;
    let measured = idle::run(&mut server).context("idle connections")?;
    server.kill()?;
    server.remove()?;
    Ok(measured)
}

/// All that is measured.
struct Numbers {
    plain: Measured,
    full: Measured,
    unlogged: Measured,
    idle_bytes: f64,
}

fn measure(server: &Server, unlogged: Measured, idle_bytes: f64) -> anyhow::Result<Numbers> {
    Ok(Numbers {
        unlogged,
        plain: load::run(server, Mode::Plain, PLAIN_PAIRS).context("plain load")?,
        full: load::run(server, Mode::Full, FULL_PAIRS).context("full load")?,
        idle_bytes,
    })
}

impl Numbers {
    fn text(&self) -> String {
        let load = |name: &str, what: &str, measured: &Measured| {
            format!(
                "{name:<6} {:>8.0} messages/s, {:.3} io_uring_enter and {:.1} us of processor per \
                 message\n       {what}\n       {} messages of {CONTENT_BYTES} B, {LANES} pairs with \
                 {OUTSTANDING} outstanding each, 1 worker, clients on the same cores\n",
                measured.rate(),
                measured.enters_per_message(),
                measured.processor_us(),
                measured.messages,
            )
        };
        let plain = load("plain", "ephemeral: in, shard, out; nothing is kept", &self.plain);
        let what = "durable: sent, push, ack, delivered, ack";
        let full = load("full", what, &self.full)
            + &load("no log", "the same with journal.device = \"none\"", &self.unlogged);
        format!(
            "{plain}{full}idle   {:>8.0} bytes of user space per signed-in binary connection\n       \
             growth of RssAnon from {} to {} connections, users known before\n",
            self.idle_bytes,
            idle::FEW,
            idle::MANY,
        )
    }

    fn check(&self) -> anyhow::Result<()> {
        for (name, measured) in
            [("plain", &self.plain), ("full", &self.full), ("no log", &self.unlogged)]
        {
            let enters = measured.enters_per_message();
            ensure!(
                enters < ENTERS_PER_MESSAGE_MAX,
                "{name}: {enters:.3} io_uring_enter per message, at most {ENTERS_PER_MESSAGE_MAX}"
            );
        }
        ensure!(
            self.idle_bytes < IDLE_BYTES_MAX,
            "an idle connection takes {:.0} bytes, at most {IDLE_BYTES_MAX}",
            self.idle_bytes
        );
        Ok(())
    }
}

/// The README with these numbers in place of the old.
fn with_numbers(readme: &str, numbers: &str) -> anyhow::Result<String> {
    let (head, rest) = readme.split_once(README_BEGIN).context("README lost its mark of smoke")?;
    let (_, tail) = rest.split_once(README_END).context("README lost its mark of smoke")?;
    Ok(format!("{head}{README_BEGIN}```text\n{numbers}```\n{README_END}{tail}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Measured, Numbers, with_numbers};

    fn numbers(enters: u64, idle_bytes: f64) -> Numbers {
        let measured = || Measured {
            messages: 1000,
            took: Duration::from_secs(1),
            enters,
            processor: Duration::from_millis(5),
        };
        Numbers { plain: measured(), full: measured(), unlogged: measured(), idle_bytes }
    }

    #[test]
    fn each_bound_fails_the_run() {
        numbers(499, 1023.0).check().unwrap();
        numbers(500, 1023.0).check().unwrap_err();
        numbers(499, 1024.0).check().unwrap_err();
    }

    #[test]
    fn numbers_replace_the_old_ones_and_nothing_else() {
        let readme = "a\n<!-- smoke:begin -->\nold\n<!-- smoke:end -->\nb\n";
        let expected = "a\n<!-- smoke:begin -->\n```text\nnew\n```\n<!-- smoke:end -->\nb\n";
        assert_eq!(with_numbers(readme, "new\n").unwrap(), expected);
    }
}
