//! The generator: any number of client connections on rings of direct descriptors, driven by one
//! thread.
//!
//! Owns rings, connections and what is on its way in or out. Knows no scenario: it tells what
//! happened as [`Event`]s, and is told to connect, send and close. A connection that is silent
//! costs [`CLIENT_BYTES_MAX`] bytes at most; buffers belong to those that are in the middle of
//! something. Where a ring has fewer slots than there are clients (RLIMIT_NOFILE bounds each ring
//! apart), there are more rings; the thread sleeps in one of them and looks at the flags of the
//! others.

mod turn;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::BytesMut;
use ringpost_ring::{
    Errno, OnClose, ReceiveMode, RingConfig, RingSet, Rings, SendBuffer, Slot, Wait,
};
use slab::Slab;

use crate::dialect::Dialect;
use crate::stamp::Stamp;

/// User-space bytes of a silent client connection, the ring's table included.
pub(crate) const CLIENT_BYTES_MAX: usize = 64;
/// Slots of one ring at most, and what is left of RLIMIT_NOFILE for everything else.
const SLOTS_PER_RING: u32 = 19_000;
/// Clients that share a source address: far below the ports that an address has for one
/// destination, and below what servers allow an address before sign-in.
const CLIENTS_PER_ADDRESS: u32 = 1_000;
/// While other rings are looked at too, a sleep is this short.
const LOOK_AROUND: Duration = Duration::from_millis(1);

const NONE: u32 = u32::MAX;

/// What happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Its connection stands; the handshake has begun.
    Connected,
    /// It is signed in.
    Ready,
    /// A message came; `None` if its content is not what anybody sent.
    Message(Option<Stamp>),
    /// The server keeps a message of this client.
    Accepted,
    /// A message of this client was acknowledged.
    Delivered,
    /// Its ping was answered.
    Pong,
    /// The server refused something, or broke its protocol: what.
    Refused(String),
    /// The connection could not be made.
    NotConnected(Errno),
    /// The connection is over.
    Closed,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The number of the user, which is the client's position.
    pub(crate) client: u32,
    /// What.
    pub(crate) what: What,
}

/// How a connection waits for input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// A one-shot poll, then a one-shot receive: the cheapest for the kernel's memory.
    Cold,
    /// A receive that stays armed.
    Hot,
    /// Nothing is read: a slow reader.
    Deaf,
}

struct Client {
    slot: Option<Slot>,
    /// Position in `Fleet::active`, or [`NONE`].
    active: u32,
    ring: u16,
    stage: u8,
    listening: Listening,
    /// A poll or a receive is with the ring.
    armed: bool,
}

/// What a connection owns while something is on its way.
#[derive(Default)]
struct Active {
    /// The head of a unit that is not whole.
    partial: Vec<u8>,
    out: BytesMut,
    sending: bool,
    /// The socket had no room: the rest waits for it.
    blocked: Option<SendBuffer>,
    dirty: bool,
}

struct Ring {
    set: RingSet,
    /// By slot: the client.
    owners: Vec<u32>,
}

const _: () = assert!(size_of::<Client>() + size_of::<u32>() + 4 <= CLIENT_BYTES_MAX);

/// What the generator did, for the verdict.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FleetCounters {
    /// `io_uring_enter` calls of the generator.
    pub(crate) enters: u64,
}

/// All clients of a run.
pub(crate) struct Fleet {
    rings: Vec<Ring>,
    clients: Vec<Client>,
    active: Slab<Active>,
    dirty: Vec<u32>,
    events: Vec<Event>,
    dialect: Rc<dyn Dialect>,
    server: SocketAddrV4,
    content_bytes: usize,
    listening: Listening,
    begun: Instant,
    /// The ring in which the thread sleeps.
    home: usize,
}

impl Fleet {
    /// Room for `clients` that all speak `dialect` with `server`, in messages of `content_bytes`.
    ///
    /// # Errors
    /// When the rings cannot be opened.
    pub(crate) fn open(
        clients: u32,
        dialect: Rc<dyn Dialect>,
        server: SocketAddrV4,
        content_bytes: usize,
    ) -> anyhow::Result<Self> {
        let mut rings = Vec::new();
        let mut slots = 0;
        while slots < clients {
            let wanted = (clients - slots + 1).min(SLOTS_PER_RING);
            let set = RingSet::open(&ring_config(wanted)).context("a ring for clients")?;
            ensure!(set.slots() >= wanted.min(clients), "RLIMIT_NOFILE is {}", set.slots());
            slots += set.slots();
            rings.push(Ring { set, owners: Vec::new() });
        }
        let client = |_| Client {
            slot: None,
            active: NONE,
            ring: 0,
            stage: 0,
            listening: Listening::Cold,
            armed: false,
        };
        Ok(Self {
            rings,
            clients: (0..clients).map(client).collect(),
            active: Slab::new(),
            dirty: Vec::new(),
            events: Vec::new(),
            dialect,
            server,
            content_bytes,
            listening: Listening::Cold,
            begun: Instant::now(),
            home: 0,
        })
    }

    /// How many clients there is room for.
    pub(crate) fn clients(&self) -> u32 {
        self.clients.len() as u32
    }

    /// Nanoseconds since the beginning of the run.
    pub(crate) fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// What the generator has done so far.
    pub(crate) fn counters(&self) -> FleetCounters {
        FleetCounters { enters: self.rings.iter().map(|ring| ring.set.stats().enters).sum() }
    }

