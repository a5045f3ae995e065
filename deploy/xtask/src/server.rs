//! The real binary as a process that a task starts, kills and asks.
//!
//! Owns the process, its addresses, its data directory and its log. The data and the log stay
//! where they are when a task fails; [`Server::remove`] clears them away after a good one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ringpost_wire::{DeviceId, UserId};

/// How long a start may take, recovery included, on a machine that does other things as well.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Between two questions whether the server is ready.
const READY_POLL: Duration = Duration::from_millis(10);

/// Ports that are tried. They lie below those that the kernel gives to outgoing connections:
/// a client that connects to such a port while nobody listens may be connected to itself.
const PORTS: std::ops::Range<u16> = 17_400..27_400;

/// Users of one call of `ringpost token`: the system bounds the length of a command line.
const TOKENS_PER_CALL: usize = 1000;

/// The server, running or killed.
pub(crate) struct Server {
    binary: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    workers: u16,
    settings: Vec<String>,
    listen: SocketAddr,
    admin: SocketAddr,
    process: Option<Child>,
}

impl Server {
    /// Takes free ports and a new folder below `target/TASK`; starts nothing yet. `settings` are
    /// further words of the command line.
    ///
    /// # Errors
    /// When the folder cannot be made or no port is free.
    pub(crate) fn prepare(
        repository: &Path,
        task: &str,
        workers: u16,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = repository.join(format!("target/{task}/{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut ports = free_ports();
        let mut port = || ports.next().context("no port is free");
        Ok(Self {
            binary: repository.join("target/release/ringpost"),
            data: folder.join("data"),
            folder,
            workers,
            settings: settings.iter().map(|&word| word.to_owned()).collect(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port()?)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, port()?)),
            process: None,
        })
    }

    /// Where clients connect; the same after each start.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where operators ask; the same after each start.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// One more setting, as `section.key=value`; before the first start.
    pub(crate) fn set(&mut self, setting: String) {
        self.settings.extend(["--set".to_owned(), setting]);
    }

    /// What the server said, of all its lives.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Where the run keeps what is its own.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps the data in `path` instead; before the first start.
    pub(crate) fn keep_data_in(&mut self, path: PathBuf) {
        self.data = path;
    }

    /// Starts the server on the data that it left, and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends by itself, or is not ready in time.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.binary)
            .args(["--listen", &self.listen.to_string()])
            .args(["--admin-listen", &self.admin.to_string()])
            .args(["--workers", &self.workers.to_string()])
            .arg("--data-dir")
            .arg(&self.data)
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.process = Some(child);
        let begun = Instant::now();
        while !self.is_ready() {
            if let Some(status) = self.ended()? {
                bail!("the server ended by itself while starting: {status}");
            }
            ensure!(begun.elapsed() < READY_DEADLINE, "not ready within {READY_DEADLINE:?}");
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// Kills the server with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it was not running any more: it must live until it is killed.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.strike()?;
        self.bury()
    }

    /// Sends SIGKILL. No instruction of the server runs after it, but while it waits for a disk
    /// its process stays.
    ///
    /// # Errors
    /// As [`Server::kill`].
    pub(crate) fn strike(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("the server ended by itself: {status}");
        }
        Ok(self.process.as_mut().context("the server was not started")?.kill()?)
    }

    /// Waits until the process that was struck is gone.
    ///
    /// # Errors
    /// When there was none.
    pub(crate) fn bury(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the server was not started")?.wait()?;
        Ok(())
    }

    /// Waits until the server has ended by itself, with this exit code.
    ///
    /// # Errors
    /// When it goes on, or ends in another way.
    pub(crate) fn await_end(&mut self, code: i32, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            ensure!(begun.elapsed() < within, "the server does not end within {within:?}");
            thread::sleep(READY_POLL);
        };
        ensure!(status.code() == Some(code), "the server ended with {status}, not with {code}");
        Ok(())
    }

    /// Waits until the server that runs is ready again.
    ///
    /// # Errors
    /// When it ends by itself, or is not ready in time.
    pub(crate) fn await_ready(&mut self, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.is_ready() {
            if let Some(status) = self.ended()? {
                bail!("the server ended by itself: {status}");
            }
            let said = self.readiness().unwrap_or_default();
            ensure!(begun.elapsed() < within, "not ready within {within:?}: {said}");
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// How the process ended, if it did.
    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(match &mut self.process {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }

    /// Whether the server answers `/readyz` with 200.
    fn is_ready(&self) -> bool {
        self.readiness().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// What the server answers to `/readyz`, from the status line to the reasons.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn readiness(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Access tokens of these users, by the command of the binary; the server must have run once.
    ///
    /// # Errors
    /// When the command fails.
    pub(crate) fn tokens(&self, users: &[UserId], device: DeviceId) -> anyhow::Result<Vec<String>> {
        let mut tokens = Vec::with_capacity(users.len());
        for some in users.chunks(TOKENS_PER_CALL) {
            let mut command = Command::new(&self.binary);
            command.args(["token", "--device", &device.to_string(), "--data-dir"]);
            command.arg(&self.data);
            for user in some {
                command.args(["--user", &user.to_string()]);
            }
            let output = command.output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "`ringpost token` failed: {said}");
            tokens.extend(String::from_utf8(output.stdout)?.lines().map(str::to_owned));
        }
        ensure!(tokens.len() == users.len(), "{} tokens for {} users", tokens.len(), users.len());
        Ok(tokens)
    }

    /// Removes data and log after a good run.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// Builds the binary that tasks start.
///
/// # Errors
/// When Cargo fails.
pub(crate) fn build(repository: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--release", "--package", "ringpost-server"];
    let status = Command::new(cargo).args(words).current_dir(repository).status()?;
    ensure!(status.success(), "`cargo {}` ended with {status}", words.join(" "));
    Ok(())
}

/// However a run ends, no process stays behind.
impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            // An error means that it has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ports on which nobody listens, from a place that differs between two runs side by side.
pub(crate) fn free_ports() -> impl Iterator<Item = u16> {
    let span = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(64) % span;
    (0..span)
        .map(move |step| PORTS.start + ((first + step) % span) as u16)
        .filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}
