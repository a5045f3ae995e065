//! Connections to others: socket, options, bind and connect, all on the ring and all on a direct
//! descriptor, so that a client may have more connections than the process may have files.
//!
//! ```text
//!   connect --> Socket --> LINGER, NODELAY, BIND_ADDRESS_NO_PORT, BIND, CONNECT --> Connected
//!                 |        all at once, in this order; one fails -----------------> ConnectFailed
//!                 +--------------------------------------------------------------> ConnectFailed
//! ```
//! A slot is reported only when its connection stands; one that fails before is closed silently.

use std::net::SocketAddrV4;

use nix::errno::Errno;

use crate::kernel::{Connecting, Done};
use crate::ring_set::RingSet;
use crate::rings::Completion;
use crate::slots::Phase;
use crate::token::Kind;

/// How a connection ends when its slot is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnClose {
    /// As TCP means it: what was sent still arrives, and the closing end remembers the connection
    /// for a minute.
    Finish,
    /// By a reset: nothing is remembered, what has not arrived is lost. As when a host vanishes.
    Reset,
}

impl RingSet {
    /// Connects to `to` from the address `from` (port 0: the kernel chooses one that is free for
    /// this destination). Answered by [`Completion::Connected`] or [`Completion::ConnectFailed`]
    /// with `key`. Needs Linux 6.11.
    pub fn connect(&mut self, from: SocketAddrV4, to: SocketAddrV4, key: u32, on_close: OnClose) {
        let ring = self.bank.handle().take_place();
        self.bank.ring(ring).socket(from, to, key, on_close);
    }

    pub(crate) fn on_socket(
        &mut self,
        ring: usize,
        done: &Done,
        on: &mut impl FnMut(Completion<'_>),
    ) {
        match done.result {
            Ok(index) => {
                let slot = self.arrive(ring, index, on);
                self.bank.ring(ring).connect_steps(done.token, slot);
            }
            Err(errno) => {
                self.bank.gave_place_back(ring);
                let key = self.bank.ring(ring).take_connect(done.token).key;
                self.connect_failed(key, errno, on);
            }
        }
    }

    pub(crate) fn on_connect_step(
        &mut self,
        ring: usize,
        done: &Done,
        on: &mut impl FnMut(Completion<'_>),
    ) {
        let kernel = self.bank.ring(ring);
        let Some(over) = kernel.connect_step_done(done.token, done.result) else { return };
        let Connecting { slot, key, failed } = over;
        let slot = slot.expect("the steps of a connect have a slot");
        match failed {
            None => {
                self.bank.main().stats.connected += 1;
                on(Completion::Connected { slot, key });
            }
            Some(errno) => {
                self.slots.open(slot).set_phase(Phase::Reclaiming);
                self.bank.of(slot).close(slot, Kind::Reclaim);
                self.connect_failed(key, errno, on);
            }
        }
    }

    fn connect_failed(&mut self, key: u32, errno: Errno, on: &mut impl FnMut(Completion<'_>)) {
        self.bank.main().stats.connects_failed += 1;
        on(Completion::ConnectFailed { key, errno });
    }
}
