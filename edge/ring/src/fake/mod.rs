//! A driver without a kernel, for tests: sockets in memory, every choice made by a seed.
//!
//! It keeps the promises of [`Rings`] (the conformance suite runs over it too) and uses every
//! freedom that they leave: completions are deferred for turns, received bytes are split
//! anywhere, sends are short or refused, slots are served in any order, an armed receive still
//! delivers while it is being stopped, a cancel that does not find its operation is tried again in a
//! later turn. With [`Faults::harsh`] operations also fail. The same
//! seed and the same calls give the same run.
//!
//! ```text
//!   FakeWorld ---- ring() ----> FakeRing     what a worker drives
//!        |                        |
//!        +------ connect() -----> FakePeer   the far end, held by the test
//! ```
//!
//! Time does not exist here: a wait never sleeps. A turn may report nothing although something
//! is armed and ready; it will be reported within a bounded number of turns with overwhelming
//! probability, so a test bounds its turns, not its time.

mod chance;
mod peer;
mod socket;
mod turn;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use slab::Slab;

pub use self::chance::{Chance, Faults};
pub use self::peer::{FakePeer, PeerRead};

use self::socket::Socket;
use crate::rings::{Completion, MoveToken, ReceiveMode, Rings, Slot, Wait};
use crate::send_buffer::SendBuffer;
use crate::slots::{Flag, Input, Phase, SlotTable};
use crate::stats::RingStats;

/// First port of the far ends' addresses; each connection has its own.
const FIRST_PORT: u16 = 1_024;

/// Sizes of a fake world. The defaults are small, so that their limits are met often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeSizes {
    /// Bytes that a connection holds in each direction. Default 16,384.
    pub socket_bytes: usize,
    /// Bytes that one completion brings at most. Default 1,024.
    pub buffer_bytes: usize,
    /// Inputs that are ready and whose turn comes in one turn, as a kernel runs only so much of a
    /// ring's deferred work in one enter: the others wait, and a cancel does not find them. Default
    /// 8.
    pub inputs_per_turn: usize,
}

impl Default for FakeSizes {
    fn default() -> Self {
        Self { socket_bytes: 16_384, buffer_bytes: 1_024, inputs_per_turn: 8 }
    }
}

/// All ring sets and connections of one test.
#[derive(Clone)]
pub struct FakeWorld {
    state: Rc<RefCell<State>>,
}

/// One ring set of a [`FakeWorld`].
pub struct FakeRing {
    state: Rc<RefCell<State>>,
    handle: FakeHandle,
}

/// Names a [`FakeRing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FakeHandle(usize);

struct State {
    chance: Chance,
    faults: Faults,
    sizes: FakeSizes,
    /// Ready inputs whose turn may still come in this turn.
    inputs_left: usize,
    sockets: Slab<Socket>,
    rings: Vec<Ring>,
    connections: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepting {
    Yes,
    Paused,
    /// The last one was refused; goes on when a slot becomes free.
    NoSlot,
    Closed,
}

struct Ring {
    slots: SlotTable,
    /// By slot index, those of slots in use.
    connections: Vec<Option<Connection>>,
    /// Sockets that wait to be accepted.
    backlog: VecDeque<usize>,
    accepting: Accepting,
    /// Descriptors that were brought and have no slot yet.
    admits: VecDeque<(OwnedFd, u32)>,
    /// Sockets that were moved here and not yet reported.
    arrivals: VecDeque<(usize, MoveToken)>,
    /// Sockets that were moved here without being reported at all.
    unannounced: u32,
    wakes: u32,
    alive: bool,
    stats: RingStats,
}

/// What is under way for a slot, beside the flags in its state.
struct Connection {
    socket: usize,
    sending: Option<SendBuffer>,
    moving: Option<(FakeHandle, MoveToken)>,
    /// The socket belongs to another ring or to the process.
    departed: bool,
}

impl FakeWorld {
    /// A world without faults: completions are deferred, split and reordered, and never fail by
    /// themselves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Faults::gentle(), FakeSizes::default())
    }

