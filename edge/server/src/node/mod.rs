//! The node: workers, journal, store and REST, started in order and stopped in order.
//!
//! ```text
//!  start: rings opened -> store -> journal read to its end into the store -> journal thread
//!         -> workers -> REST, admin -> listeners
//!  stop:  goaway, connections leave -> workers -> journal (flushed) -> store (persisted)
//! ```
//! Invariants: no connection is accepted before the store has everything that the journal holds;
//! a worker never waits for another thread, and every queue into a worker is a `mailbox`; who does
//! not go on is seen (`watch`), and left behind at a stop (`stop`).

mod control;
mod credentials;
mod driver;
mod ending;
mod listen;
mod mailbox;
mod open;
mod sinks;
mod sources;
mod stop;
mod storage;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use ringpost_journal::{JournalHandle, JournalThread};
use ringpost_store::thread::StoreThreads;

use crate::admin::AdminService;
use crate::auth::TokenVerifier;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::readiness::Readiness;
use crate::reload::{Loader, Reload};
use crate::rest::{Progress, RestService};

use self::driver::Command;
use self::ending::Ending;
use self::mailbox::Mailbox;
pub use self::open::{check_files, start};
use self::watch::{Pulse, Watch};

/// Stack of a worker thread: decoding is not recursive, buffers live elsewhere.
const WORKER_STACK_BYTES: usize = 1 << 20;

/// Hidden subcommand of the binary that tries direct I/O in a child process.
pub const PROBE_COMMAND: &str = "journal-probe";

/// A running node.
pub struct Node {
    listen: Vec<SocketAddr>,
    admin: AdminService,
    workers: Vec<WorkerThread>,
    rest: Arc<RestService>,
    journal: JournalThread,
    store: StoreThreads,
    progress: Arc<Progress>,
    readiness: Arc<Readiness>,
    watch: Watch,
    verifier: Arc<TokenVerifier>,
    config: Config,
    ending: Arc<Ending>,
    /// Held until everything has ended.
    data_dir: DataDir,
}

/// One worker as its owner sees it.
struct WorkerThread {
    thread: JoinHandle<()>,
    mailbox: Arc<Mailbox>,
    commands: mpsc::Sender<Command>,
    pulse: Arc<Pulse>,
}

impl Node {
    /// Addresses that clients connect to, as bound.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Address of the private port, as bound.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Access to the journal, to see whether it has failed.
    pub fn journal(&self) -> JournalHandle {
        self.journal.handle()
    }

    /// What reads settings and keys again while the node runs; `load` reads the settings.
    pub fn reload(&self, load: Loader) -> Reload {
        Reload {
            load,
            config: self.config.clone(),
            data_dir: self.data_dir.path().to_owned(),
            verifier: Arc::clone(&self.verifier),
            make_verifier: open::verifier,
            signer: self.rest.signer(),
        }
    }
}
