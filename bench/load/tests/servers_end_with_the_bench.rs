//! Setup: the bench runs against a server that it started. Action: the bench is killed, with no
//! chance to tidy up. Expectation: the kernel ends the server too, so that no run leaves a process
//! behind which the next one would measure beside its own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Kills in the middle of a start: one in four would miss a tie that is not yet tied.
const ROUNDS: usize = 12;

/// A run that would go on for hours.
fn bench() -> Child {
    Command::new(env!("CARGO_BIN_EXE_ringpost-bench"))
        .args(["relay", "--plain", "--peer", "floor", "--pairs", "1", "--rate", "1"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the bench starts")
}

/// The state and the parent of a process; `None` once it is gone.
fn state_of(process: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, so the fields are counted behind its bracket.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn child_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").expect("there is /proc");
    let mut numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.find(|process| state_of(*process).is_some_and(|(_, of)| of == parent))
}

fn until<T>(what: &str, nap: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(nap);
    }
}

/// Kills the bench as soon as it has a child whose command line is as wanted, and waits until that
/// child is gone. Between two looks for it, `nap`.
fn kill_when(nap: Duration, wanted: impl Fn(&str) -> bool) {
    let mut bench = bench();
    let server = until("the start of a server", nap, || {
        let child = child_of(bench.id())?;
        let command = fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
        wanted(&command).then_some(child)
    });
    bench.kill().expect("it runs");
    bench.wait().expect("it is ours");
    until("the end of the server", POLL, || {
        let state = state_of(server);
        // A zombie waits for whoever adopted it; it serves no more.
        state.is_none_or(|(state, _)| state == 'Z').then_some(())
    });
}

#[test]
fn a_server_does_not_outlive_a_bench_that_is_killed() {
    // `git` is a child too, for a moment; the server serves.
    kill_when(POLL, |command| command.contains("floor\0--listen") && !command.contains("\0tied\0"));
}

#[test]
fn nor_one_that_is_killed_while_the_server_starts() {
    for _ in 0..ROUNDS {
        kill_when(Duration::ZERO, |command| command.contains("floor\0--listen"));
    }
}