    /// A world with chosen faults and sizes.
    ///
    /// # Panics
    ///
    /// If a size is zero.
    #[must_use]
    pub fn with(seed: u64, faults: Faults, sizes: FakeSizes) -> Self {
        let FakeSizes { socket_bytes, buffer_bytes, inputs_per_turn } = sizes;
        let smallest = socket_bytes.min(buffer_bytes).min(inputs_per_turn);
        assert!(smallest > 0, "sizes are not zero");
        let state = State {
            chance: Chance::new(seed),
            faults,
            sizes,
            inputs_left: 0,
            sockets: Slab::new(),
            rings: Vec::new(),
            connections: 0,
        };
        Self { state: Rc::new(RefCell::new(state)) }
    }

    /// Adds a ring set with so many slots.
    #[must_use]
    pub fn ring(&self, slots: u32) -> FakeRing {
        let mut state = self.state.borrow_mut();
        state.rings.push(Ring::new(slots));
        FakeRing { state: Rc::clone(&self.state), handle: FakeHandle(state.rings.len() - 1) }
    }

    /// Connects to a ring set; the connection waits in its backlog until it is accepted. Reset at
    /// once if the ring set has closed its listeners or is gone.
    #[must_use]
    pub fn connect(&self, to: FakeHandle) -> FakePeer {
        let mut state = self.state.borrow_mut();
        let address = state.next_address();
        let capacity = state.sizes.socket_bytes;
        let mut socket = Socket::new(address, capacity);
        let ring = &state.rings[to.0];
        let refused = !ring.alive || ring.accepting == Accepting::Closed;
        if refused {
            socket.reset();
        }
        let id = state.sockets.insert(socket);
        if refused {
            state.drop_near(id);
        } else {
            state.rings[to.0].backlog.push_back(id);
        }
        FakePeer::new(Rc::clone(&self.state), id, address)
    }

    /// Changes how often things go wrong from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// Rings the bell of a ring set, as an [`EventWaker`](crate::EventWaker) does.
    pub fn wake(&self, ring: FakeHandle) {
        let mut state = self.state.borrow_mut();
        state.rings[ring.0].wakes += 1;
    }
}

impl State {
    fn next_address(&mut self) -> SocketAddr {
        let ports = u64::from(u16::MAX - FIRST_PORT) + 1;
        let (host, port) = (self.connections / ports, self.connections % ports);
        self.connections += 1;
        let host = u32::from(Ipv4Addr::new(198, 18, 0, 1)).wrapping_add(host as u32);
        (Ipv4Addr::from_bits(host), FIRST_PORT + port as u16).into()
    }

    /// The near end of a socket is closed for good.
    fn drop_near(&mut self, id: usize) {
        self.sockets[id].close_near();
        self.forget_if_unused(id);
    }

    fn forget_if_unused(&mut self, id: usize) {
        if self.sockets[id].is_unused() {
            self.sockets.remove(id);
        }
    }
}

impl Ring {
    fn new(slots: u32) -> Self {
        Self {
            slots: SlotTable::new(slots),
            connections: Vec::new(),
            backlog: VecDeque::new(),
            accepting: Accepting::Yes,
            admits: VecDeque::new(),
            arrivals: VecDeque::new(),
            unannounced: 0,
            wakes: 0,
            alive: true,
            stats: RingStats::default(),
        }
    }

    /// Slots that the kernel would call taken, announced or not.
    fn is_full(&self) -> bool {
        let taken = self.slots.in_use() as usize + self.arrivals.len() + self.unannounced as usize;
        taken >= self.slots.capacity() as usize
    }

    /// Puts a socket into the lowest free slot.
    fn place(&mut self, socket: usize) -> Slot {
        let free = self.connections.iter().position(Option::is_none);
        let position = free.unwrap_or(self.connections.len());
        if position == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[position] =
            Some(Connection { socket, sending: None, moving: None, departed: false });
        self.slots.occupy(position as u32)
    }

    fn connection(&mut self, slot: Slot) -> &mut Connection {
        let connection = self.connections[slot.index() as usize].as_mut();
        connection.expect("a slot in use has a connection")
    }
}

impl FakeRing {
    fn with<T>(&self, act: impl FnOnce(&mut Ring) -> T) -> T {
        act(&mut self.state.borrow_mut().rings[self.handle.0])
    }
}

impl Drop for FakeRing {
    /// As when a worker ends: its connections are closed.
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        let ring = &mut state.rings[self.handle.0];
        ring.alive = false;
        let mut sockets: Vec<usize> = ring.backlog.drain(..).collect();
        sockets.extend(ring.arrivals.drain(..).map(|(socket, _)| socket));
        let connections = ring.connections.drain(..).flatten();
        sockets.extend(connections.filter(|held| !held.departed).map(|held| held.socket));
        sockets.into_iter().for_each(|socket| state.drop_near(socket));
    }
}

