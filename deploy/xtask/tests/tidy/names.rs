//! Names that say nothing: a module is named by what it owns, a function by what it gives.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// Words that no module, file or folder carries, alone or as a part of its name.
const EMPTY_WORDS: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "managers", "impls", "misc"];

fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/') {
        if let Some(word) = empty_word(part) {
            let message = format!("`{word}` says nothing: name the file by what it owns");
            faults.push(Fault::new(&source.path, 0, message));
        }
    }
    for module in &source.modules {
        if let Some(word) = empty_word(&module.name) {
            let message = format!("`{word}` says nothing: name the module by what it owns");
            faults.push(Fault::new(&source.path, module.line, message));
        }
    }
    for pair in source.tokens.windows(2) {
        if pair[0].text == "fn" && pair[1].text.starts_with("get_") {
            let message = format!("`{}`: name it by what it gives, without get_", pair[1].text);
            faults.push(Fault::new(&source.path, pair[1].line, message));
        }
    }
    faults
}

fn empty_word(name: &str) -> Option<&'static str> {
    EMPTY_WORDS.iter().copied().find(|word| name.split(['_', '-']).any(|part| part == *word))
}

/// A `mod.rs` is for a folder that has other modules. In `tests/` it keeps Cargo from taking a
/// shared module for a test of its own.
fn lonely_folders(sources: &[Source]) -> Vec<Fault> {
    let is_lonely = |path: &str| {
        let folder = path.trim_end_matches("mod.rs");
        !sources.iter().any(|other| other.path != path && other.path.starts_with(folder))
    };
    sources
        .iter()
        .filter(|source| source.path.ends_with("/mod.rs") && !source.path.contains("/tests/"))
        .filter(|source| is_lonely(&source.path))
        .map(|source| Fault::new(&source.path, 0, "a folder with this file alone: make it a file"))
        .collect()
}

#[test]
fn names_say_something() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn a_mod_file_stands_for_a_folder_with_modules() {
    refuse(lonely_folders(repository::sources()));
}

#[test]
fn empty_names_are_caught() {
    let sample = |path: &str, text: &str| check(&Source::parse(path, text));
    bites(sample("a/src/util.rs", ""), &[0]);
    bites(sample("a/src/helpers/frame.rs", ""), &[0]);
    bites(sample("a/src/session_manager.rs", ""), &[0]);
    bites(sample("a/src/utility_bills.rs", ""), &[]);
    bites(sample("a/src/b.rs", "mod frame;\nmod impls {}\n"), &[2]);
    bites(sample("a/src/b.rs", "trait A {\n    fn get_queue();\n}\n"), &[2]);
    bites(sample("a/src/b.rs", "fn gets() {}\nfn target_device() {}\n"), &[]);
}

#[test]
fn a_lonely_mod_file_is_caught() {
    let sample = |paths: &[&str]| {
        let sources = paths.iter().map(|path| Source::parse(path, "")).collect::<Vec<_>>();
        lonely_folders(&sources)
    };
    bites(sample(&["a/src/queue/mod.rs", "a/src/queue_kind.rs"]), &[0]);
    bites(sample(&["a/src/queue/mod.rs", "a/src/queue/entry.rs"]), &[]);
    bites(sample(&["a/tests/world/mod.rs"]), &[]);
}
