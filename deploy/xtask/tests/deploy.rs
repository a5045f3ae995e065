//! What is shipped beside the binary is taken by the programs that it is for: the proxies read their
//! examples, systemd its unit, and the sandbox of the unit is as tight as is said.
//!
//! Where a program is not installed, its test says so on standard error and holds nothing.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the examples expect a certificate.
const TLS: &str = "/etc/ringpost/tls";

/// The exposure that `systemd-analyze security` may find at most, in tenths.
const EXPOSURE_MAX: &str = "--threshold=20";

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// What a program says; `None`, with a word on standard error, where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "not run: {program} ({error})");
            None
        }
    }
}

fn is_taken(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("[WARNING]"), "{output:?}");
}

/// An example with a certificate made for the test.
fn example(name: &str, dir: &Path) -> Option<PathBuf> {
    let (key, certificate) = (dir.join("privkey.pem"), dir.join("fullchain.pem"));
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=chat.example",
            "-keyout",
            key.to_str()?,
            "-out",
            certificate.to_str()?,
        ],
    )?;
    assert!(made.status.success(), "{made:?}");
    let both = [fs::read(&certificate).unwrap(), fs::read(&key).unwrap()].concat();
    fs::write(dir.join("site.pem"), both).unwrap();
    let text = fs::read_to_string(deploy(name)).unwrap();
    assert!(text.contains(TLS));
    // Beside the certificate, and with nothing of the machine's own nginx.
    let pid = format!("{}/pid", dir.display());
    let mut text = text.replace(TLS, dir.to_str()?).replace("/run/nginx.pid", &pid);
    if text.contains("stream {") {
        // Debian ships the stream module as a file of its own.
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        if Path::new(module).exists() {
            text = format!("load_module {module};\n{text}");
        } else {
            text.truncate(text.find("\nstream {").unwrap());
        }
    }
    let path = dir.join("example");
    fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn nginx_takes_its_example() {
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = example("proxy/nginx.conf", dir.path()) else { return };
    if let Some(output) = run("nginx", &["-t", "-q", "-c", path.to_str().unwrap()]) {
        is_taken(&output);
    }
}

#[test]
fn haproxy_takes_its_example() {
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = example("proxy/haproxy.cfg", dir.path()) else { return };
    if let Some(output) = run("haproxy", &["-c", "-f", path.to_str().unwrap()]) {
        is_taken(&output);
    }
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let dir = tempfile::tempdir().unwrap();
    // The binary must be there; which one it is makes no difference.
    let unit = fs::read_to_string(deploy("systemd/ringpost.service")).unwrap();
    let path = dir.path().join("ringpost.service");
    fs::write(&path, unit.replace("/usr/local/bin/ringpost", "/bin/true")).unwrap();
    let path = path.to_str().unwrap();
    if let Some(output) = run("systemd-analyze", &["verify", path]) {
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let words = ["security", "--offline=yes", EXPOSURE_MAX, path];
    if let Some(output) = run("systemd-analyze", &words) {
        assert!(output.status.success(), "{output:?}");
    }
}
