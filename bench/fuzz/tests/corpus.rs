//! Setup: the committed inputs, and what once broke a target. Action: each target takes its own, and
//! some that it has not seen. Expectation: it does not panic. No coverage, no libFuzzer: this runs
//! wherever the tests do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ringpost_fuzz::{TARGETS, Target};

/// Bytes of one committed input, at most: a corpus is read by people too.
const INPUT_BYTES_MAX: u64 = 4096;

/// Committed inputs of one target, at most.
const INPUTS_MAX: usize = 64;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be read").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_target_has_a_small_corpus_and_no_corpus_is_without_a_target() {
    let folders = entries(&folder());
    let names = folders.iter().map(|path| path.file_name().unwrap().to_str().unwrap());
    let targets = TARGETS.iter().map(|target| target.name);
    assert_eq!(names.collect::<BTreeSet<_>>(), targets.collect());
    for folder in folders {
        let inputs = entries(&folder);
        assert!((1..=INPUTS_MAX).contains(&inputs.len()), "{}: {}", folder.display(), inputs.len());
        for input in inputs {
            assert!(fs::metadata(&input).unwrap().len() <= INPUT_BYTES_MAX, "{}", input.display());
        }
    }
}

#[test]
fn committed_inputs_break_nothing_whole_or_cut_short() {
    for Target { name, run } in TARGETS {
        for path in entries(&folder().join(name)) {
            let input = fs::read(path).unwrap();
            run(&input);
            run(&input[..input.len() / 2]);
        }
        run(&[]);
    }
}
