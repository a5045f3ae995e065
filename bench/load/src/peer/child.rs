//! A server's process: pinned, watched while it starts, and gone when its owner is.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::tie::tied;

/// How long a start may take, on a machine that does other things as well.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);
/// Below the ports that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 17_400..27_400;

/// A running process and its folder, which goes with it.
pub(super) struct Child {
    process: Process,
    name: String,
    folder: PathBuf,
    keep_folder: bool,
}

impl Child {
    /// Starts `command` on one core; its output goes to `folder/log`.
    pub(super) fn start(
        name: &str,
        folder: &Path,
        core: usize,
        command: &Command,
    ) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        let process = pinned(core, || {
            let mut tied = tied(command)?;
            tied.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            tied.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))
        })?;
        let folder = folder.to_owned();
        Ok(Self { process, name: name.to_owned(), folder, keep_folder: false })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until `ready` says so.
    pub(super) fn until(&mut self, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.process.try_wait()? {
                self.keep_folder = true;
                bail!("{} ended by itself: {status}; see {}", self.name, self.log().display());
            }
            if begun.elapsed() > READY_DEADLINE {
                self.keep_folder = true;
                bail!("{} is not ready; see {}", self.name, self.log().display());
            }
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// Ends the process and leaves the folder for the next life.
    pub(super) fn kill_and_keep(mut self) -> anyhow::Result<()> {
        ensure!(self.process.try_wait()?.is_none(), "{} ended by itself", self.name);
        self.keep_folder = true;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !self.keep_folder {
            // What cannot be removed is in the target folder, where `cargo clean` finds it.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Runs `start` pinned to `core`: a child inherits what its parent has at that moment.
fn pinned<T>(core: usize, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this).context("reading the affinity")?;
    let mut one = CpuSet::new();
    one.set(core)?;
    sched_setaffinity(this, &one).with_context(|| format!("pinning to core {core}"))?;
    let outcome = start();
    sched_setaffinity(this, &before).context("unpinning")?;
    outcome
}

/// A new folder for a peer's files.
pub(super) fn folder(name: &str) -> anyhow::Result<PathBuf> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::current_dir()?
        .join(format!("target/bench/{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A port on which nobody listens.
pub(super) fn free_address() -> anyhow::Result<SocketAddrV4> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = PORTS.start + ((std::process::id().wrapping_mul(64) + step) % span) as u16;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free from {} to {}", PORTS.start, PORTS.end)
}

/// Whether somebody listens there.
pub(super) fn listens(address: SocketAddrV4) -> bool {
    TcpStream::connect(address).is_ok()
}
