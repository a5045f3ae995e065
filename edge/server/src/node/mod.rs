//! The node: workers, journal, store and REST, started in order and stopped in order.
//!
//! ```text
//!  start: rings opened -> store -> journal read to its end into the store -> journal thread
//!         -> workers -> REST, admin -> listeners
//!  stop:  goaway, connections leave -> workers -> journal (flushed) -> store (persisted)
//! ```
//! Invariants: no connection is accepted before the store has everything that the journal holds;
//! a worker never waits for another thread, and every queue into a worker is a `mailbox`.

mod control;
mod credentials;
mod driver;
mod listen;
mod mailbox;
mod open;
mod sinks;
mod sources;
mod storage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringpost_conn::Letter;
use ringpost_journal::{JournalHandle, JournalThread};
use ringpost_store::thread::StoreThreads;

use crate::data_dir::DataDir;
use crate::exit::{Failure, Kind};
use crate::readiness::Readiness;
use crate::rest::{Progress, RestService};

pub use self::driver::Clock;
use self::driver::Command;
use self::mailbox::Mailbox;
pub use self::open::start;

/// Stack of a worker thread: decoding is not recursive, buffers live elsewhere.
const WORKER_STACK_BYTES: usize = 1 << 20;

/// Hidden subcommand of the binary that tries direct I/O in a child process.
pub const PROBE_COMMAND: &str = "journal-probe";

/// How long the store may take to persist at a stop.
const STORE_STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running node.
pub struct Node {
    listen: Vec<SocketAddr>,
    admin: SocketAddr,
    workers: Vec<WorkerThread>,
    rest: Arc<RestService>,
    journal: JournalThread,
    store: StoreThreads,
    progress: Arc<Progress>,
    readiness: Arc<Readiness>,
    drain_deadline: Duration,
    /// Held until everything has ended.
    _data_dir: DataDir,
}

/// One worker as its owner sees it.
struct WorkerThread {
    thread: JoinHandle<()>,
    mailbox: Arc<Mailbox>,
    commands: mpsc::Sender<Command>,
}

impl Node {
    /// Addresses that clients connect to, as bound.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Address of the private port, as bound.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Access to the journal, to see whether it has failed.
    pub fn journal(&self) -> JournalHandle {
        self.journal.handle()
    }

    /// Waits for SIGTERM or SIGINT and answers its name.
    ///
    /// # Errors
    /// If the system takes no handler.
    pub fn wait_for_signal(&self) -> Result<&'static str, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        self.rest
            .runtime()
            .block_on(async {
                let mut terminate = signal(SignalKind::terminate())?;
                let mut interrupt = signal(SignalKind::interrupt())?;
                tokio::select! {
                    _ = terminate.recv() => Ok("SIGTERM"),
                    _ = interrupt.recv() => Ok("SIGINT"),
                }
            })
            .map_err(|error: std::io::Error| Failure::new(Kind::Host, error))
    }

    /// Tells every client to leave, waits for them, makes everything durable and ends.
    ///
    /// # Errors
    /// If the journal had failed, or the store could not persist (the journal then keeps what it
    /// lacks).
    pub fn stop(self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.drain_deadline;
        self.readiness.refuse("draining", "the server was told to stop");
        for worker in &self.workers {
            worker.mailbox.post(Letter::Drain);
        }
        for worker in &self.workers {
            // A worker that has ended already has nothing to stop.
            let _ = worker.commands.send(Command::StopWhenDrained { deadline });
            worker.mailbox.wake();
        }
        for worker in self.workers {
            if worker.thread.join().is_err() {
                return Err(Failure::new(Kind::Internal, anyhow::anyhow!("a worker panicked")));
            }
        }
        let journal = self.journal.stop();
        self.progress.on_stopped();
        let store = self.store.stop(STORE_STOP_DEADLINE);
        if let Some(rest) = Arc::into_inner(self.rest) {
            rest.stop();
        }
        journal.map_err(|error| Failure::new(Kind::Storage, anyhow::anyhow!("{error}")))?;
        store.map_err(|error| Failure::new(Kind::Storage, error))
    }
}
