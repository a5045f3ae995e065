//! The rings of one worker, driven by io_uring.
//!
//! Owns the state of slots and listeners and decides which operations they need; the operations
//! themselves, and the memory that they lend, are in [`crate::kernel`]. Completions are taken
//! apart in [`crate::completions`].
//!
//! How many rings there are is hidden here: a [`Slot`] names a position in the set, not in a ring,
//! and [`crate::bank`] knows which ring that is.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;

use crate::accept::Acceptor;
use crate::bank::{Bank, MAIN};
use crate::cancels::Cancels;
use crate::config::{OpenError, RingConfig};
use crate::handle::{EventWaker, RingHandle};
use crate::rings::{Completion, MoveToken, ReceiveMode, Rings, Slot, Wait};
use crate::send_buffer::SendBuffer;
use crate::slots::{Flag, Input, Phase, SlotTable};
use crate::stats::RingStats;
use crate::token::Kind;

/// The address is asked for in two steps: the kernel refuses to be asked for more bytes than the
/// family has, and an IPv6 address shows its family in the first bytes.
const IPV4_ADDRESS_BYTES: usize = 16;
/// Slots that one turn looks at when unannounced ones are searched.
const RECLAIM_PER_TURN: u32 = 1_024;

/// The io_uring driver. Opened by the worker's thread and bound to it:
///
/// ```compile_fail,E0277
/// fn to_another_thread<T: Send>() {}
/// to_another_thread::<ringpost_ring::RingSet>();
/// ```
pub struct RingSet {
    pub(crate) bank: Bank,
    pub(crate) slots: SlotTable,
    pub(crate) acceptor: Acceptor,
    /// Receives that the kernel has ended and that are still wanted.
    pub(crate) re_arm: Vec<Slot>,
    /// Slots whose `stop_receive` found nothing to cancel and is yet to be answered.
    pub(crate) stopped: VecDeque<Slot>,
    /// Cancels that have failed.
    pub(crate) cancels: Cancels,
    /// The kernel cannot tell a peer's address without a descriptor.
    pub(crate) peer_by_install: bool,
    /// Next index to look at for unannounced slots.
    reclaim_from: Option<u32>,
}

impl RingSet {
    /// Opens the rings for the calling thread.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is missing and how to enable it.
    pub fn open(config: &RingConfig) -> Result<Self, OpenError> {
        let bank = Bank::open(config)?;
        Ok(Self {
            slots: SlotTable::new(bank.slots()),
            bank,
            acceptor: Acceptor::new(),
            re_arm: Vec::new(),
            stopped: VecDeque::new(),
            cancels: Cancels::default(),
            peer_by_install: false,
            reclaim_from: None,
        })
    }

    /// Accepts connections from a listening socket, which may be one of several.
    ///
    /// # Panics
    ///
    /// After [`Rings::close_listeners`].
    pub fn listen(&mut self, listener: OwnedFd) {
        self.acceptor.listen(listener, &mut self.bank);
    }

    /// A bell for threads that have no ring of ours.
    #[must_use]
    pub fn event_waker(&self) -> EventWaker {
        self.bank.event_waker()
    }

    /// Rings of this set: the main one and the parking rings.
    #[must_use]
    pub fn rings(&self) -> usize {
        self.bank.rings()
    }

    /// Whether the kernel caps what one connection receives in a turn
    /// ([`RingConfig::receive_turn_bytes`]).
    #[must_use]
    pub fn caps_receives(&self) -> bool {
        self.bank.caps_receives()
    }

    pub(crate) fn cancel_input(&mut self, slot: Slot, input: Input) {
        let kind = if input == Input::Poll { Kind::PollReadable } else { Kind::Receive };
        self.bank.of(slot).cancel_input(slot, kind);
    }

    /// Closes the slot if it waits for that and nothing is in flight any more.
    pub(crate) fn close_when_quiet(&mut self, slot: Slot) {
        let Some(state) = self.slots.lookup(slot) else { return };
        if state.phase() == Phase::Closing && !state.in_flight() {
            state.set_phase(Phase::Leaving);
            self.bank.of(slot).close(slot, Kind::Close);
        }
    }

    /// Arms what the kernel has ended, if it is still wanted.
    fn arm_again(&mut self) {
        let mut slots = std::mem::take(&mut self.re_arm);
        for slot in slots.drain(..) {
            let Some(state) = self.slots.lookup(slot) else { continue };
            if !state.clear(Flag::ReArm) {
                continue;
            }
            let mode = match state.input() {
                Input::Multishot => ReceiveMode::Multishot,
                _ => ReceiveMode::OneShot,
            };
            self.bank.main().stats.receive_re_arms += 1;
            self.bank.of(slot).receive(slot, mode, false);
        }
        self.re_arm = slots;
    }

    /// Looks at the next slots that ought to be empty. The answer to a look comes after the
    /// announcement of whatever it saw, so a slot that is seen and still unknown has none.
    fn reclaim_step(&mut self) {
        let Some(from) = self.reclaim_from else { return };
        let until = from.saturating_add(RECLAIM_PER_TURN).min(self.slots.capacity());
        for index in from..until {
            let (slot, phase) = self.slots.current(index);
            if phase == Phase::Free {
                self.bank.of(slot).probe(slot);
            }
        }
        self.reclaim_from = (until < self.slots.capacity()).then_some(until);
    }
}

