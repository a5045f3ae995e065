//! Nodes: the binary as a child process, its tokens, its counters, its log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ringpost");

/// Lets the kernel choose.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// How long anything may take before the test gives up: far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    dir: Arc<TempDir>,
    settings: Vec<String>,
    /// Kept open: the server may go on writing.
    _summary: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a server on a new directory, with these `KEY=VALUE`, and waits until it is ready.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_at(ANY_PORT, settings)
    }

    /// The same, listening at this address.
    pub(crate) fn start_at(listen: &str, settings: &[&str]) -> Self {
        Self::start_on(listen, Arc::new(tempfile::tempdir().unwrap()), own(settings))
    }

    /// The same, with its data in a directory that the test has made ready.
    pub(crate) fn start_in(dir: &Arc<TempDir>, settings: &[&str]) -> Self {
        Self::start_on(ANY_PORT, Arc::clone(dir), own(settings))
    }

    /// The same, where the start may be refused: its exit code, and all that it said.
    pub(crate) fn try_start_in(
        dir: &Arc<TempDir>,
        settings: &[&str],
    ) -> Result<Self, (Option<i32>, String)> {
        let settings = own(settings);
        let command = serve_command(ANY_PORT, &dir.path().join("data"), &settings);
        Self::try_spawn(command, log_file(dir.path()).into(), Arc::clone(dir), settings)
    }

    /// Starts a server on a new directory in a process that may have so many files.
    pub(crate) fn start_with_files(files_max: u32, settings: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_after(&format!("ulimit -n {files_max}"), dir, own(settings))
    }

    /// Starts a server on a directory that has a file of settings, `config.toml`.
    pub(crate) fn start_with_file(dir: &Arc<TempDir>, settings: &[&str]) -> Self {
        let file = dir.path().join("config.toml");
        let prelude = format!("export RINGPOST_CONFIG='{}'", file.display());
        Self::start_after(&prelude, Arc::clone(dir), own(settings))
    }

    /// Starts a server on a new directory that logs to this.
    pub(crate) fn start_with_log(log: Stdio, settings: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let settings = own(settings);
        let command = serve_command(ANY_PORT, &dir.path().join("data"), &settings);
        Self::spawn_with_log(command, log, dir, settings)
    }

    /// Starts a server on a new directory with a variable of the environment.
    pub(crate) fn start_with_environment(name: &str, value: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_after(&format!("export {name}='{value}'"), dir, own(&[]))
    }

    /// Starts a server by a shell that does this first.
    fn start_after(prelude: &str, dir: Arc<TempDir>, settings: Vec<String>) -> Self {
        let serve = serve_command(ANY_PORT, &dir.path().join("data"), &settings);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!(r#"{prelude}; exec "$0" "$@""#));
        shell.arg(serve.get_program()).args(serve.get_args());
        Self::spawn(shell, dir, settings)
    }

    /// Starts a server on the directory of one that has ended.
    pub(crate) fn restart(mut self) -> Self {
        self.child.wait().unwrap();
        Self::start_on(ANY_PORT, Arc::clone(&self.dir), std::mem::take(&mut self.settings))
    }

    /// Starts the server again, where it has ended.
    pub(crate) fn start_again(&mut self) {
        let (dir, settings) = (Arc::clone(&self.dir), self.settings.clone());
        *self = Self::start_on(ANY_PORT, dir, settings);
    }

    fn start_on(listen: &str, dir: Arc<TempDir>, settings: Vec<String>) -> Self {
        let command = serve_command(listen, &dir.path().join("data"), &settings);
        Self::spawn(command, dir, settings)
    }

    fn spawn(command: Command, dir: Arc<TempDir>, settings: Vec<String>) -> Self {
        let log = log_file(dir.path()).into();
        Self::spawn_with_log(command, log, dir, settings)
    }

    fn spawn_with_log(
        command: Command,
        log: Stdio,
        dir: Arc<TempDir>,
        settings: Vec<String>,
    ) -> Self {
        // Where the log goes elsewhere, the file is empty.
        let _ = log_file(dir.path());
        Self::try_spawn(command, log, dir, settings)
            .unwrap_or_else(|(code, log)| panic!("no boot summary; {code:?}\n{log}"))
    }

    fn try_spawn(
        mut command: Command,
        log: Stdio,
        dir: Arc<TempDir>,
        settings: Vec<String>,
    ) -> Result<Self, (Option<i32>, String)> {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut summary = BufReader::new(child.stdout.take().unwrap());
        let (mut address, mut admin) = (None, None);
        while address.is_none() || admin.is_none() {
            let mut line = String::new();
            if summary.read_line(&mut line).unwrap() == 0 {
                let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
                return Err((child.wait().unwrap().code(), log));
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["clients", bound, ..] => {
                    address = Some(bound.trim_end_matches(',').parse().unwrap());
                }
                ["admin", bound, ..] => {
                    admin = Some(bound.trim_start_matches("http://").parse().unwrap());
                }
                _ => {}
            }
        }
        let (address, admin) = (address.unwrap(), admin.unwrap());
        let node = Self { address, admin, child, dir, settings, _summary: summary };
        eventually("ready", || node.admin_get("/readyz").starts_with("HTTP/1.1 200"));
        Ok(node)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it logged, over all starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// An access token by the command line, with further arguments.
    pub(crate) fn token_with(&self, user: Uuid, device: u8, arguments: &[&str]) -> String {
        let output = Command::new(BINARY)
            .args(["token", "--user", &user.to_string(), "--device", &device.to_string()])
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn token(&self, user: Uuid, device: u8) -> String {
        self.token_with(user, device, &[])
    }

    /// `kill -9`, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Does something while the server stands still: for it, all of that comes at once.
    pub(crate) fn while_stopped<T>(&self, action: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGSTOP);
        let outcome = action();
        self.signal(Signal::SIGCONT);
        outcome
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn admin_get(&self, path: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(self.admin, request.as_bytes())
    }

    /// A counter or gauge by name and labels, as `/metrics` writes them.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.admin_get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // Beside the failure, whose output the harness captures.
            let _ = writeln!(std::io::stderr().lock(), "{}", self.log());
        }
    }
}

/// The log of the servers of a directory.
fn log_file(dir: &Path) -> std::fs::File {
    std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap()
}

/// The settings of a test, and what serves all tests.
pub(crate) fn own(settings: &[&str]) -> Vec<String> {
    // Segments are written in advance: small ones start fast.
    settings.iter().chain(&["journal.segment_bytes=4MiB"]).map(|&it| it.to_owned()).collect()
}

/// The command that serves on `data_dir`.
pub(crate) fn serve_command(listen: &str, data_dir: &Path, settings: &[String]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["--listen", listen, "--admin-listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data_dir).args(["--set", "workers=2"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// Waits until a server that was started a moment ago takes signals: before its first step, the kernel
/// ends it by them.
pub(crate) fn signals_are_held(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    eventually("signals are held back", || {
        let text = std::fs::read_to_string(&status).unwrap();
        let blocked = text.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
        blocked >> (Signal::SIGTERM as u64 - 1) & 1 == 1
    });
}

/// Waits until `holds`; panics after [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes all, and reads until the other side closes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may refuse before it has read all; what it answered is read all the same.
    let _ = stream.write_all(request);
    rest_of(&mut stream)
}

/// Reads until the other side closes.
pub(crate) fn rest_of(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
