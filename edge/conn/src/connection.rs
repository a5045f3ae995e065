//! One connection: how it speaks, how far it has come, what waits to be written.
//!
//! ```text
//!  accepted --> Handshake --> SignIn --> Checking --> Departing --> Moving (home) --+
//!                  |             |          |  \                                    |
//!                  | any other   |          |   +--------> Welcoming <--------------+
//!                  v HTTP        |          |                  |
//!              HandingOver       |          |                  v
//!                  v             |          |              SignedIn
//!              Installing        v          v                  |
//!               (to REST)    Closing <-------------------------+
//! ```
//! One that REST gives back begins anew, with a request that has come in.
//!
//! Invariants: until `SignedIn` the receive is one-shot, so that nothing is armed when the
//! descriptor leaves; `Departing` and `HandingOver` wait until the ring owes no answer; in `Checking`, `Departing` and `Welcoming` nothing is received at all and
//! what came behind the `hello` waits in `surplus`, at most one receive buffer; there also waits what
//! a stranger sent while its address was not known or had used up its budget. Signed in, a cold
//! connection waits by a poll and a hot one by a receive; one that is at rest is no
//! [`Connection`] at all but an [`Idle`](crate::idle::Idle).

use std::net::IpAddr;
use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::ConnectionKey;
use ringpost_wire::decoder::FrameDecoder;

use crate::budgets::Cell;
use crate::caller::Caller;
use crate::http::HeadReader;
use crate::letter::{Identity, PendingHello};
use crate::outbox::Outbox;
use crate::proxy_header::ProxyHeaderReader;
use crate::sniff::{self, Sniffer, Verdict};
use crate::websocket;

/// How a connection speaks.
#[derive(Debug)]
pub enum Protocol {
    /// The first bytes have not said yet.
    Sniffing(Sniffer),
    /// A trusted proxy's header is coming in, in front of what the client says.
    ProxyHeader(Box<ProxyHeaderReader>),
    /// An HTTP request's head is coming in.
    Http(Box<HeadReader>),
    /// The binary protocol on the bare stream.
    Binary(FrameDecoder),
    /// WebSocket frames around JSON texts or binary frames, as [`Speech`] says.
    WebSocket(websocket::Decoder),
    /// Nothing more is decoded; what comes is discarded.
    Deaf,
}

/// What events are encoded in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Speech {
    /// Not decided; nothing can be said.
    Undecided,
    /// Frames of the binary protocol on the bare stream.
    Binary,
    /// `ringpost.v1.json`: text messages over WebSocket.
    WebSocketJson,
    /// `ringpost.v1.bin`: binary messages over WebSocket, each one or more whole frames.
    WebSocketBinary,
}

/// How far a connection has come.
#[derive(Debug)]
pub enum Phase {
    /// Neither preamble nor upgrade is complete.
    Handshake,
    /// A `hello` is expected.
    SignIn,
    /// A credential is being checked.
    Checking(PendingHello),
    /// On its way to its user's home, as soon as all answers are written and the ring is quiet.
    Departing(PendingHello, Identity),
    /// The descriptor is on its way; nothing else may be done with it.
    Moving(PendingHello, Identity),
    /// The shard is about to answer the sign-in.
    Welcoming,
    /// The session stands.
    SignedIn,
    /// An ordinary HTTP request goes to REST with the bytes read so far, as soon as the ring is
    /// quiet.
    HandingOver(Vec<u8>),
    /// The descriptor is becoming an ordinary one; nothing else may be done with it.
    Installing(Vec<u8>),
    /// The last word is said; waiting for it to be written and for the client to close.
    Closing {
        /// The sending direction was shut.
        shut: bool,
        /// What was received and thrown away since, bytes.
        discarded_bytes: usize,
    },
}

/// What is armed on the input side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// Nothing.
    Idle,
    /// A poll: the ring says when there is something to receive.
    Waiting,
    /// A receive.
    Armed,
    /// A receive that was asked to stop.
    Stopping,
    /// Nothing, ever again: the client has ended its direction.
    Ended,
}

/// Whose budget the input of a connection is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account {
    /// Nobody's yet: the address is not known, or the shard was not asked for the user.
    Unknown,
    /// That of its address: it has not signed in.
    Address(Cell),
    /// That of its user.
    User(Cell),
}

/// Among which connections that have not signed in one counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Counted {
    /// None: where it comes from is not known, or it has proved itself.
    #[default]
    Not,
    /// Those of trusted proxies that have named nobody yet.
    AsUnnamed,
    /// Those of this address.
    ByAddress(IpAddr),
}