impl Rings for FakeRing {
    type Handle = FakeHandle;

    fn handle(&self) -> FakeHandle {
        self.handle
    }

    fn slots(&self) -> u32 {
        self.with(|ring| ring.slots.capacity())
    }

    fn slots_in_use(&self) -> u32 {
        self.with(|ring| ring.slots.in_use())
    }

    fn pause_accept(&mut self) {
        self.with(|ring| {
            if ring.accepting != Accepting::Closed {
                ring.accepting = Accepting::Paused;
            }
        });
    }

    fn resume_accept(&mut self) {
        self.with(|ring| {
            if ring.accepting != Accepting::Closed {
                ring.accepting = Accepting::Yes;
            }
        });
    }

    fn close_listeners(&mut self) {
        let waiting = self.with(|ring| {
            ring.accepting = Accepting::Closed;
            std::mem::take(&mut ring.backlog)
        });
        let mut state = self.state.borrow_mut();
        for socket in waiting {
            state.sockets[socket].reset();
            state.drop_near(socket);
        }
    }

    fn poll_readable(&mut self, slot: Slot) {
        self.with(|ring| ring.slots.open(slot).begin_input(slot, Input::Poll));
    }

    fn receive(&mut self, slot: Slot, mode: ReceiveMode) {
        self.with(|ring| ring.slots.open(slot).begin_input(slot, mode.into()));
    }

    fn stop_receive(&mut self, slot: Slot) {
        self.with(|ring| ring.slots.open(slot).begin(slot, Flag::Stopping));
    }

    fn send(&mut self, slot: Slot, buffer: SendBuffer) {
        assert!(!buffer.is_empty(), "{slot:?}: a send has bytes");
        self.with(|ring| {
            ring.slots.open(slot).begin(slot, Flag::Sending);
            ring.connection(slot).sending = Some(buffer);
        });
    }

    fn poll_writable(&mut self, slot: Slot) {
        self.with(|ring| ring.slots.open(slot).begin(slot, Flag::PollingWrite));
    }

    fn shutdown_write(&mut self, slot: Slot) {
        self.with(|ring| {
            let state = ring.slots.open(slot);
            assert!(!state.has(Flag::Sending), "{slot:?}: a send in flight would be cut");
            state.begin(slot, Flag::Shutting);
        });
    }

    fn close(&mut self, slot: Slot) {
        self.with(|ring| ring.slots.open(slot).set_phase(Phase::Closing));
    }

    fn peer_address(&mut self, slot: Slot) {
        self.with(|ring| ring.slots.open(slot).begin(slot, Flag::AskingPeer));
    }

    fn install(&mut self, slot: Slot) {
        self.with(|ring| ring.slots.open(slot).begin_departure(slot, Phase::Installing));
    }

    fn admit(&mut self, fd: OwnedFd, key: u32) {
        self.with(|ring| ring.admits.push_back((fd, key)));
    }

    fn move_out(&mut self, slot: Slot, to: &FakeHandle, token: MoveToken) {
        self.with(|ring| {
            ring.slots.open(slot).begin_departure(slot, Phase::Moving);
            ring.connection(slot).moving = Some((*to, token));
        });
    }

    fn reclaim_unannounced(&mut self) {
        self.with(|ring| {
            ring.stats.reclaimed += u64::from(std::mem::take(&mut ring.unannounced));
        });
    }

    fn wake(&mut self, to: &FakeHandle) {
        let mut state = self.state.borrow_mut();
        state.rings[self.handle.0].stats.wakes_sent += 1;
        let target = &mut state.rings[to.0];
        let alive = target.alive;
        target.wakes += u32::from(alive);
        state.rings[self.handle.0].stats.wakes_failed += u64::from(!alive);
    }

    fn submit_and_wait(&mut self, _wait: Wait, mut on_completion: impl FnMut(Completion<'_>)) {
        let happened = self.state.borrow_mut().turn(self.handle);
        // Reported without holding the world: a test may use a far end meanwhile.
        for mut event in happened {
            on_completion(event.as_completion());
        }
    }

    fn stats(&self) -> RingStats {
        self.with(|ring| ring.stats)
    }
}