impl Rings for RingSet {
    type Handle = RingHandle;

    fn handle(&self) -> RingHandle {
        self.bank.handle().clone()
    }

    fn slots(&self) -> u32 {
        self.slots.capacity()
    }

    fn slots_in_use(&self) -> u32 {
        self.slots.in_use()
    }

    fn pause_accept(&mut self) {
        self.acceptor.pause(&mut self.bank);
    }

    fn resume_accept(&mut self) {
        self.acceptor.resume(&mut self.bank);
    }

    fn close_listeners(&mut self) {
        self.acceptor.close(&mut self.bank);
    }

    fn poll_readable(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        state.begin_input(slot, Input::Poll);
        self.bank.of(slot).poll_readable(slot);
    }

    fn receive(&mut self, slot: Slot, mode: ReceiveMode) {
        let state = self.slots.open(slot);
        state.begin_input(slot, mode.into());
        let poll_first = !state.clear(Flag::Readable);
        self.bank.of(slot).receive(slot, mode, poll_first);
    }

    fn stop_receive(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        state.begin(slot, Flag::Stopping);
        let input = state.input();
        if state.input_in_flight() {
            self.cancel_input(slot, input);
        } else {
            state.clear(Flag::ReArm);
            state.set_input(Input::Idle);
            self.stopped.push_back(slot);
        }
    }

    fn send(&mut self, slot: Slot, buffer: SendBuffer) {
        assert!(!buffer.is_empty(), "{slot:?}: a send has bytes");
        let state = self.slots.open(slot);
        state.begin(slot, Flag::Sending);
        self.bank.of(slot).send(slot, buffer);
    }

    fn poll_writable(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        state.begin(slot, Flag::PollingWrite);
        self.bank.of(slot).poll_writable(slot);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        assert!(!state.has(Flag::Sending), "{slot:?}: a send in flight would be cut");
        state.begin(slot, Flag::Shutting);
        self.bank.of(slot).shutdown_write(slot);
    }

    fn close(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        state.set_phase(Phase::Closing);
        if state.clear(Flag::ReArm) {
            state.set_input(Input::Idle);
        }
        let (input, stopping) = (state.input(), state.clear(Flag::Stopping));
        let polling = state.has(Flag::PollingWrite);
        if input != Input::Idle && !stopping {
            self.cancel_input(slot, input);
        }
        if polling {
            self.bank.of(slot).cancel_poll_writable(slot);
        }
        self.close_when_quiet(slot);
    }

    fn peer_address(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        state.begin(slot, Flag::AskingPeer);
        if self.peer_by_install {
            self.bank.of(slot).install(slot, Kind::PeerInstall);
        } else {
            self.bank.of(slot).peer_name(slot, IPV4_ADDRESS_BYTES);
        }
    }

    fn install(&mut self, slot: Slot) {
        let state = self.slots.open(slot);
        state.begin_departure(slot, Phase::Installing);
        self.bank.of(slot).install(slot, Kind::Install);
    }

    fn admit(&mut self, fd: OwnedFd, key: u32) {
        self.begin_admit(fd, key);
    }

    fn move_out(&mut self, slot: Slot, to: &RingHandle, token: MoveToken) {
        let state = self.slots.open(slot);
        state.begin_departure(slot, Phase::Moving);
        self.bank.of(slot).move_out(slot, to, token);
    }

    fn reclaim_unannounced(&mut self) {
        self.reclaim_from = Some(0);
    }

    fn wake(&mut self, to: &RingHandle) {
        let main = self.bank.main();
        main.stats.wakes_sent += 1;
        main.wake(to);
    }

    fn submit_and_wait(&mut self, wait: Wait, mut on_completion: impl FnMut(Completion<'_>)) {
        self.reclaim_step();
        let is_idle = self.stopped.is_empty() && self.cancels.is_empty();
        let wait = if is_idle { wait } else { Wait::POLL };
        let waits = self.bank.main().stats.waits;
        self.bank.submit_and_wait(wait);
        self.report_stopped(&mut on_completion);
        let mut completions = self.report_completions(MAIN, &mut on_completion);
        let parking = self.bank.begin_collecting();
        if parking {
            for ring in MAIN + 1..self.bank.rings() {
                completions += self.report_completions(ring, &mut on_completion);
            }
        }
        let stats = &mut self.bank.main().stats;
        if stats.waits > waits {
            stats.completions_per_wait.observe(completions);
        }
        // All buffers are back by now, so what starved for one finds one.
        self.bank.publish_buffers(parking);
        self.arm_again();
        self.cancel_again();
    }

    fn stats(&self) -> RingStats {
        self.bank.stats()
    }
}

impl fmt::Debug for RingSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSet")
            .field("slots", &self.slots.capacity())
            .field("slots_in_use", &self.slots.in_use())
            .field("stats", &self.bank.stats())
            .finish_non_exhaustive()
    }
}
