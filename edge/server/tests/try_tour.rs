//! The newcomer's tour goes as it promises.
//!
//! Setup: the binary alone. Action: `ringpost try`, which starts, kills and restarts a server.
//! Expectation: exit code 0, and a transcript that was not cut short.

use std::process::Command;

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
}
