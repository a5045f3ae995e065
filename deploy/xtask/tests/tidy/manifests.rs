//! Every direct dependency stands once in the workspace, is used, and is explained.
//!
//! Used: some member names it in its manifest, and the code of each member that does names it too.
//! Explained: it has a row in the table of `CONTRIBUTING.md`, and no row is left of one that went.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::fault::{Fault, refuse};
use crate::source::Source;
use crate::{repository, tables};

/// The tables of a manifest that name dependencies, also below `[target.'cfg(..)']`.
const TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// The names that stand in `[workspace.dependencies]`, our own crates left out.
fn workspace_names(root: &Table) -> BTreeSet<String> {
    let dependencies = root["workspace"]["dependencies"].as_table().expect("a table");
    let is_ours = |value: &Value| value.get("path").is_some();
    dependencies.iter().filter(|(_, value)| !is_ours(value)).map(|(name, _)| name.clone()).collect()
}

/// What one member's manifest names, and whether it takes the version from the workspace.
fn member_names(member: &Table) -> BTreeMap<String, bool> {
    let targets = member.get("target").and_then(Value::as_table);
    let below = targets.into_iter().flat_map(|table| table.values().filter_map(Value::as_table));
    let mut names = BTreeMap::new();
    for table in std::iter::once(member).chain(below) {
        for dependencies in TABLES.iter().filter_map(|name| table.get(*name)?.as_table()) {
            for (name, value) in dependencies {
                let shared = value.get("workspace").and_then(Value::as_bool) == Some(true);
                names.insert(name.clone(), shared);
            }
        }
    }
    names
}

fn unexplained(names: &BTreeSet<String>, document: &str) -> Vec<Fault> {
    let rows = tables::first_column(document);
    let missing = names.difference(&rows).map(|name| format!("no row says why `{name}`"));
    let left = rows.difference(names).map(|name| format!("`{name}` is no dependency any more"));
    missing.chain(left).map(|message| Fault::new("CONTRIBUTING.md", 0, message)).collect()
}

fn unused(names: &BTreeSet<String>, members: &[(String, Table)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (path, member) in members {
        for (name, shared) in member_names(member) {
            if !shared {
                let message = format!("take `{name}` from the workspace: {name}.workspace = true");
                faults.push(Fault::new(path, 0, message));
            }
            used.insert(name);
        }
    }
    for name in names.difference(&used) {
        faults.push(Fault::new("Cargo.toml", 0, format!("no member uses `{name}`")));
    }
    faults
}

/// Dependencies of a member that its code does not name.
fn idle(path: &str, member: &Table, sources: &[Source]) -> Vec<Fault> {
    let folder = path.trim_end_matches("Cargo.toml");
    let names = member_names(member).into_keys().filter(|name| {
        let name = name.replace('-', "_");
        let mut sources = sources.iter().filter(|source| source.path.starts_with(folder));
        !sources.any(|source| source.tokens.iter().any(|token| token.text == name))
    });
    names.map(|name| Fault::new(path, 0, format!("no code here names `{name}`"))).collect()
}

fn members() -> Vec<(String, Table)> {
    let is_member = |path: &str| path != "Cargo.toml" && path.ends_with("/Cargo.toml");
    let files = repository::texts().iter().filter(|file| is_member(&file.path));
    files.map(|file| (file.path.clone(), parse(&file.text))).collect()
}

fn parse(text: &str) -> Table {
    text.parse().expect("a manifest that Cargo takes is TOML")
}

#[test]
fn every_direct_dependency_is_used_and_explained() {
    let names = workspace_names(&parse(repository::text("Cargo.toml")));
    let members = members();
    let mut faults = unused(&names, &members);
    for (path, member) in &members {
        faults.extend(idle(path, member, repository::sources()));
    }
    faults.extend(unexplained(&names, repository::text("CONTRIBUTING.md")));
    refuse(faults);
}

#[test]
fn a_dependency_without_a_user_or_a_row_is_caught() {
    let root = parse(
        "[workspace.dependencies]\nours = { path = \"a\" }\nbytes = \"1\"\nlibc = \"0.2\"\nloom = \"1\"\n",
    );
    let names = workspace_names(&root);
    assert_eq!(names.iter().collect::<Vec<_>>(), ["bytes", "libc", "loom"]);

    let member = parse(
        "[dependencies]\nbytes.workspace = true\n[target.'cfg(loom)'.dependencies]\nloom = \"1\"\n",
    );
    let messages = |faults: Vec<Fault>| faults.into_iter().map(|f| f.message).collect::<Vec<_>>();
    assert_eq!(
        messages(unused(&names, &[("a/Cargo.toml".to_owned(), member)])),
        ["take `loom` from the workspace: loom.workspace = true", "no member uses `libc`",]
    );
    assert_eq!(
        messages(unexplained(&names, "| `bytes` | why |\n| `libc` | why |\n| `nix` | why |\n")),
        ["no row says why `loom`", "`nix` is no dependency any more"]
    );
}

#[test]
fn a_dependency_that_the_code_does_not_name_is_caught() {
    let member = parse("[dependencies]\nhyper-util.workspace = true\nbytes.workspace = true\n");
    let ours = Source::parse("a/src/lib.rs", "use hyper_util::rt;\n// bytes\n");
    let other = Source::parse("b/src/lib.rs", "use bytes::Bytes;\n");
    let faults = idle("a/Cargo.toml", &member, &[ours, other]);
    let messages = faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>();
    assert_eq!(messages, ["no code here names `bytes`"]);
}
