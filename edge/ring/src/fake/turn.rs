//! One turn of a fake ring: serves accepts, arrivals, wakes and slots in random order.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;

use super::socket::{Installed, Socket};
use super::{Accepting, FakeHandle, Ring, State};
use crate::rings::{Completion, MoveToken, Operation, Slot};
use crate::send_buffer::SendBuffer;
use crate::slots::{Flag, Input, Phase};

/// Completions of one multishot receive in one turn.
const RECEIVES_PER_TURN_MAX: usize = 4;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN_MAX: usize = 32;

/// A completion that owns what it reports.
pub(super) enum Event {
    Accepted(Slot),
    AcceptRefused,
    AcceptFailed(Errno),
    Received(Slot, Vec<u8>, bool),
    Readable(Slot),
    Eof(Slot),
    ReceiveStopped(Slot),
    Sent(Slot, SendBuffer, Result<usize, Errno>),
    Writable(Slot),
    WriteShut(Slot),
    PeerAddress(Slot, SocketAddr),
    Failed(Slot, Operation, Errno),
    Installed(Slot, Option<OwnedFd>),
    MovedOut(Slot),
    MoveFailed(Slot, Errno),
    MovedIn(Slot, MoveToken),
    Closed(Slot),
    Woken,
    Admitted(Slot, u32),
    AdmitFailed(Option<OwnedFd>, u32, Errno),
}

impl Event {
    /// Lends or hands over its contents; called once.
    pub(super) fn as_completion(&mut self) -> Completion<'_> {
        match self {
            Self::Accepted(slot) => Completion::Accepted { slot: *slot },
            Self::AcceptRefused => Completion::AcceptRefused,
            Self::AcceptFailed(errno) => Completion::AcceptFailed { errno: *errno },
            Self::Received(slot, bytes, more) => {
                Completion::Received { slot: *slot, bytes, more: *more }
            }
            Self::Readable(slot) => Completion::Readable { slot: *slot },
            Self::Eof(slot) => Completion::Eof { slot: *slot },
            Self::ReceiveStopped(slot) => Completion::ReceiveStopped { slot: *slot },
            Self::Sent(slot, buffer, result) => {
                Completion::Sent { slot: *slot, buffer: std::mem::take(buffer), result: *result }
            }
            Self::Writable(slot) => Completion::Writable { slot: *slot },
            Self::WriteShut(slot) => Completion::WriteShut { slot: *slot },
            Self::PeerAddress(slot, address) => {
                Completion::PeerAddress { slot: *slot, address: *address }
            }
            Self::Failed(slot, operation, errno) => {
                Completion::Failed { slot: *slot, operation: *operation, errno: *errno }
            }
            Self::Installed(slot, fd) => Completion::Installed {
                slot: *slot,
                fd: fd.take().expect("an installed descriptor is handed over once"),
            },
            Self::MovedOut(slot) => Completion::MovedOut { slot: *slot },
            Self::MoveFailed(slot, errno) => Completion::MoveFailed {
                slot: *slot,
                errno: *errno,
                unannounced: *errno == Errno::EOVERFLOW,
            },
            Self::MovedIn(slot, token) => Completion::MovedIn { slot: *slot, token: *token },
            Self::Closed(slot) => Completion::Closed { slot: *slot },
            Self::Woken => Completion::Woken,
            Self::Admitted(slot, key) => Completion::Admitted { slot: *slot, key: *key },
            Self::AdmitFailed(fd, key, errno) => Completion::AdmitFailed {
                fd: fd.take().expect("a descriptor is given back once"),
                key: *key,
                errno: *errno,
            },
        }
    }
}

/// Serves one side of an open slot.
type Side = fn(&mut State, FakeHandle, Slot, &mut Vec<Event>);

/// What a turn serves.
enum Task {
    Accept,
    Arrivals,
    Wakes,
    Admits,
    Slot(u32),
}

impl State {
    /// Serves everything of a ring once, in random order.
    pub(super) fn turn(&mut self, of: FakeHandle) -> Vec<Event> {
        let ring = &self.rings[of.0];
        let in_use = ring.connections.iter().enumerate().filter(|(_, slot)| slot.is_some());
        let mut tasks: Vec<Task> = in_use.map(|(index, _)| Task::Slot(index as u32)).collect();
        tasks.extend([Task::Accept, Task::Arrivals, Task::Wakes]);
        if !ring.admits.is_empty() {
            tasks.push(Task::Admits);
        }
        self.chance.shuffle(&mut tasks);
        self.inputs_left = self.sizes.inputs_per_turn;
        let mut events = Vec::new();
        for task in tasks {
            match task {
                Task::Accept => self.accept(of, &mut events),
                Task::Arrivals => self.arrive(of, &mut events),
                Task::Wakes => self.report_wakes(of, &mut events),
                Task::Admits => self.admit(of, &mut events),
                Task::Slot(index) => self.serve(of, index, &mut events),
            }
        }
        let ring = &mut self.rings[of.0];
        ring.stats.enters += 1;
        ring.stats.completions += events.len() as u64;
        events
    }

