//! What a server cost: processor time, memory and system calls, read from outside.

mod machine;
mod process;
mod slab;

use std::time::{Duration, Instant};

pub(crate) use self::machine::{Environment, busy_everywhere};
pub(crate) use self::process::{processor_time, resident_bytes};
pub(crate) use self::slab::slab_bytes;

use crate::peer::Peer;

/// A reading at one moment.
pub(crate) struct Reading {
    at: Instant,
    server: Duration,
    own: Duration,
    machine: Duration,
    enters: Option<u64>,
    own_enters: u64,
}

/// What happened between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// Wall time.
    pub(crate) wall: Duration,
    /// Processor time of the server, all its threads.
    pub(crate) server: Duration,
    /// Processor time of the generator.
    pub(crate) own: Duration,
    /// Processor time of everybody else on the machine.
    pub(crate) others: Duration,
    /// `io_uring_enter` calls of the server, where it tells.
    pub(crate) enters: Option<u64>,
    /// `io_uring_enter` calls of the generator.
    pub(crate) own_enters: u64,
}

impl Reading {
    /// Reads now. `own_enters`: of the generator so far.
    ///
    /// # Errors
    /// When the server is gone, or `/proc` has an unknown form.
    pub(crate) fn take(peer: &dyn Peer, own_enters: u64) -> anyhow::Result<Self> {
        Ok(Self {
            enters: peer.enters()?,
            own_enters,
            at: Instant::now(),
            server: processor_time(peer.process_id())?,
            own: processor_time(std::process::id())?,
            machine: busy_everywhere()?,
        })
    }

    /// What was spent from this reading to `later`.
    pub(crate) fn until(&self, later: &Self) -> Spent {
        let (server, own) = (later.server - self.server, later.own - self.own);
        let machine = later.machine.saturating_sub(self.machine);
        Spent {
            wall: later.at - self.at,
            server,
            own,
            others: machine.saturating_sub(server + own),
            enters: self.enters.zip(later.enters).map(|(before, after)| after - before),
            own_enters: later.own_enters - self.own_enters,
        }
    }
}
