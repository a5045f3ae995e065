//! Setup: a host or a directory that is not as the server needs it: files of others or open to others,
//! links and pipes in the place of files, limits of the process that are too low. Action: a start.
//! Expectation: it serves, or it ends at once with one message that says what was found, what is
//! wanted and what to do; nothing is written through what is not ours, nothing panics or hangs, no
//! signal ends it, and no error is told twice.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use tempfile::TempDir;

use crate::rig::{ANY_PORT, BINARY, Node, PATIENCE, own, serve_command};

/// Exit codes of the kinds (`sysexits.h`).
const HOST: i32 = 71;
const STORAGE: i32 = 74;
const CONFIG: i32 = 78;

/// A user whom every system has, and who is not the one of the test.
const NOBODY: u32 = 65_534;

/// How a start ended that must not succeed.
struct Refused {
    status: ExitStatus,
    text: String,
}

impl Refused {
    /// It ended by itself, with this code, and said all of that, once.
    fn says(&self, code: i32, words: &[&str]) {
        let Self { status, text } = self;
        assert_eq!((status.signal(), status.code()), (None, Some(code)), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} in\n{text}");
        }
        assert!(!text.contains("panicked"), "{text}");
        for line in text.lines() {
            assert_eq!(told_twice(line), None, "{line}");
        }
    }
}

/// A part of a line, as colons part it, that stands in it twice.
fn told_twice(line: &str) -> Option<&str> {
    let parts: Vec<&str> = line.split(": ").map(str::trim).collect();
    let repeated =
        (1..parts.len()).find(|&at| parts[at].len() > 4 && parts[..at].contains(&parts[at]));
    repeated.map(|at| parts[at])
}

/// Starts a server by a shell that does this first, and waits for its end.
fn start(prelude: &str, data_dir: &Path, settings: &[&str]) -> Refused {
    start_command(prelude, &serve_command(ANY_PORT, data_dir, &own(settings)))
}

fn start_command(prelude: &str, serve: &Command) -> Refused {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!(r#"{prelude}; exec "$0" "$@""#));
    shell.arg(serve.get_program()).args(serve.get_args());
    let mut child = shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it neither ends nor says why: {:?}", child.wait_with_output());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    Refused { status: output.status, text: String::from_utf8_lossy(&output.stderr).into_owned() }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory in which a server has run.
fn used() -> (Arc<TempDir>, PathBuf) {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    drop(Node::start_in(&dir, &[]));
    let data = dir.path().join("data");
    (dir, data)
}

/// Everything below a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    for at in found.clone() {
        if at.is_dir() {
            found.extend(below(&at));
        }
    }
    found
}

#[test]
fn what_a_server_makes_is_for_nobody_else_whatever_the_umask_was() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let node = Node::start_in(&dir, &[]);
    let all = below(&node.data_dir());
    assert!(all.len() > 10, "{all:?}");
    for path in all {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has {mode:o}", path.display());
    }
}

#[test]
fn a_directory_that_others_may_use_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for mode in [0o755, 0o777, 0o770] {
        std::fs::DirBuilder::new().recursive(true).create(&data).unwrap();
        set_mode(&data, mode);
        let (found, mend) =
            (format!("found mode {mode:o}"), format!("`chmod 700 {}`", data.display()));
        start(":", &data, &[]).says(STORAGE, &[&found, "wanted mode 700", &mend]);
        assert!(below(&data).is_empty(), "nothing was written");
    }
    if geteuid().is_root() {
        set_mode(&data, 0o700);
        chown(&data, Some(NOBODY), None).unwrap();
        let mend = format!("`chown -R 0 {}`", data.display());
        start(":", &data, &[]).says(STORAGE, &["user 65534 owns it", &mend]);
    }
}

#[test]
fn nothing_is_read_or_written_through_a_link_or_a_pipe_in_the_directory() {
    let (dir, data) = used();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    for name in [
        "LOCK",
        "FORMAT",
        "clock",
        "accounts.key",
        "keys/token.pk8",
        "keys/ticket.key",
        "journal/format",
        "journal/probe",
        "journal/segment-00000000",
        "store/FORMAT",
        "store/fjall/version",
    ] {
        let (path, kept) = (data.join(name), dir.path().join("kept"));
        if path.exists() {
            std::fs::rename(&path, &kept).unwrap();
        }
        let text = path.to_str().unwrap();
        symlink(&victim, &path).unwrap();
        start(":", &data, &[]).says(STORAGE, &[text, "found a symbolic link", "`mv "]);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        std::fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        start(":", &data, &[]).says(STORAGE, &[text, "found a named pipe", "`mv "]);
        std::fs::remove_file(&path).unwrap();
        if kept.exists() {
            std::fs::rename(&kept, &path).unwrap();
        }
    }
    // And it is whole after all that.
    drop(Node::start_in(&dir, &[]));
}

