//! Only what speaks to a terminal prints; everything else logs, counts or returns.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// Where printing is the work: the tasks, the simulator's command line, and the one module through
/// which the server's command line speaks.
const TERMINALS: &[&str] = &["deploy/xtask/", "bench/sim/src/main.rs", "edge/server/src/output.rs"];

const PRINTS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

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