/// A pause in reading.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    /// When it began (monotonic).
    pub since: Duration,
    /// When the budget is in order again, unless others use it meanwhile (monotonic).
    pub until: Duration,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Its descriptor.
    pub slot: Slot,
    /// How it speaks.
    pub protocol: Protocol,
    /// What it is told things in.
    pub speech: Speech,
    /// How far it has come.
    pub phase: Phase,
    /// What is armed on the input side.
    pub input: Input,
    /// It talks: a receive stays armed between its frames.
    pub hot: bool,
    /// When its last frame was complete (monotonic); none before it has signed in.
    pub spoke_at: Option<Duration>,
    /// What waits to be written; absent while nothing does.
    pub outbox: Option<Box<Outbox>>,
    /// Received and not yet decoded.
    pub surplus: Vec<u8>,
    /// When it was accepted (monotonic).
    pub accepted_at: Duration,
    /// When the client last said anything (monotonic).
    pub heard_at: Duration,
    /// When the socket last took anything (monotonic).
    pub took_at: Duration,
    /// When the socket last took bytes while more waited, and how many since (monotonic).
    pub progress: Progress,
    /// When the deadline of the present phase began: sign-in, leaving, close.
    pub phase_since: Duration,
    /// When the credential ends (monotonic: a jump of the wall clock ends no session).
    pub expires_at: Duration,
    /// When the incomplete frame or message began, if there is one (monotonic).
    pub assembling_since: Option<Duration>,
    /// Who calls, once the ring has said where from.
    pub caller: Option<Caller>,
    /// The ring was asked for the address and has not answered.
    pub asking_address: bool,
    /// Among which connections that have not signed in it counts.
    pub counted: Counted,
    /// What of its incomplete input stands in the worker's sum.
    pub held_bytes: usize,
    /// Cost of its input that was not taken from its budget yet, bytes; below zero where more was
    /// given back.
    pub owed: i64,
    /// The cost of the last receive itself stands in `owed`.
    pub receive_owed: bool,
    /// Whose budget its input is taken from.
    pub account: Account,
    /// It is not read, because that budget is used up.
    pub paced: Option<Paced>,
    /// Since when it is not read because more waits for it than may (monotonic).
    pub unread_since: Option<Duration>,
    /// Who signs in, until the session stands.
    pub identity: Option<Identity>,
    /// Bytes that the shard handed to the outbox since it was last told of its room.
    pub untold_bytes: usize,
    /// The shard waits to be told that the outbox has room.
    pub wants_writable: bool,
    /// It stands in the list of connections to flush.
    pub dirty: bool,
    /// The server's ping is unanswered.
    pub pinged: bool,
    /// A `pong` would answer the server's ping.
    pub pong_due: bool,
    /// Tag of an `auth` whose token is being checked.
    pub renewing: Option<u16>,
    /// The client has said its last, and is answered what it asked before.
    pub leaving: bool,
    /// The client has sent a Close frame of WebSocket, which is answered by its like.
    pub closed_by: Option<ClientClose>,
}

/// The code of a Close frame, `None` of one without a body.
pub type ClientClose = Option<u16>;

