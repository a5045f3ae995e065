//! What completions mean: from the kernel's answers to [`Completion`]s and the next state of a
//! slot.
//!
//! A slot that is being closed swallows what still completes, except its send: the caller gets
//! its memory back. A slot's next life may begin before the answer to its close is read (the
//! kernel reuses the index at once, and posts answers to submissions in batches), so an arrival
//! on a slot that is leaving ends the earlier life first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockaddrStorage, getpeername};
use smallvec::SmallVec;

use crate::cancels::Cancel;
use crate::kernel::{ADDRESS_BYTES, BATCH, Done, Kernel};
use crate::ring_set::RingSet;
use crate::rings::{Completion, Operation, Slot};
use crate::send_buffer::SendBuffer;
use crate::slots::{Flag, Input, Phase};
use crate::token::Kind;

impl RingSet {
    /// Answers the stops that had nothing to cancel.
    pub(crate) fn report_stopped(&mut self, on: &mut impl FnMut(Completion<'_>)) {
        // Ends: nothing joins them meanwhile, for stops are asked for between turns.
        while let Some(slot) = self.stopped.pop_front() {
            // Closing the slot answers it too.
            if self.slots.lookup(slot).is_some_and(|state| state.clear(Flag::Stopping)) {
                on(Completion::ReceiveStopped { slot });
            }
        }
    }

    /// Takes what stands in the completion queue of a ring now, and says how many entries that
    /// were. What has overflown stays with the kernel, in order, and is collected by the next enter.
    ///
    /// An answer may queue operations, and where the submission queue is full they go to the kernel
    /// at once, which may answer them at once. Those answers are for the next turn: a turn takes at
    /// most as many entries as the queue has.
    pub(crate) fn report_completions(
        &mut self,
        ring: usize,
        on: &mut impl FnMut(Completion<'_>),
    ) -> u64 {
        let mut batch: SmallVec<[Done; BATCH]> = SmallVec::new();
        self.bank.count_overflow(ring);
        let entries = self.bank.ready(ring);
        let mut left = entries;
        // Ends: they are there, and each round takes some of them.
        while left > 0 {
            self.bank.take(ring, left, &mut batch);
            left -= batch.len();
            for done in &batch {
                self.report(ring, done, on);
            }
        }
        entries as u64
    }

    fn report(&mut self, ring: usize, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let slot = done.token.slot();
        match done.token.kind() {
            Kind::Accept => self.on_accept(ring, done, on),
            Kind::CancelAccept => self.cancels.add(Cancel::Accept(done.token.key())),
            Kind::PollReadable => self.on_readable(slot, done, on),
            Kind::Receive => self.on_receive(slot, done, on),
            Kind::CancelInput => self.cancels.add(Cancel::Input(slot)),
            Kind::Send => self.on_send(ring, done, on),
            Kind::PollWritable => self.on_writable(slot, done, on),
            Kind::CancelOutput => self.cancels.add(Cancel::Output(slot)),
            Kind::ShutdownWrite => self.on_write_shut(slot, done, on),
            Kind::PeerName => self.on_peer_name(ring, done, on),
            Kind::PeerInstall => self.on_peer_install(slot, done, on),
            Kind::Install => self.on_install(slot, done, on),
            Kind::Move => self.on_move(ring, done, on),
            Kind::MovedIn => self.on_moved_in(ring, done, on),
            Kind::Close => self.on_close(slot, on),
            Kind::Probe => self.on_probe(slot, done),
            Kind::Reclaim => self.on_reclaimed(slot),
            Kind::Wake => self.bank.main().stats.wakes_failed += 1,
            Kind::Woken => {
                self.bank.main().stats.wakes_received += 1;
                on(Completion::Woken);
            }
            Kind::Event => {
                let main = self.bank.main();
                main.stats.event_wakes += 1;
                main.bell_rang();
                on(Completion::Woken);
            }
            Kind::ParkingEvent => self.bank.has_rung(),
            Kind::CancelAll => {}
            Kind::Socket => self.on_socket(ring, done, on),
            Kind::ConnectStep => self.on_connect_step(ring, done, on),
            Kind::Admit => self.on_admit(ring, done, on),
        }
    }

    fn on_accept(&mut self, ring: usize, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        if let Ok(local) = done.result {
            self.bank.main().stats.accepted += 1;
            self.bank.took_slot(ring);
            let slot = self.arrive(ring, local, on);
            on(Completion::Accepted { slot });
        }
        let full = self.bank.is_full(ring);
        if self.bank.turn_front() {
            self.acceptor.follow_front(&mut self.bank);
        }
        if let Some(completion) = self.acceptor.on_accept(done, full, &mut self.bank) {
            on(completion);
        }
    }

    fn on_moved_in(&mut self, ring: usize, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let local = done.result.expect("an arrival carries the slot");
        self.bank.main().stats.moved_in += 1;
        let slot = self.arrive(ring, local, on);
        on(Completion::MovedIn { slot, token: done.token.move_token() });
    }

    /// A ring's kernel has put a connection at `local` of its table.
    pub(crate) fn arrive(
        &mut self,
        ring: usize,
        local: u32,
        on: &mut impl FnMut(Completion<'_>),
    ) -> Slot {
        let index = self.bank.index(ring, local);
        match self.slots.current(index) {
            (earlier, Phase::Leaving) => self.on_close(earlier, on),
            (earlier, Phase::Reclaiming) => self.on_reclaimed(earlier),
            _ => {}
        }
        self.slots.occupy(index)
    }

    fn on_readable(&mut self, slot: Slot, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let Some(state) = self.slots.lookup(slot) else { return self.on_stale() };
        state.set_input(Input::Idle);
        let stopping = state.clear(Flag::Stopping);
        let open = state.phase() == Phase::Open;
        match done.result {
            Ok(_) => state.set(Flag::Readable),
            Err(Errno::ECANCELED) => self.bank.main().stats.cancelled += 1,
            Err(_) => {}
        }
        match done.result {
            Ok(_) if open && !stopping => on(Completion::Readable { slot }),
            Err(errno) if open && !stopping => {
                on(Completion::Failed { slot, operation: Operation::PollReadable, errno });
            }
            _ => {}
        }
        if stopping {
            on(Completion::ReceiveStopped { slot });
        }
        self.close_when_quiet(slot);
    }

    fn on_receive(&mut self, slot: Slot, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let Some(state) = self.slots.lookup(slot) else {
            if let Some(id) = done.buffer {
                let buffers = &mut self.bank.of(slot).buffers;
                buffers.borrow(id, 0);
                buffers.give_back(id);
            }
            return self.on_stale();
        };
        let open = state.phase() == Phase::Open;
        let starved = done.result == Err(Errno::ENOBUFS);
        let mut stopped = false;
        if !done.more {
            stopped = state.clear(Flag::Stopping);
            let goes_on = match done.result {
                Ok(bytes) => bytes > 0 && state.input() == Input::Multishot,
                Err(_) => starved,
            };
            if done.nonempty || starved {
                state.set(Flag::Readable);
            }
            if goes_on && open && !stopped {
                state.set(Flag::ReArm);
                self.re_arm.push(slot);
            } else {
                state.set_input(Input::Idle);
            }
        }
        let more = state.input() != Input::Idle;
        self.report_received(slot, done, open, more, on);
        if stopped {
            on(Completion::ReceiveStopped { slot });
        }
        if !done.more {
            self.close_when_quiet(slot);
        }
    }

    fn report_received(
        &mut self,
        slot: Slot,
        done: &Done,
        open: bool,
        more: bool,
        on: &mut impl FnMut(Completion<'_>),
    ) {
        let Kernel { stats, buffers, .. } = self.bank.of(slot);
        match done.result {
            Ok(0) if open => on(Completion::Eof { slot }),
            Err(Errno::ECANCELED) => stats.cancelled += 1,
            Err(Errno::ENOBUFS) => stats.buffer_starvations += 1,
            Err(errno) if open => {
                on(Completion::Failed { slot, operation: Operation::Receive, errno });
            }
            Ok(_) | Err(_) => {}
        }
        let Some(id) = done.buffer else { return };
        let bytes = buffers.borrow(id, done.result.unwrap_or(0) as usize);
        if open && !bytes.is_empty() {
            stats.received_bytes += bytes.len() as u64;
            on(Completion::Received { slot, bytes, more });
        } else {
            stats.discarded_bytes += bytes.len() as u64;
        }
        buffers.give_back(id);
    }

    fn on_send(&mut self, ring: usize, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let (slot, mut buffer) = self.bank.ring(ring).take_send(done.token);
        let result = done.result.map(|bytes| bytes as usize);
        self.count_send(&mut buffer, result);
        if let Some(state) = self.slots.lookup(slot) {
            state.clear(Flag::Sending);
        }
        on(Completion::Sent { slot, buffer, result });
        self.close_when_quiet(slot);
    }

    fn count_send(&mut self, buffer: &mut SendBuffer, result: Result<usize, Errno>) {
        match result {
            Ok(bytes) => {
                buffer.advance(bytes);
                self.bank.main().stats.sent_bytes += bytes as u64;
                self.bank.main().stats.short_sends += u64::from(!buffer.is_empty());
            }
            Err(Errno::EAGAIN) => self.bank.main().stats.blocked_sends += 1,
            Err(_) => {}
        }
    }

    fn on_writable(&mut self, slot: Slot, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let Some(state) = self.slots.lookup(slot) else { return self.on_stale() };
        state.clear(Flag::PollingWrite);
        let open = state.phase() == Phase::Open;
        match done.result {
            Ok(_) if open => on(Completion::Writable { slot }),
            Err(errno) if open => {
                on(Completion::Failed { slot, operation: Operation::PollWritable, errno });
            }
            Err(Errno::ECANCELED) => self.bank.main().stats.cancelled += 1,
            _ => {}
        }
        self.close_when_quiet(slot);
    }

    fn on_write_shut(&mut self, slot: Slot, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let Some(state) = self.slots.lookup(slot) else { return self.on_stale() };
        state.clear(Flag::Shutting);
        let open = state.phase() == Phase::Open;
        match done.result {
            Ok(_) if open => on(Completion::WriteShut { slot }),
            Err(errno) if open => {
                on(Completion::Failed { slot, operation: Operation::ShutdownWrite, errno });
            }
            _ => {}
        }
        self.close_when_quiet(slot);
    }

    fn on_peer_name(&mut self, ring: usize, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let (slot, address) = self.bank.ring(ring).take_question(done.token);
        let Some(state) = self.slots.lookup(slot) else { return self.on_stale() };
        let open = state.phase() == Phase::Open;
        match done.result {
            Ok(bytes) if open => match read_address(&address, bytes as usize) {
                ReadAddress::Whole(address) => self.on_peer(slot, Ok(address), on),
                ReadAddress::LongerFamily => self.bank.of(slot).peer_name(slot, ADDRESS_BYTES),
                ReadAddress::OtherFamily => self.on_peer(slot, Err(Errno::EAFNOSUPPORT), on),
            },
            // What a kernel without this command, or without this option, answers.
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOPROTOOPT) if open => {
                self.peer_by_install = true;
                self.bank.of(slot).install(slot, Kind::PeerInstall);
            }
            result => self.on_peer(slot, Err(result.err().unwrap_or(Errno::ECANCELED)), on),
        }
    }

    fn on_peer_install(&mut self, slot: Slot, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        self.bank.main().stats.peer_address_fallbacks += 1;
        let installed = done.result.map(|fd| self.bank.main().adopt(fd));
        self.on_peer(slot, installed.and_then(|fd| peer_of(&fd)), on);
    }

    fn on_peer(
        &mut self,
        slot: Slot,
        peer: Result<SocketAddr, Errno>,
        on: &mut impl FnMut(Completion<'_>),
    ) {
        let Some(state) = self.slots.lookup(slot) else { return self.on_stale() };
        state.clear(Flag::AskingPeer);
        if state.phase() != Phase::Open {
            return self.close_when_quiet(slot);
        }
        match peer {
            Ok(address) => on(Completion::PeerAddress { slot, address }),
            Err(errno) => {
                on(Completion::Failed { slot, operation: Operation::PeerAddress, errno });
            }
        }
    }

    fn on_install(&mut self, slot: Slot, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let state = self.slots.lookup(slot).expect("an installing slot stays until it is told");
        match done.result {
            Ok(fd) => {
                state.set_phase(Phase::Closing);
                let fd = self.bank.main().adopt(fd);
                fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
                    .expect("a socket takes O_NONBLOCK");
                on(Completion::Installed { slot, fd });
                self.close_when_quiet(slot);
            }
            Err(errno) => {
                state.set_phase(Phase::Open);
                on(Completion::Failed { slot, operation: Operation::Install, errno });
            }
        }
    }

    fn on_move(&mut self, ring: usize, done: &Done, on: &mut impl FnMut(Completion<'_>)) {
        let (slot, to, door) = self.bank.ring(ring).take_move(done.token);
        let state = self.slots.lookup(slot).expect("a moving slot stays until it is told");
        match done.result {
            Ok(_) => {
                state.set_phase(Phase::Closing);
                self.bank.main().stats.moved_out += 1;
                on(Completion::MovedOut { slot });
                self.close_when_quiet(slot);
            }
            Err(errno) => {
                state.set_phase(Phase::Open);
                self.bank.main().stats.moves_failed += 1;
                // The target's slot was filled before its completion found no room.
                let unannounced = errno == Errno::EOVERFLOW;
                if !unannounced {
                    to.doors()[door].leave();
                }
                on(Completion::MoveFailed { slot, errno, unannounced });
            }
        }
    }

    fn on_close(&mut self, slot: Slot, on: &mut impl FnMut(Completion<'_>)) {
        // A later life has begun already, and has ended this one.
        if self.slots.lookup(slot).is_none() {
            return;
        }
        self.release(slot);
        self.bank.main().stats.closed += 1;
        on(Completion::Closed { slot });
        self.accept_again();
    }

    /// A slot that we believe to be free was looked at: EBADF says that it is.
    fn on_probe(&mut self, slot: Slot, done: &Done) {
        let still_free = self.slots.current(slot.index()) == (slot, Phase::Free);
        if still_free && done.result != Err(Errno::EBADF) {
            let slot = self.slots.occupy(slot.index());
            self.slots.open(slot).set_phase(Phase::Reclaiming);
            self.bank.of(slot).close(slot, Kind::Reclaim);
        }
    }

    fn on_reclaimed(&mut self, slot: Slot) {
        if self.slots.lookup(slot).is_some() {
            self.release(slot);
            self.bank.main().stats.reclaimed += 1;
            self.accept_again();
        }
    }

    fn release(&mut self, slot: Slot) {
        self.slots.release(slot);
        self.bank.released(slot);
    }

    /// A slot is free: what was refused for want of one goes on.
    fn accept_again(&mut self) {
        if self.acceptor.wants_slot() {
            self.bank.turn_front();
            self.acceptor.on_slot_released(&mut self.bank);
        }
    }

    fn on_stale(&mut self) {
        self.bank.main().stats.stale_completions += 1;
    }
}

enum ReadAddress {
    Whole(SocketAddr),
    /// IPv6, and only the first bytes were asked for.
    LongerFamily,
    OtherFamily,
}

/// Reads a `sockaddr_in` or `sockaddr_in6` of which `length` bytes were filled: family in the
/// machine's byte order, port and address in the network's.
fn read_address(bytes: &[u8; ADDRESS_BYTES], length: usize) -> ReadAddress {
    let [f0, f1, p0, p1, rest @ ..] = bytes;
    let port = u16::from_be_bytes([*p0, *p1]);
    match i32::from(u16::from_ne_bytes([*f0, *f1])) {
        libc::AF_INET => {
            let [a, b, c, d, ..] = rest;
            ReadAddress::Whole((Ipv4Addr::new(*a, *b, *c, *d), port).into())
        }
        libc::AF_INET6 if length < ADDRESS_BYTES => ReadAddress::LongerFamily,
        libc::AF_INET6 => {
            let (flow, rest) = rest.split_at(4);
            let (address, scope) = rest.split_at(16);
            let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u128::from(*b));
            let address = Ipv6Addr::from_bits(number(address));
            let scope = u32::from_ne_bytes([scope[0], scope[1], scope[2], scope[3]]);
            let v6 = SocketAddrV6::new(address, port, number(flow) as u32, scope);
            ReadAddress::Whole(canonical(SocketAddr::V6(v6)))
        }
        _ => ReadAddress::OtherFamily,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => (v4, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

fn peer_of(fd: &OwnedFd) -> Result<SocketAddr, Errno> {
    let peer = getpeername::<SockaddrStorage>(fd.as_raw_fd())?;
    if let Some(v4) = peer.as_sockaddr_in() {
        return Ok((v4.ip(), v4.port()).into());
    }
    let v6 = peer.as_sockaddr_in6().ok_or(Errno::EAFNOSUPPORT)?;
    Ok(canonical(SocketAddr::V6(SocketAddrV6::from(*v6))))
}
