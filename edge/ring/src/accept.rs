//! Listeners: which are armed, and what happens when an accept ends.
//!
//! ```text
//!            arm                   accept ended, still wanted
//!   Idle ----------> Armed ------------------------------------> (armed again)
//!    ^ ^               |  \  no slot free
//!    | |               |   +-------------> NoSlot --- a slot was released ---> Armed
//!    | |  cancelled    | pause, close
//!    | +----------- Ending
//!    +--- failed       |
//!                      +--- and all listeners are being closed ---> Closed
//! ```

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

use crate::bank::{Bank, MAIN};
use crate::kernel::Done;
use crate::rings::Completion;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Armed,
    Ending,
    NoSlot,
    Closed,
}

#[derive(Debug)]
struct Listener {
    /// `None` once closed. Kept until the last completion of its accept.
    fd: Option<OwnedFd>,
    phase: Phase,
    /// The ring that accepts, or did last.
    ring: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Accept,
    Pause,
    Close,
}

#[derive(Debug)]
pub(crate) struct Acceptor {
    listeners: Vec<Listener>,
    wish: Wish,
}

impl Acceptor {
    pub(crate) fn new() -> Self {
        Self { listeners: Vec::new(), wish: Wish::Accept }
    }

    pub(crate) fn listen(&mut self, fd: OwnedFd, bank: &mut Bank) {
        assert_ne!(self.wish, Wish::Close, "listeners are added before they are closed");
        self.listeners.push(Listener { fd: Some(fd), phase: Phase::Idle, ring: MAIN });
        if self.wish == Wish::Accept {
            self.arm(self.listeners.len() - 1, bank);
        }
    }

    pub(crate) fn pause(&mut self, bank: &mut Bank) {
        if self.wish == Wish::Accept {
            self.wish = Wish::Pause;
            self.end_all(bank);
        }
    }

    pub(crate) fn resume(&mut self, bank: &mut Bank) {
        if self.wish == Wish::Close {
            return;
        }
        self.wish = Wish::Accept;
        self.arm_where(Phase::Idle, bank);
    }

    pub(crate) fn close(&mut self, bank: &mut Bank) {
        self.wish = Wish::Close;
        self.end_all(bank);
        for listener in &mut self.listeners {
            if listener.phase == Phase::Idle {
                listener.fd = None;
                listener.phase = Phase::Closed;
            }
        }
    }

    /// Accepting goes on at another ring: what is armed elsewhere ends, and is then armed there.
    pub(crate) fn follow_front(&mut self, bank: &mut Bank) {
        let front = bank.front();
        for (key, listener) in self.listeners.iter_mut().enumerate() {
            if listener.phase == Phase::Armed && listener.ring != front {
                listener.phase = Phase::Ending;
                bank.ring(listener.ring).cancel_accept(key);
            }
        }
    }

    /// A listener waits for a slot to become free.
    pub(crate) fn wants_slot(&self) -> bool {
        self.listeners.iter().any(|listener| listener.phase == Phase::NoSlot)
    }

    /// A slot has become free.
    pub(crate) fn on_slot_released(&mut self, bank: &mut Bank) {
        if self.wish == Wish::Accept {
            self.arm_where(Phase::NoSlot, bank);
        }
    }

    /// An accept has completed without a connection, or for the last time. `table_is_full` tells
    /// whether ENFILE speaks of our table or of the whole system's files.
    pub(crate) fn on_accept<'a>(
        &mut self,
        done: &Done,
        table_is_full: bool,
        bank: &mut Bank,
    ) -> Option<Completion<'a>> {
        let key = done.token.key();
        if done.more {
            return None;
        }
        let listener = &mut self.listeners[key];
        listener.phase = Phase::Idle;
        if self.wish == Wish::Close {
            listener.fd = None;
            listener.phase = Phase::Closed;
        }
        let refused = done.result == Err(Errno::ENFILE) && table_is_full;
        if refused {
            bank.main().stats.accepts_refused += 1;
        }
        if self.wish != Wish::Accept {
            return refused.then_some(Completion::AcceptRefused);
        }
        match done.result {
            Err(Errno::ENFILE) if table_is_full => {
                if bank.is_full(bank.front()) {
                    self.listeners[key].phase = Phase::NoSlot;
                } else {
                    self.arm(key, bank);
                }
                Some(Completion::AcceptRefused)
            }
            Err(errno) if !is_transient(errno) => Some(Completion::AcceptFailed { errno }),
            _ => {
                bank.main().stats.accept_re_arms += 1;
                self.arm(key, bank);
                None
            }
        }
    }

    /// The ring of an accept that is still to end; `None` if it has.
    pub(crate) fn ring_of_ending(&self, key: usize) -> Option<usize> {
        let listener = &self.listeners[key];
        (listener.phase == Phase::Ending).then_some(listener.ring)
    }

    /// Cancels an accept that is still to end.
    pub(crate) fn cancel_again(&mut self, key: usize, bank: &mut Bank) {
        bank.ring(self.listeners[key].ring).cancel_accept(key);
    }

    fn arm_where(&mut self, phase: Phase, bank: &mut Bank) {
        for key in 0..self.listeners.len() {
            if self.listeners[key].phase == phase {
                self.arm(key, bank);
            }
        }
    }

    fn arm(&mut self, key: usize, bank: &mut Bank) {
        let listener = &mut self.listeners[key];
        let fd = listener.fd.as_ref().expect("a closed listener is not armed");
        listener.phase = Phase::Armed;
        listener.ring = bank.front();
        bank.ring(listener.ring).accept(key, fd.as_raw_fd());
    }

    fn end_all(&mut self, bank: &mut Bank) {
        for (key, listener) in self.listeners.iter_mut().enumerate() {
            match listener.phase {
                Phase::Armed => {
                    listener.phase = Phase::Ending;
                    bank.ring(listener.ring).cancel_accept(key);
                }
                Phase::NoSlot => listener.phase = Phase::Idle,
                Phase::Idle | Phase::Ending | Phase::Closed => {}
            }
        }
    }
}

/// Errors of one connection, not of the listener (accept(2), "Error handling"), and our own
/// cancel when accepting was resumed before it took effect.
fn is_transient(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECANCELED
            | Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EAGAIN
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
    )
}
