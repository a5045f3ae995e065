//! A link of a document to a file of the repository leads to a file that exists.

use std::path::Path;

use crate::fault::{Fault, bites, refuse};
use crate::repository::{self, Text};

fn check(file: &Text, exists: impl Fn(&Path) -> bool) -> Vec<Fault> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut faults = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        for target in targets(text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !exists(&folder.join(path)) {
                let message = format!("{target} leads nowhere");
                faults.push(Fault::new(&file.path, line, message));
            }
        }
    }
    faults
}

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn links_lead_somewhere() {
    let documents = repository::texts().iter().filter(|file| file.path.ends_with(".md"));
    let root = repository::root();
    refuse(documents.flat_map(|file| check(file, |path| root.join(path).exists())));
}

#[test]
fn a_link_that_leads_nowhere_is_caught() {
    let sample = |text: &str| {
        let file = Text { path: "core/wire/A.md".to_owned(), text: text.to_owned() };
        check(&file, |path| path == Path::new("core/wire/B.md"))
    };
    bites(sample("[b](B.md), [b](B.md#part), [c](https://example.org), [d](#part)\n"), &[]);
    bites(sample("fine\n[b](B.md) and [c](C.md)\n"), &[2]);
}
