//! `ringpost-micro LOOP ITERATIONS`: runs one loop over the hot path so many times, and prints
//! nothing. `cargo xtask micro` runs it under callgrind twice and takes the difference, so that
//! neither the start of the process nor the setting up of a loop counts.
//!
//! `ringpost-micro hostile` lists the dearest inputs of each parser: parser, name, and what one is
//! charged for, parted by tabs. Parser and name, parted by a tab, are a loop as well.
//!
//! A loop is deterministic: no clock, no thread, no randomness of its own. Its numbers are those of
//! the committed compiler on one kind of processor; they are compared with each other, and are no
//! times.
#![forbid(unsafe_code)]

mod hostile;
mod mailbox;
mod relay;
mod timer;
mod unmask;
mod worker;

use std::io::Write;
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

/// The word that lists the hostile cases.
const LIST: &str = "hostile";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let found = match &words[..] {
        [list] if list == LIST => {
            let line = |it: hostile::Case| format!("{}\t{}\t{}\n", it.parser, it.name, it.cost);
            let lines: String = hostile::cases().into_iter().map(line).collect();
            std::io::stdout().write_all(lines.as_bytes()).ok()
        }
        [name, times] => times.parse().ok().and_then(|times| run(name, times)),
        _ => None,
    };
    // 64: how the command was written (sysexits.h).
    found.map_or(ExitCode::from(64), |()| ExitCode::SUCCESS)
}

/// Runs the loop of this name; `None` if there is none.
fn run(name: &str, times: u64) -> Option<()> {
    if let Some((_, run)) = LOOPS.iter().find(|(known, _)| *known == name) {
        run(times);
        return Some(());
    }
    let (parser, name) = name.split_once('\t')?;
    let case = hostile::cases().into_iter().find(|it| (it.parser, it.name) == (parser, name))?;
    (case.run)(times);
    Some(())
}
