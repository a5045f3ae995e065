//! The server of the tour: this executable, started as `ringpost serve` in a directory of its own.
//!
//! Invariant: no process and no directory outlives the value that stands for it.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use super::client::DEVICE;
use super::transcript::{command, ends, line};

/// How long the server may take to start (its journal is prewritten) or to leave.
const PROCESS_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked whether it has left.
const EXIT_POLL: Duration = Duration::from_millis(10);
/// No signed token is shorter, bytes.
const TOKEN_BYTES_MIN: usize = 64;
/// Lines of its log that a failure shows.
const LOG_LINES_MAX: usize = 12;

/// A directory of the tour's own, removed at its end.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes it, readable by its owner alone.
    pub(super) fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("ringpost-try-{}", Uuid::new_v4()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The last lines that servers of the tour have logged.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines = log.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Temporary by its place: what cannot be removed is swept by the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it says where it listens.
    ///
    /// # Errors
    /// If it ends or says nothing within the deadline.
    pub(super) fn start(directory: &Directory) -> anyhow::Result<Self> {
        let options = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        command(&format!("ringpost serve {}", options.join(" ")));
        let log = File::options().create(true).append(true).open(directory.log())?;
        let mut child = ringpost(directory)?
            .arg("serve")
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().expect("standard output was asked for");
        // From here on the process ends with the value, also where its start fails.
        let mut server = Self { child, address: SocketAddr::from(([0; 4], 0)) };
        server.address = boot_address(stdout)?;
        line("", "<-", &format!("clients {}: binary, WebSocket and REST", server.address));
        Ok(server)
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it as a loss of power would.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        command(&format!("kill -9 {}", self.child.id()));
        self.child.kill()?;
        let status = self.child.wait()?;
        ensure!(!status.success(), "a killed server does not end well");
        Ok(())
    }

    /// Asks it to leave.
    pub(super) fn terminate(&self) -> anyhow::Result<()> {
        let id = self.child.id();
        command(&format!("kill -TERM {id}"));
        Ok(kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?)
    }

    /// Waits for the exit code 0.
    pub(super) fn expect_exit(mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PROCESS_DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "expected exit code 0, got {status}");
                return Ok(());
            }
            std::thread::sleep(EXIT_POLL);
        }
        bail!("expected the server to leave within {} s", PROCESS_DEADLINE.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An access token, made as a developer makes one.
pub(super) fn token(directory: &Directory, user: Uuid) -> anyhow::Result<String> {
    let words = ["token", "--user", &user.to_string(), "--device", &DEVICE.to_string()];
    command(&format!("ringpost {}", words.join(" ")));
    let output = ringpost(directory)?.args(words).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "expected a token, got {complaint}");
    let token = String::from_utf8(output.stdout)?.trim().to_owned();
    ensure!(token.len() > TOKEN_BYTES_MIN && token.is_ascii(), "expected a token, got {token}");
    line("", "<-", &ends(&token));
    Ok(token)
}

/// This executable on the tour's data, with none of the caller's settings.
fn ringpost(directory: &Directory) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGPOST_") {
            command.env_remove(name);
        }
    }
    command.arg("--data-dir").arg(directory.data()).current_dir(&directory.0);
    Ok(command)
}

/// The first address for clients in the boot summary.
fn boot_address(stdout: ChildStdout) -> anyhow::Result<SocketAddr> {
    let (found, address) = mpsc::channel();
    // A read of a pipe has no deadline, a channel has one. The thread ends with the server.
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = client_address(&text) {
                // The one who waits may have given up.
                let _ = found.send(address);
            }
        }
    });
    address.recv_timeout(PROCESS_DEADLINE).context("expected a boot summary with an address")
}

/// The address in the line `clients`, if it is that line.
fn client_address(text: &str) -> Option<SocketAddr> {
    let mut words = text.split_whitespace();
    (words.next()? == "clients").then_some(())?;
    words.next()?.trim_end_matches(',').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::client_address;

    #[test]
    fn the_address_stands_in_the_line_of_the_clients() {
        let line = "  clients    127.0.0.1:38259 (binary, WebSocket /v1/ws, REST /v1)";
        assert_eq!(client_address(line), Some(([127, 0, 0, 1], 38259).into()));
        assert_eq!(client_address("  admin      http://127.0.0.1:1 (/healthz)"), None);
    }
}