#[test]
fn a_link_in_the_place_of_a_file_that_is_made_is_taken_away_and_not_followed() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    std::fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, data.join("FORMAT.new")).unwrap();
    start(":", &data, &[]).says(STORAGE, &["FORMAT.new", "found a symbolic link"]);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_secret_that_others_may_use_or_own_is_not_taken() {
    let (_dir, data) = used();
    for name in ["accounts.key", "keys/token.pk8", "keys/ticket.key"] {
        let path = data.join(name);
        for mode in [0o640, 0o604, 0o666] {
            set_mode(&path, mode);
            let (found, mend) =
                (format!("found mode {mode:o}"), format!("`chmod 600 {}`", path.display()));
            start(":", &data, &[]).says(STORAGE, &[&found, "wanted mode 600", &mend]);
        }
        set_mode(&path, 0o600);
        if geteuid().is_root() {
            chown(&path, Some(NOBODY), None).unwrap();
            let mend = format!("`chown 0 {}`", path.display());
            start(":", &data, &[]).says(STORAGE, &["user 65534 owns it", &mend]);
            chown(&path, Some(0), None).unwrap();
        }
    }
}

#[test]
fn what_a_library_has_made_in_the_directory_is_not_taken_where_others_may_use_it() {
    let (_dir, data) = used();
    for (name, good, open) in [("store", 0o700, 0o777), ("store/fjall/keyspaces", 0o700, 0o750)] {
        let path = data.join(name);
        set_mode(&path, open);
        let (found, mend) =
            (format!("found mode {open:o}"), format!("`chmod {good:o} {}`", path.display()));
        start(":", &data, &[]).says(STORAGE, &[&found, &mend]);
        set_mode(&path, good);
    }
}

#[test]
fn files_that_an_operator_names_are_judged_by_what_stands_behind_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = |name: &str| dir.path().join(name);
    let set = |key: &str, path: &Path| format!("{key}={}", path.display());
    // Missing, a directory, a pipe.
    mkfifo(&at("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for (name, words) in [
        ("none", ["cannot open", "No such file or directory"]),
        (".", ["found a directory", "wanted a regular file"]),
        ("pipe", ["found a named pipe", "wanted a regular file"]),
    ] {
        let path = at(name);
        let jwks = [&*set("auth.jwks_file", &path), "auth.jwks_issuer=x"];
        start(":", &data, &jwks).says(CONFIG, &words);
        start(":", &data, &[&set("admin.token_file", &path)]).says(CONFIG, &words);
        let prelude = format!("export RINGPOST_CONFIG='{}'", path.display());
        start(&prelude, &data, &[]).says(CONFIG, &words);
    }
    // Public ones may be read by others, and not written.
    std::fs::write(at("file"), "workers = 1\n").unwrap();
    set_mode(&at("file"), 0o664);
    let mend = format!("`chmod 644 {}`", at("file").display());
    let words = ["found mode 664", "wanted mode 644", &mend];
    let jwks = [&*set("auth.jwks_file", &at("file")), "auth.jwks_issuer=x"];
    start(":", &data, &jwks).says(CONFIG, &words);
    let prelude = format!("export RINGPOST_CONFIG='{}'", at("file").display());
    start(&prelude, &data, &[]).says(CONFIG, &words);
    // A secret may not even be read; a link to a good one is as good.
    std::fs::write(at("token"), "a token of more than sixteen\n").unwrap();
    set_mode(&at("token"), 0o644);
    symlink(at("token"), at("link")).unwrap();
    let token = set("admin.token_file", &at("link"));
    start(":", &data, &[&token]).says(CONFIG, &["found mode 644", "wanted mode 600"]);
}