    fn defers(&mut self) -> bool {
        self.chance.happens(self.faults.defer)
    }

    fn accept(&mut self, of: FakeHandle, events: &mut Vec<Event>) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let ring = &self.rings[of.0];
            if ring.accepting != Accepting::Yes || ring.backlog.is_empty() || self.defers() {
                return;
            }
            let fails = self.chance.happens(self.faults.fail_accept);
            let ring = &mut self.rings[of.0];
            if fails {
                ring.accepting = Accepting::Paused;
                events.push(Event::AcceptFailed(Errno::ENOMEM));
                return;
            }
            let socket = ring.backlog.pop_front().expect("looked at above");
            if ring.is_full() {
                ring.stats.accepts_refused += 1;
                ring.accepting = Accepting::NoSlot;
                events.push(Event::AcceptRefused);
                self.sockets[socket].reset();
                self.drop_near(socket);
                return;
            }
            ring.stats.accepted += 1;
            events.push(Event::Accepted(ring.place(socket)));
        }
    }

    fn arrive(&mut self, of: FakeHandle, events: &mut Vec<Event>) {
        while !self.rings[of.0].arrivals.is_empty() && !self.defers() {
            let ring = &mut self.rings[of.0];
            let (socket, token) = ring.arrivals.pop_front().expect("looked at above");
            ring.stats.moved_in += 1;
            events.push(Event::MovedIn(ring.place(socket), token));
        }
    }

    /// Takes descriptors in, if they are those of fake sockets.
    fn admit(&mut self, of: FakeHandle, events: &mut Vec<Event>) {
        while !self.rings[of.0].admits.is_empty() && !self.defers() {
            let fails = self.chance.happens(self.faults.fail_admit);
            let ring = &mut self.rings[of.0];
            let (fd, key) = ring.admits.pop_front().expect("looked at above");
            let full = fails || ring.is_full();
            let near = File::from(fd);
            let inode = near.metadata().map_or(0, |known| known.ino());
            let is_it = |socket: &Socket| {
                socket.installed.as_ref().is_some_and(|installed| installed.inode == inode)
            };
            let found = self.sockets.iter().find(|(_, socket)| is_it(socket)).map(|(id, _)| id);
            let ring = &mut self.rings[of.0];
            match found {
                Some(socket) if !full => {
                    ring.stats.admitted += 1;
                    events.push(Event::Admitted(ring.place(socket), key));
                    self.sockets[socket].uninstall(near);
                }
                _ => {
                    ring.stats.admits_failed += 1;
                    let errno = if full { Errno::ENFILE } else { Errno::EBADF };
                    events.push(Event::AdmitFailed(Some(near.into()), key, errno));
                }
            }
        }
    }

    fn report_wakes(&mut self, of: FakeHandle, events: &mut Vec<Event>) {
        let ring = &mut self.rings[of.0];
        for _ in 0..std::mem::take(&mut ring.wakes) {
            ring.stats.wakes_received += 1;
            events.push(Event::Woken);
        }
    }

    fn serve(&mut self, of: FakeHandle, index: u32, events: &mut Vec<Event>) {
        let (slot, phase) = self.rings[of.0].slots.current(index);
        match phase {
            Phase::Open => self.serve_open(of, slot, events),
            Phase::Closing => self.serve_closing(of, slot, events),
            Phase::Leaving if !self.defers() => self.release(of, slot, events),
            Phase::Moving if !self.defers() => self.serve_move(of, slot, events),
            Phase::Installing if !self.defers() => self.serve_install(of, slot, events),
            _ => {}
        }
    }

    fn serve_open(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let mut sides: [Side; 4] =
            [Self::serve_input, Self::serve_send, Self::serve_poll_writable, Self::serve_questions];
        self.chance.shuffle(&mut sides);
        for side in sides {
            if !self.defers() {
                side(self, of, slot, events);
            }
        }
    }

    fn serve_input(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let state = *self.rings[of.0].slots.open(slot);
        if self.is_put_off(of, slot) {
            self.rings[of.0].stats.cancel_retries += u64::from(state.has(Flag::Stopping));
            return;
        }
        // A receive that is being stopped may still complete first; a poll has nothing to lose.
        let completes =
            !state.has(Flag::Stopping) || (state.input() != Input::Poll && !self.defers());
        if completes {
            match state.input() {
                Input::Idle => {}
                Input::Poll => self.serve_poll_readable(of, slot, events),
                Input::OneShot => self.serve_receive(of, slot, events),
                Input::Multishot => {
                    for _ in 0..self.chance.one_to(RECEIVES_PER_TURN_MAX) {
                        self.serve_receive(of, slot, events);
                    }
                }
            }
        }
        let ring = &mut self.rings[of.0];
        let state = ring.slots.open(slot);
        if state.clear(Flag::Stopping) {
            ring.stats.cancelled += u64::from(state.input() != Input::Idle);
            state.set_input(Input::Idle);
            events.push(Event::ReceiveStopped(slot));
        }
    }

    /// The slot's input is armed and ready, and its turn does not come in this turn.
    fn is_put_off(&mut self, of: FakeHandle, slot: Slot) -> bool {
        let socket = self.socket_of(of, slot);
        let state = self.rings[of.0].slots.lookup(slot).expect("a slot in use");
        let is_ready = state.input() != Input::Idle && self.sockets[socket].is_readable();
        let is_put_off = is_ready && self.inputs_left == 0;
        self.inputs_left -= usize::from(is_ready && !is_put_off);
        is_put_off
    }

    fn serve_poll_readable(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let socket = self.socket_of(of, slot);
        if self.sockets[socket].is_readable() {
            self.rings[of.0].slots.open(slot).set_input(Input::Idle);
            events.push(Event::Readable(slot));
        }
    }

    fn serve_receive(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let id = self.socket_of(of, slot);
        let most = self.sizes.buffer_bytes.min(self.sockets[id].to_near.len());
        let cut = most > 0 && self.chance.happens(self.faults.split);
        let most = if cut { self.chance.one_to(most) } else { most };
        let (ring, socket) = (&mut self.rings[of.0], &mut self.sockets[id]);
        let state = ring.slots.open(slot);
        if state.input() == Input::Idle || !socket.is_readable() {
            return;
        }
        let bytes = socket.to_near.read(most);
        if !bytes.is_empty() {
            let more = state.input() == Input::Multishot;
            if !more {
                state.set_input(Input::Idle);
            }
            ring.stats.received_bytes += bytes.len() as u64;
            events.push(Event::Received(slot, bytes, more));
            return;
        }
        state.set_input(Input::Idle);
        if socket.is_broken() && !std::mem::replace(&mut socket.near_was_told, true) {
            events.push(Event::Failed(slot, Operation::Receive, Errno::ECONNRESET));
        } else {
            events.push(Event::Eof(slot));
        }
    }

    fn serve_send(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        if !self.rings[of.0].slots.lookup(slot).is_some_and(|state| state.clear(Flag::Sending)) {
            return;
        }
        let id = self.socket_of(of, slot);
        let buffer = self.rings[of.0].connection(slot).sending.take();
        let mut buffer = buffer.expect("a slot that is sending has a buffer");
        let result = self.write(id, &buffer);
        let stats = &mut self.rings[of.0].stats;
        match result {
            Ok(bytes) => {
                buffer.advance(bytes);
                stats.sent_bytes += bytes as u64;
                stats.short_sends += u64::from(!buffer.is_empty());
            }
            Err(Errno::EAGAIN) => stats.blocked_sends += 1,
            Err(_) => {}
        }
        events.push(Event::Sent(slot, buffer, result));
    }

    fn write(&mut self, id: usize, buffer: &SendBuffer) -> Result<usize, Errno> {
        let refuses = self.chance.happens(self.faults.refuse_send);
        let socket = &mut self.sockets[id];
        if socket.is_broken() || socket.to_far.has_ended() {
            return Err(match std::mem::replace(&mut socket.near_was_told, true) {
                false if socket.is_broken() => Errno::ECONNRESET,
                _ => Errno::EPIPE,
            });
        }
        if socket.to_far.room() == 0 || refuses {
            return Err(Errno::EAGAIN);
        }
        let mut most = socket.to_far.room();
        if self.chance.happens(self.faults.short_send) {
            most = self.chance.one_to(most);
        }
        let socket = &mut self.sockets[id];
        let mut sent = 0;
        for chunk in buffer.remaining().take(SendBuffer::CHUNKS_PER_SEND_MAX) {
            let wanted = chunk.len().min(most - sent);
            sent += socket.to_far.write(&chunk[..wanted]);
            if sent == most {
                break;
            }
        }
        // The kernel takes the bytes; the far end answers them with a reset.
        if socket.far_is_gone() {
            socket.reset();
        }
        Ok(sent)
    }

    fn serve_poll_writable(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let socket = self.socket_of(of, slot);
        let writable = self.sockets[socket].is_writable();
        if writable && self.rings[of.0].slots.open(slot).clear(Flag::PollingWrite) {
            events.push(Event::Writable(slot));
        }
    }

    /// The shutdown and the peer's address: both are answered at once.
    fn serve_questions(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let id = self.socket_of(of, slot);
        let fails = self.chance.happens(self.faults.fail_peer_address);
        let (state, socket) = (self.rings[of.0].slots.open(slot), &mut self.sockets[id]);
        if state.clear(Flag::Shutting) {
            events.push(if socket.is_broken() {
                Event::Failed(slot, Operation::ShutdownWrite, Errno::ENOTCONN)
            } else {
                socket.to_far.end();
                Event::WriteShut(slot)
            });
        }
        if state.clear(Flag::AskingPeer) {
            events.push(if fails || socket.is_broken() {
                Event::Failed(slot, Operation::PeerAddress, Errno::ENOTCONN)
            } else {
                Event::PeerAddress(slot, socket.far_address)
            });
        }
    }

    /// Cancels are swallowed; a send in flight is answered; then the slot leaves.
    fn serve_closing(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        if self.defers() {
            return;
        }
        self.serve_send(of, slot, events);
        if self.is_put_off(of, slot) {
            self.rings[of.0].stats.cancel_retries += 1;
            return;
        }
        let ring = &mut self.rings[of.0];
        let state = ring.slots.lookup(slot).expect("a closing slot is in use");
        ring.stats.cancelled += u64::from(state.input() != Input::Idle);
        state.set_input(Input::Idle);
        for flag in [Flag::Stopping, Flag::PollingWrite, Flag::Shutting, Flag::AskingPeer] {
            state.clear(flag);
        }
        state.set_phase(Phase::Leaving);
    }

    /// After a move or an install the socket has gone elsewhere: only the slot is released.
    fn release(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let ring = &mut self.rings[of.0];
        let connection = ring.connections[slot.index() as usize].take();
        let connection = connection.expect("a slot in use has a connection");
        ring.slots.release(slot);
        ring.stats.closed += 1;
        if ring.accepting == Accepting::NoSlot {
            ring.accepting = Accepting::Yes;
        }
        if !connection.departed {
            self.drop_near(connection.socket);
        }
        events.push(Event::Closed(slot));
    }

    fn serve_move(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let connection = self.rings[of.0].connection(slot);
        let socket = connection.socket;
        let (to, token) = connection.moving.take().expect("a moving slot has a target");
        let fails = self.chance.happens(self.faults.fail_move);
        let unannounced = fails && self.chance.happens(128);
        let target = &mut self.rings[to.0];
        let errno = if !target.alive {
            Some(Errno::EOWNERDEAD)
        } else if to == of {
            Some(Errno::EINVAL)
        } else if target.is_full() {
            Some(Errno::ENFILE)
        } else if unannounced {
            target.unannounced += 1;
            Some(Errno::EOVERFLOW)
        } else {
            fails.then_some(Errno::ENOMEM)
        };
        if errno.is_none() {
            target.arrivals.push_back((socket, token));
        }
        let ring = &mut self.rings[of.0];
        match errno {
            None => {
                ring.stats.moved_out += 1;
                depart(ring, slot);
                events.push(Event::MovedOut(slot));
            }
            Some(errno) => {
                ring.stats.moves_failed += 1;
                let state = ring.slots.lookup(slot).expect("a moving slot is in use");
                state.set_phase(Phase::Open);
                events.push(Event::MoveFailed(slot, errno));
            }
        }
    }

    fn serve_install(&mut self, of: FakeHandle, slot: Slot, events: &mut Vec<Event>) {
        let id = self.socket_of(of, slot);
        let fails = self.chance.happens(self.faults.fail_install);
        let ring = &mut self.rings[of.0];
        if fails {
            let state = ring.slots.lookup(slot).expect("an installing slot is in use");
            state.set_phase(Phase::Open);
            events.push(Event::Failed(slot, Operation::Install, Errno::EMFILE));
            return;
        }
        let (near, mut far) = UnixStream::pair().expect("a test may open two descriptors");
        for end in [&near, &far] {
            end.set_nonblocking(true).expect("a socket takes O_NONBLOCK");
        }
        let socket = &mut self.sockets[id];
        let unread = socket.to_near.read(usize::MAX);
        far.write_all(&unread).expect("a fresh socket has room for what a fake one holds");
        let near = File::from(OwnedFd::from(near));
        let inode = near.metadata().expect("a socket has an inode").ino();
        socket.installed = Some(Installed { far, inode });
        depart(ring, slot);
        events.push(Event::Installed(slot, Some(near.into())));
    }

    fn socket_of(&mut self, of: FakeHandle, slot: Slot) -> usize {
        self.rings[of.0].connection(slot).socket
    }
}

/// The connection lives on elsewhere; what remains is to free the slot.
fn depart(ring: &mut Ring, slot: Slot) {
    ring.connection(slot).departed = true;
    let state = ring.slots.lookup(slot).expect("a departing slot is in use");
    state.set_phase(Phase::Leaving);
}
