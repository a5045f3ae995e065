//! What a server cost: processor time, memory and system calls, read from outside.

mod machine;
mod process;
mod slab;

use std::time::{Duration, Instant};

pub(crate) use self::machine::{Environment, busy_everywhere};
pub(crate) use self::process::{descriptors, processor_time, resident_bytes};
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
    /// The beginning of what is measured. `own_enters`: of the generator so far.
    ///
    /// # Errors
    /// When the server is gone, or `/proc` has an unknown form.
    pub(crate) fn begin(peer: &dyn Peer, own_enters: u64) -> anyhow::Result<Self> {
        // Asking costs the server something: it is asked before the clock starts.
        let enters = peer.enters()?;
        Ok(Self { enters, ..Self::times(peer, own_enters)? })
    }

    /// What was spent since the beginning.
    ///
    /// # Errors
    /// As [`Reading::begin`].
    pub(crate) fn spent(&self, peer: &dyn Peer, own_enters: u64) -> anyhow::Result<Spent> {
        // And after it has stopped.
        let later = Self::times(peer, own_enters)?;
        let enters = peer.enters()?;
        let (server, own) = (later.server - self.server, later.own - self.own);
        let machine = later.machine.saturating_sub(self.machine);
        Ok(Spent {
            wall: later.at - self.at,
            server,
            own,
            others: machine.saturating_sub(server + own),
            enters: self.enters.zip(enters).map(|(before, after)| after - before),
            own_enters: later.own_enters - self.own_enters,
        })
    }

    fn times(peer: &dyn Peer, own_enters: u64) -> anyhow::Result<Self> {
        Ok(Self {
            enters: None,
            own_enters,
            at: Instant::now(),
            server: processor_time(peer.process_id())?,
            own: processor_time(std::process::id())?,
            machine: busy_everywhere()?,
        })
    }
}