/// How a blocked writer gets on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// When the present interval began; zero while nothing waits.
    pub since: Duration,
    /// Bytes taken by the socket in it.
    pub bytes: usize,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn accepted(slot: Slot, now: Duration) -> Self {
        Self {
            slot,
            protocol: Protocol::Sniffing(Sniffer::new()),
            speech: Speech::Undecided,
            phase: Phase::Handshake,
            input: Input::Idle,
            hot: false,
            spoke_at: None,
            outbox: None,
            surplus: Vec::new(),
            accepted_at: now,
            heard_at: now,
            took_at: now,
            progress: Progress::default(),
            phase_since: now,
            expires_at: Duration::MAX,
            assembling_since: None,
            caller: None,
            asking_address: false,
            counted: Counted::Not,
            held_bytes: 0,
            owed: 0,
            receive_owed: false,
            account: Account::Unknown,
            paced: None,
            unread_since: None,
            identity: None,
            untold_bytes: 0,
            wants_writable: false,
            dirty: false,
            pinged: false,
            pong_due: false,
            renewing: None,
            leaving: false,
            closed_by: None,
        }
    }

    /// Its name for the shard and for other threads.
    pub fn key(&self) -> ConnectionKey {
        key(self.slot)
    }

    /// Learns from bytes that are held undecoded in which protocol its last word will be understood.
    pub fn recognise_held(&mut self) {
        let Protocol::Sniffing(sniffer) = &mut self.protocol else { return };
        match sniffer.feed(&self.surplus) {
            Verdict::Decided { protocol: sniff::Protocol::Binary, .. } => {
                self.speech = Speech::Binary;
            }
            Verdict::Decided { protocol: sniff::Protocol::Http, .. } => {
                self.protocol = Protocol::Http(Box::new(HeadReader::new()));
            }
            Verdict::Decided { .. } | Verdict::Undecided => {}
        }
    }

    /// Whether the shard knows of it.
    pub fn in_shard(&self) -> bool {
        matches!(self.phase, Phase::Welcoming | Phase::SignedIn)
    }

    /// Whether the descriptor is being given away: until that has ended it may not be closed.
    pub fn is_given_away(&self) -> bool {
        matches!(self.phase, Phase::Moving(..) | Phase::Installing(_))
    }

    /// Whether nothing that the client says counts any more.
    pub fn is_ending(&self) -> bool {
        let handed = matches!(self.phase, Phase::HandingOver(_) | Phase::Installing(_));
        handed || matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether its credential was taken.
    pub fn has_proved_itself(&self) -> bool {
        let departs = matches!(self.phase, Phase::Departing(..) | Phase::Moving(..));
        departs || self.in_shard()
    }

    /// Whether the ring owes it no answer and has nothing to write: its descriptor may leave.
    pub fn is_quiet(&self) -> bool {
        self.outbox.is_none() && self.input == Input::Idle && !self.asking_address
    }

    /// Whether nothing is under way and nothing is owed: all that is left to know of it fits an
    /// [`Idle`](crate::idle::Idle).
    pub fn is_at_rest(&self) -> bool {
        let decoder_idle = match &self.protocol {
            Protocol::Binary(decoder) => decoder.is_idle(),
            Protocol::WebSocket(decoder) => decoder.pinned_bytes() == 0,
            Protocol::Sniffing(_)
            | Protocol::ProxyHeader(_)
            | Protocol::Http(_)
            | Protocol::Deaf => false,
        };
        decoder_idle
            && matches!(self.phase, Phase::SignedIn)
            && self.input == Input::Waiting
            && self.outbox.is_none()
            && self.surplus.is_empty()
            && self.untold_bytes == 0
            && self.renewing.is_none()
            && !(self.hot || self.dirty || self.wants_writable)
            && !(self.asking_address
                || self.counted != Counted::Not
                || self.leaving
                || self.paced.is_some()
                || self.unread_since.is_some())
    }

    /// Whether bytes may be decoded now.
    pub fn wants_input(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::SignIn | Phase::SignedIn) && !self.leaving
    }

    /// Whether the server listens to it, so that it can be silent, or slow to finish a frame.
    pub fn is_read(&self) -> bool {
        self.paced.is_none() && self.unread_since.is_none()
    }

    /// It is read again after a pause of the server's: what a client could not be heard to say it is
    /// not blamed for.
    pub fn forgive(&mut self, pause: Duration, now: Duration) {
        if matches!(self.phase, Phase::SignedIn) {
            self.heard_at = now;
        }
        self.assembling_since = self.assembling_since.map(|since| since + pause);
    }

    /// Whether bytes may be received now: nothing is held that comes before them.
    pub fn may_be_read(&self) -> bool {
        self.wants_input() && self.paced.is_none() && self.surplus.is_empty()
    }

    /// Notes whether a frame or message is incomplete; answers whether one has just begun.
    pub fn note_assembly(&mut self, now: Duration) -> bool {
        let idle = match &self.protocol {
            Protocol::Binary(decoder) => decoder.is_idle(),
            Protocol::WebSocket(decoder) => decoder.assembling_since().is_none(),
            Protocol::Sniffing(_)
            | Protocol::ProxyHeader(_)
            | Protocol::Http(_)
            | Protocol::Deaf => true,
        };
        let begun = !idle && self.assembling_since.is_none();
        self.assembling_since = match idle {
            true => None,
            false => Some(self.assembling_since.unwrap_or(now)),
        };
        begun
    }

    /// Heap bytes of input that is not complete, or not decoded yet.
    pub fn input_bytes(&self) -> usize {
        let decoder = match &self.protocol {
            Protocol::Sniffing(_) | Protocol::Deaf => 0,
            Protocol::ProxyHeader(_) => size_of::<ProxyHeaderReader>(),
            Protocol::Http(reader) => size_of::<HeadReader>() + reader.pinned_bytes(),
            Protocol::Binary(decoder) => decoder.assembly_bytes(),
            Protocol::WebSocket(decoder) => decoder.pinned_bytes(),
        };
        decoder + self.surplus.capacity()
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.pending_bytes())
    }
}

/// A slot as the shard's name for a connection.
pub fn key(slot: Slot) -> ConnectionKey {
    ConnectionKey::new(slot.index(), slot.generation())
}
