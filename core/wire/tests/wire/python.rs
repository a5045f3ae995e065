//! A client in another language, written from PROTOCOL.md alone, reads and writes every example.

use std::path::Path;
use std::process::Command;

#[test]
fn the_python_client_reads_and_writes_every_example_of_the_specification() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let run = Command::new("python3")
        .args(["-B", "test_vectors.py"])
        .current_dir(&folder)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "this test needs python3 (3.9 or later) on the PATH, and running it failed: {error}"
            )
        });
    let report = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{report}");
    let ran = report.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next());
    let ran: u32 = ran.and_then(|count| count.parse().ok()).expect("unittest says what it ran");
    assert!(ran >= 10, "only {ran} tests ran:\n{report}");
}
