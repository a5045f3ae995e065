//! What no text of the repository holds: leftovers of work, and paths of somebody's machine.

use crate::fault::{Fault, bites, refuse};
use crate::repository::{self, RULES_FOLDER, Text};

/// Marks that work was left undone. What is left to do is an issue, not a comment.
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Folders that exist on one machine only.
const MACHINE_FOLDERS: &[&str] = &["/root/", "/home/", "/work/", "/farm/", "/Users/"];

fn check(file: &Text) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| LEFTOVERS.contains(word)) {
            let message = format!("{word}: do it, or file it, but do not leave it here");
            faults.push(Fault::new(&file.path, line, message));
        }
        for folder in MACHINE_FOLDERS.iter().filter(|folder| names_folder(text, folder)) {
            let message = format!("{folder} is a path of one machine");
            faults.push(Fault::new(&file.path, line, message));
        }
    }
    faults
}

/// Whether an absolute path into `folder` stands in the text; `a/home/b` is none.
fn names_folder(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| {
        !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
    })
}

#[test]
fn texts_hold_no_leftovers_and_no_paths_of_a_machine() {
    let texts = repository::texts().iter();
    refuse(texts.filter(|file| !file.path.starts_with(RULES_FOLDER)).flat_map(check));
}

#[test]
fn leftovers_are_caught() {
    let sample = |text: &str| check(&Text { path: "a.md".to_owned(), text: text.to_owned() });
    bites(sample("fine\n// TODO: later\n"), &[2]);
    bites(sample("FIXME\nXXX\n"), &[1, 2]);
    bites(sample("a \\uXXXX escape, METHODOLOGY, todo\n"), &[]);
}

#[test]
fn paths_of_a_machine_are_caught() {
    let sample = |text: &str| check(&Text { path: "a.md".to_owned(), text: text.to_owned() });
    bites(sample("see `/home/ann/ringpost`\n"), &[1]);
    bites(sample("cd /root/x\n"), &[1]);
    bites(sample("GET https://example.org/home/ and docs/work/notes\n"), &[]);
}
