//! `ringpost-micro LOOP ITERATIONS`: runs one loop over the hot path so many times, and prints
//! nothing. `cargo xtask micro` runs it under callgrind twice and takes the difference, so that
//! neither the start of the process nor the setting up of a loop counts.
//!
//! A loop is deterministic: no clock, no thread, no randomness of its own. Its numbers are those of
//! the committed compiler on one kind of processor; they are compared with each other, and are no
//! times.
#![forbid(unsafe_code)]

mod mailbox;
mod relay;
mod timer;
mod unmask;
mod worker;

use std::process::ExitCode;

/// A loop, by the name that `instructions.txt` has too.
type Loop = (&'static str, fn(u64));

const LOOPS: [Loop; 5] = [
    ("relay", relay::ephemeral),
    ("unmask", unmask::run),
    ("mailbox", mailbox::run),
    ("queue", relay::durable),
    ("timer", timer::run),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (name, iterations) = (words.next(), words.next().and_then(|word| word.parse().ok()));
    let chosen = LOOPS.iter().find(|(known, _)| name.as_deref() == Some(known));
    let (Some((_, run)), Some(iterations)) = (chosen, iterations) else {
        // 64: how the command was written (sysexits.h).
        return ExitCode::from(64);
    };
    run(iterations);
    ExitCode::SUCCESS
}