    /// How connections made from now on, and all that stand, wait for input.
    pub(crate) fn listen(&mut self, listening: Listening) {
        self.listening = listening;
        for client in 0..self.clients() {
            self.listen_as(client, listening);
        }
    }

    /// How one client waits for input. Takes effect when its present wait is over.
    pub(crate) fn listen_as(&mut self, client: u32, listening: Listening) {
        let state = &mut self.clients[client as usize];
        let was = std::mem::replace(&mut state.listening, listening);
        if was == Listening::Deaf && listening != Listening::Deaf && !state.armed {
            self.arm(client);
        }
    }

    /// Connects a client, from an address that it shares with few.
    pub(crate) fn connect(&mut self, client: u32) {
        let ring = (client / SLOTS_PER_RING) as usize % self.rings.len();
        let state = &mut self.clients[client as usize];
        debug_assert!(state.slot.is_none(), "a client has one connection");
        state.ring = ring as u16;
        state.stage = 0;
        state.listening = self.listening;
        self.home = ring;
        self.rings[ring].set.connect(source(client), self.server, client, OnClose::Reset);
    }

    /// Closes a client's connection; [`What::Closed`] follows.
    pub(crate) fn close(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        if let Some(slot) = state.slot.take() {
            state.armed = false;
            self.rings[usize::from(state.ring)].set.close(slot);
        }
    }

    /// Puts a message into what the next turn sends. `content` begins with its stamp.
    pub(crate) fn message(&mut self, from: u32, to: u32, content: &[u8]) {
        let dialect = Rc::clone(&self.dialect);
        dialect.message(from, to, content, &mut self.outgoing(from).out);
    }

    /// The same to everybody else; false if the protocol knows no such thing.
    pub(crate) fn broadcast(&mut self, from: u32, content: &[u8]) -> bool {
        let dialect = Rc::clone(&self.dialect);
        dialect.broadcast(content, &mut self.outgoing(from).out)
    }

    /// Asks the server for a sign of life.
    pub(crate) fn ping(&mut self, client: u32) {
        let dialect = Rc::clone(&self.dialect);
        dialect.ping(&mut self.outgoing(client).out);
    }

    /// Whether the client stands and is not being closed.
    pub(crate) fn stands(&self, client: u32) -> bool {
        self.clients[client as usize].slot.is_some()
    }

    /// Sends what was put, sleeps at most `wait` if nothing has happened, and tells what has.
    pub(crate) fn turn(&mut self, wait: Duration, happened: &mut Vec<Event>) {
        self.flush();
        let wait = if self.rings.len() > 1 { wait.min(LOOK_AROUND) } else { wait };
        for ring in 0..self.rings.len() {
            let sleeps = ring == self.home && self.events.is_empty() && !wait.is_zero();
            self.turn_ring(ring, if sleeps { Wait::at_most(wait) } else { Wait::POLL });
        }
        happened.append(&mut self.events);
    }

    fn outgoing(&mut self, client: u32) -> &mut Active {
        let state = &mut self.clients[client as usize];
        if state.active == NONE {
            state.active = self.active.insert(Active::default()) as u32;
        }
        let active = &mut self.active[state.active as usize];
        if !active.dirty {
            active.dirty = true;
            self.dirty.push(client);
        }
        active
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for client in dirty.drain(..) {
            let state = &mut self.clients[client as usize];
            if state.active == NONE {
                continue;
            }
            let active = &mut self.active[state.active as usize];
            active.dirty = false;
            let Some(slot) = state.slot else { continue };
            if !active.sending && active.blocked.is_none() && !active.out.is_empty() {
                active.sending = true;
                let bytes = active.out.split().freeze();
                self.rings[usize::from(state.ring)].set.send(slot, bytes.into());
            }
            self.release_if_quiet(client);
        }
        self.dirty = dirty;
    }

    /// A connection in the middle of nothing owns nothing.
    fn release_if_quiet(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        let Some(active) = self.active.get(state.active as usize) else { return };
        let busy = active.sending || active.dirty || active.blocked.is_some();
        if !busy && active.out.is_empty() && active.partial.is_empty() {
            // One that talks all the time keeps its buffers.
            if state.listening != Listening::Hot || state.slot.is_none() {
                self.active.remove(state.active as usize);
                state.active = NONE;
            }
        }
    }

    fn arm(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        let Some(slot) = state.slot else { return };
        let set = &mut self.rings[usize::from(state.ring)].set;
        state.armed = state.listening != Listening::Deaf;
        match state.listening {
            Listening::Cold => set.poll_readable(slot),
            Listening::Hot => set.receive(slot, ReceiveMode::Multishot),
            Listening::Deaf => {}
        }
    }
}

/// Small rings where there are many of them: buffers are lent for a moment only.
fn ring_config(slots: u32) -> RingConfig {
    RingConfig {
        submission_entries: 1_024,
        completion_entries: 16_384,
        slots_max: slots,
        buffers: 1_024,
        buffer_bytes: 4_096,
        receive_turn_bytes: 16_384,
        ..RingConfig::default()
    }
}

/// Loopback has 16 million addresses, and each has ports of its own.
fn source(client: u32) -> SocketAddrV4 {
    let address = client / CLIENTS_PER_ADDRESS;
    let [_, _, high, low] = (address % 64_000).to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(127, 1 + high, low, 1), 0)
}