#[test]
fn a_check_refuses_each_file_that_a_start_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let check = |settings: &[String]| {
        let mut command = Command::new(BINARY);
        command.arg("check-config").arg("--data-dir").arg(at("data"));
        for setting in settings {
            command.args(["--set", setting]);
        }
        start_command(":", &command)
    };
    std::fs::write(at("token"), "a token of more than sixteen\n").unwrap();
    set_mode(&at("token"), 0o644);
    std::fs::write(at("empty"), r#"{"keys":[]}"#).unwrap();
    set_mode(&at("empty"), 0o644);
    let token = |name: &str| vec![format!("admin.token_file={}", at(name).display())];
    let jwks = |name: &str| {
        vec![format!("auth.jwks_file={}", at(name).display()), "auth.jwks_issuer=x".to_owned()]
    };
    for (settings, words) in [
        (token("none"), ["admin.token_file", "No such file or directory"]),
        (token("token"), ["found mode 644", "wanted mode 600"]),
        (jwks("none"), ["auth.jwks_file", "No such file or directory"]),
        (jwks("empty"), ["empty", "has no key that can be used"]),
    ] {
        let refs: Vec<&str> = settings.iter().map(String::as_str).collect();
        start(":", &at("served"), &refs).says(CONFIG, &words);
        check(&settings).says(CONFIG, &words);
    }
    set_mode(&at("token"), 0o600);
    check(&token("token")).says(0, &[]);
    assert!(!at("data").exists(), "a check makes nothing");
}

#[test]
fn too_few_files_are_told_with_limit_need_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for files in [12, 16, 24, 32, 48, 64, 96] {
        let found = format!("RLIMIT_NOFILE is {files}");
        let words = [&*found, "are needed", "`ulimit -n`", "LimitNOFILE="];
        start(&format!("ulimit -n {files}"), &dir.path().join("data"), &[]).says(HOST, &words);
    }
}

#[test]
fn files_that_may_not_grow_are_told_and_no_signal_ends_the_server() {
    let dir = tempfile::tempdir().unwrap();
    for blocks in [0, 100, 20_000, 200_000] {
        let prelude = format!("ulimit -f {blocks}");
        let words = ["RLIMIT_FSIZE is", "are needed", "LimitFSIZE="];
        start(&prelude, &dir.path().join("data"), &[]).says(HOST, &words);
    }
}

#[test]
fn memory_that_may_not_be_locked_is_told_with_the_need() {
    // Root is not bound by the limit, and this kernel may count no ring against it.
    if !geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    let data = dir.path().join("data");
    std::fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let binary = dir.path().join("ringpost");
    std::fs::copy(crate::rig::BINARY, &binary).unwrap();
    let serve = serve_command(ANY_PORT, &data, &own(&[]));
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    as_nobody.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(&binary).args(serve.get_args());
    // As much as a test that runs beside it may have locked for the same user: nothing of it is left.
    let refused = start_command("ulimit -l 16", &as_nobody);
    let words = ["RLIMIT_MEMLOCK is 16 KiB", "are needed", "`ulimit -l`", "LimitMEMLOCK="];
    refused.says(HOST, &words);
}

#[test]
fn one_time_codes_go_to_the_log_of_this_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let serve = serve_command("0.0.0.0:0", &dir.path().join("data"), &own(&[]));
    start_command(":", &serve).says(CONFIG, &["auth.code_sender", "\"webhook\"", "\"none\""]);
    let node = Node::start_at("0.0.0.0:0", &["auth.code_sender=none"]);
    assert!(node.log().contains("LISTENING BEYOND THIS HOST WITHOUT TLS"), "{}", node.log());
    let request =
        "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let there = std::net::SocketAddr::from(([127, 0, 0, 1], node.address.port()));
    let answer = crate::rig::exchange(there, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    // Others come in through a proxy as well; which may be one for development.
    for (sender, is_warned) in [("log", true), ("none", false)] {
        let sender = format!("auth.code_sender={sender}");
        let node = Node::start(&["trusted_proxies=127.0.0.1", &sender]);
        let warned = node.log().contains("CODES OF SIGN-IN GO TO THE LOG");
        assert_eq!(warned, is_warned, "{}", node.log());
    }
}

#[test]
fn what_the_system_says_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let data = dir.path().join("data");
    start(":", &file.join("data"), &[]).says(STORAGE, &["Not a directory (os error 20)"]);
    start(":", &file, &[]).says(STORAGE, &["cannot make"]);
    let busy = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = busy.local_addr().unwrap().to_string();
    let serve = serve_command(&at, &data, &own(&[]));
    start_command(":", &serve).says(75, &["cannot listen on", "Address already in use"]);
    let inspect = ["journal", "inspect", file.to_str().unwrap()];
    let mut command = Command::new(crate::rig::BINARY);
    command.args(inspect);
    start_command(":", &command).says(STORAGE, &["Not a directory (os error 20)"]);
    assert_eq!(told_twice("ringpost: a b: No such file: No such file"), Some("No such file"));
}
