//! The files of the repository, as the rules see them.
//!
//! The folder is walked rather than asked of git, so that an unpacked archive can be tested too.
//! What is generated (`target`, the data directory, hidden folders but our own) is left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::source::Source;

/// Hidden folders that are ours.
const HIDDEN_FOLDERS_OF_OURS: &[&str] = &[".cargo", ".ci", ".github"];

/// Folders whose content no one wrote.
const GENERATED_FOLDERS: &[&str] = &["target", "ringpost-data", "__pycache__"];

/// The rules' own samples break the rules on text, so those rules leave this folder out.
pub(crate) const RULES_FOLDER: &str = "deploy/xtask/tests/tidy/";

/// A file of text, by its path from the root of the repository.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file of text.
static TEXTS: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let mut texts = Vec::new();
    walk(&root(), &mut texts);
    texts.sort_by(|one, other| one.path.cmp(&other.path));
    texts
});

/// Every Rust file, parsed.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut sources = texts()
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| Source::parse(&file.path, &file.text))
        .collect::<Vec<_>>();
    let of_tests = sources.iter().flat_map(Source::test_modules).collect::<Vec<_>>();
    for source in &mut sources {
        if of_tests.iter().any(|module| source.belongs_to(module)) {
            source.mark_as_test();
        }
    }
    sources
});

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate stands two folders below the root")
        .to_owned()
}

pub(crate) fn texts() -> &'static [Text] {
    &TEXTS
}

pub(crate) fn sources() -> &'static [Source] {
    &SOURCES
}

/// The text of a file that must be there.
///
/// # Panics
/// When it is not.
pub(crate) fn text(path: &str) -> &'static str {
    let file = texts().iter().find(|file| file.path == path);
    &file.unwrap_or_else(|| panic!("{path} is missing")).text
}

fn walk(folder: &Path, texts: &mut Vec<Text>) {
    for entry in fs::read_dir(folder).expect("the repository is readable") {
        let entry = entry.expect("the repository is readable");
        let path = entry.path();
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if path.is_dir() {
            let hidden = name.starts_with('.') && !HIDDEN_FOLDERS_OF_OURS.contains(&&*name);
            if !hidden && !GENERATED_FOLDERS.contains(&&*name) {
                walk(&path, texts);
            }
        } else if name == ".git" {
            // In a linked work tree it is a file, which names a folder of this machine.
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("found below the root");
            let path = path.to_str().expect("names are UTF-8").to_owned();
            texts.push(Text { path, text });
        }
    }
}

#[test]
fn the_walk_finds_sources_documents_and_the_script_of_the_gate() {
    for path in ["deploy/xtask/src/main.rs", "README.md", "Cargo.toml", ".ci/run"] {
        assert!(!text(path).is_empty(), "{path}");
    }
    assert!(texts().iter().all(|file| !file.path.starts_with("target/")));
}

#[test]
fn a_file_named_by_a_module_of_tests_is_a_test() {
    let owner = Source::parse("core/shard/src/lib.rs", "#[cfg(test)]\nmod proofs;\nmod queue;\n");
    let modules = owner.test_modules();
    assert_eq!(modules, ["core/shard/src/proofs"]);
    let belongs =
        |path: &str| Source::parse(path, "").belongs_to(modules.first().expect("there is one"));
    assert!(belongs("core/shard/src/proofs.rs"));
    assert!(belongs("core/shard/src/proofs/mod.rs"));
    assert!(belongs("core/shard/src/proofs/order.rs"));
    assert!(!belongs("core/shard/src/proofs_of_age.rs"));
    assert!(!belongs("core/shard/src/queue.rs"));
}
