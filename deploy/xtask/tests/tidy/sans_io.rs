//! The sans-IO crates share one `clippy.toml`, which forbids what would make them do I/O.
//!
//! Clippy reads the nearest `clippy.toml` alone, so each of these crates carries a copy that also
//! repeats what the root's says. This rule keeps the copies equal and the bans in place.

use crate::fault::{Fault, bites, refuse};
use crate::repository::{self, Text};

/// Crates that take bytes, events and the time as arguments.
const CRATES: &[&str] = &["core/wire", "core/shard", "edge/conn", "storage/store"];

/// What the copies forbid at the least.
const FORBIDDEN: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::fs::File::open",
    "std::net::TcpStream::connect",
    "uuid::Uuid::new_v4",
];

fn check(root: &str, copies: &[Text]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let Some(model) = copies.first() else { return faults };
    for copy in copies {
        if copy.text != model.text {
            faults.push(Fault::new(&copy.path, 0, format!("differs from {}", model.path)));
        }
    }
    for path in FORBIDDEN.iter().filter(|path| !model.text.contains(&format!("\"{path}\""))) {
        faults.push(Fault::new(&model.path, 0, format!("does not forbid {path}")));
    }
    for line in root.lines().filter(|line| !model.text.lines().any(|other| other == *line)) {
        faults.push(Fault::new(&model.path, 0, format!("does not repeat the root's `{line}`")));
    }
    faults
}

#[test]
fn the_sans_io_crates_forbid_clocks_threads_and_io() {
    let copies = CRATES.iter().map(|folder| {
        let path = format!("{folder}/clippy.toml");
        Text { text: repository::text(&path).to_owned(), path }
    });
    refuse(check(repository::text("clippy.toml"), &copies.collect::<Vec<_>>()));
}

#[test]
fn a_copy_that_drifts_is_caught() {
    let whole =
        FORBIDDEN.iter().map(|path| format!("{{ path = \"{path}\" }},\n")).collect::<String>();
    let whole = format!("shared = true\n{whole}");
    let copy = |path: &str, text: &str| Text { path: path.to_owned(), text: text.to_owned() };
    let sample = |one: &str, other: &str| {
        check("shared = true\n", &[copy("a/clippy.toml", one), copy("b/clippy.toml", other)])
    };
    bites(sample(&whole, &whole), &[]);
    bites(sample(&whole, "shared = true\n"), &[0]);
    let short = whole.replace("std::thread::sleep", "std::thread::park");
    bites(sample(&short, &short), &[0]);
    let silent = whole.replace("shared = true\n", "");
    bites(sample(&silent, &silent), &[0]);
}
