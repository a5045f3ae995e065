//! Only what speaks to a terminal prints; everything else logs, counts or returns.
//!
//! In the server a write to a standard stream may wait for ever, for who reads it does not belong to
//! the process: one module writes, on threads that nobody waits for.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// Where printing is the work: the tasks, the simulator's command line, and the one module through
/// which the server's command line speaks.
const TERMINALS: &[&str] = &["deploy/xtask/", "bench/sim/src/main.rs", "edge/server/src/output.rs"];

const PRINTS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// The server, and its one module that may touch a standard stream.
const SERVER: &str = "edge/server/src/";
const STREAMS: [&str; 2] = ["stdout", "stderr"];

fn check_streams(source: &Source) -> Vec<Fault> {
    if !source.path.starts_with(SERVER) || TERMINALS.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let touched = |name| source.lines_with([name, "(", ")"]).into_iter();
    let message = "a standard stream is written by edge/server/src/output.rs alone";
    STREAMS
        .into_iter()
        .flat_map(touched)
        .map(|line| Fault::new(&source.path, line, message))
        .collect()
}

fn check(source: &Source) -> Vec<Fault> {
    if TERMINALS.iter().any(|terminal| source.path.starts_with(terminal)) {
        return Vec::new();
    }
    PRINTS
        .iter()
        .flat_map(|name| {
            let call = move |bracket| source.lines_with([name, "!", bracket]);
            [call("("), call("["), call("{")].concat().into_iter().map(move |line| {
                Fault::new(&source.path, line, format!("{name}! belongs to {TERMINALS:?}"))
            })
        })
        .collect()
}

#[test]
fn nothing_prints_but_what_speaks_to_a_terminal() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn no_thread_of_the_server_but_one_writes_to_a_standard_stream() {
    refuse(repository::sources().iter().flat_map(check_streams));
}

#[test]
fn a_stream_that_is_touched_elsewhere_is_caught() {
    let text = "fn a() {\n    b(io::stderr().lock(), Stdio::piped());\n    c.stderr(d);\n}\n";
    let sample = |path: &str| check_streams(&Source::parse(path, text));
    bites(sample("edge/server/src/log.rs"), &[2]);
    bites(sample("edge/server/src/output.rs"), &[]);
    bites(sample("bench/load/src/main.rs"), &[]);
}

#[test]
fn a_stray_print_is_caught() {
    let text = "fn a() {\n    eprintln!(\"b\");\n}\n#[cfg(test)]\nmod tests {\n    fn c() {\n        println!();\n    }\n}\n";
    let sample = |path: &str| check(&Source::parse(path, text));
    bites(sample("core/wire/src/frame.rs"), &[2]);
    bites(sample("core/wire/tests/frame.rs"), &[]);
    bites(sample("edge/server/src/output.rs"), &[]);
}

#[test]
fn a_print_inside_another_macro_is_caught() {
    let text = "fn a() {\n    select! {\n        _ = b => dbg!(c),\n    }\n}\n";
    bites(check(&Source::parse("edge/server/src/rest.rs", text)), &[3]);
}
