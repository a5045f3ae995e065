//! The newcomer's tour goes as it promises.
//!
//! Setup: the binary alone. Action: `ringpost try`, which starts, kills and restarts a server.
//! Expectation: exit code 0, a transcript that was not cut short, and the steps and the words of the
//! transcript in docs/TOUR.md.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What is alike in each run: the steps, and what is said of them.
fn words(transcript: &str) -> Vec<&str> {
    let is_step = |line: &str| line.starts_with(|first: char| first.is_ascii_digit());
    let is_word = |line: &&str| is_step(line) || line.trim_start().starts_with("# ");
    transcript.lines().filter(is_word).collect()
}

#[test]
fn the_tour_goes_as_promised() {
    let output = Command::new(env!("CARGO_BIN_EXE_ringpost"))
        .arg("try")
        .output()
        .expect("the binary was built for this test");
    let transcript = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{transcript}\n{complaint}");
    for expected in ["\"status\":\"read\"", "kill -9", "\"has_more\":false", "All as promised."] {
        assert!(transcript.contains(expected), "{expected} in\n{transcript}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/TOUR.md");
    let document = fs::read_to_string(path).expect("the document is in the repository");
    let (_, kept) = document.split_once("<!-- transcript:begin -->").expect("it has its marks");
    assert_eq!(words(kept), words(&transcript), "write it anew: cargo xtask tour --write");
}
