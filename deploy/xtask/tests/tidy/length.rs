//! A file is read in one sitting and a function on one screen. Tests may be longer.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let lines = source.lines_of_code();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines without tests, at most {FILE_LINES_MAX}: split it");
        faults.push(Fault::new(&source.path, 0, message));
    }
    for function in &source.functions {
        let line = *function.lines.start();
        let lines = function.lines.clone().count();
        if lines > FUNCTION_LINES_MAX && !source.is_test_line(line) {
            let name = &function.name;
            let message = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            faults.push(Fault::new(&source.path, line, message));
        }
    }
    faults
}

#[test]
fn files_and_functions_are_short() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn a_function_one_line_too_long_is_caught() {
    let function =
        |lines: usize| format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2));
    let sample = |text: &str| check(&Source::parse("a/src/b.rs", text));
    bites(sample(&function(FUNCTION_LINES_MAX)), &[]);
    bites(sample(&function(FUNCTION_LINES_MAX + 1)), &[1]);
    let method = format!("impl A {{\n{}}}\n", function(FUNCTION_LINES_MAX + 1));
    bites(sample(&method), &[2]);
    let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(FUNCTION_LINES_MAX + 1));
    bites(sample(&test), &[]);
}

#[test]
fn a_file_one_line_too_long_is_caught_and_its_tests_do_not_count() {
    let sample = |text: &str| check(&Source::parse("a/src/b.rs", text));
    bites(sample(&"const _: () = ();\n".repeat(FILE_LINES_MAX)), &[]);
    bites(sample(&"const _: () = ();\n".repeat(FILE_LINES_MAX + 1)), &[0]);
    let tests = format!("#[cfg(test)]\nmod t {{\n{}}}\n", "const _: () = ();\n".repeat(900));
    bites(sample(&tests), &[]);
}
