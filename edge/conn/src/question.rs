//! Questions of operators to a worker, and its answers.
//!
//! A question is a letter that brings the way back with it. It is answered in the turn that reads
//! it, changes nothing, and is bounded work: what may be long, such as all connections, is asked
//! for in pages.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ringpost_shard::event::ConnectionKey;
use ringpost_shard::inspect::{MessageAsk, MessageView, SearchStep, UserView};
use ringpost_wire::{DeviceId, MessageId, UserId};

use crate::caller::Caller;
use crate::connection::{Phase, Speech};

/// Places of the table that one page looks at: tens of microseconds, less than a burst of
/// messages.
pub const PAGE_SCAN_MAX: u32 = 1_024;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// The connections from a place of the table on.
    Connections {
        /// The first place.
        from: u32,
        /// Most connections in the answer.
        rows_max: usize,
        /// Which of them.
        filter: ConnectionFilter,
    },
    /// How a user at home here stands.
    User(UserId),
    /// Where a message stands at a user at home here.
    Message(MessageAsk),
    /// Sends under a client's id that are not durable: one step of the search, from a place on.
    UnderWay {
        /// The client's id.
        message_id: MessageId,
        /// The first place.
        from: u32,
    },
}

/// What is answered, in the order of [`Question`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Some connections.
    Connections(ConnectionPage),
    /// A user.
    User(UserView),
    /// A message at a user.
    Message(MessageView),
    /// A step of a search.
    UnderWay(SearchStep),
}

/// The way back of an answer. Dropped unanswered if the worker has ended.
pub struct Reply(Box<dyn FnOnce(Answer) + Send>);

impl Reply {
    /// A way back. `carry` is called on the worker's thread and must not block.
    pub fn new(carry: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Box::new(carry))
    }

    /// Answers.
    pub fn send(self, answer: Answer) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Which connections are meant; what is `None` is not asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// Of this device of a user.
    pub device: Option<DeviceId>,
    /// From this address.
    pub address: Option<IpAddr>,
    /// In this stage.
    pub stage: Option<Stage>,
    /// Speaking like this.
    pub speech: Option<Speech>,
    /// Silent for at least this long.
    pub silent_min: Duration,
}

/// Connections of one page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionPage {
    /// In the order of their places.
    pub connections: Vec<ConnectionView>,
    /// Where the next page begins; `None`: the table has ended.
    pub next: Option<u32>,
}

/// A connection as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionView {
    /// Its name at this worker.
    pub connection: ConnectionKey,
    /// How far it has come.
    pub stage: Stage,
    /// How it speaks.
    pub speech: Speech,
    /// Who signed in.
    pub user: Option<UserId>,
    /// On which device.
    pub device: Option<DeviceId>,
    /// Who calls, if that is known here.
    pub caller: Option<Caller>,
    /// How long the client has said nothing.
    pub silent: Duration,
    /// Until its credential ends; `None` without one.
    pub expires_in: Option<Duration>,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
}

impl ConnectionFilter {
    /// Whether the connection is meant.
    pub fn takes(&self, it: &ConnectionView) -> bool {
        fn is_meant<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        is_meant(self.user, it.user)
            && is_meant(self.device, it.device)
            && is_meant(self.address, it.caller.map(Caller::address))
            && is_meant(self.stage, Some(it.stage))
            && is_meant(self.speech, Some(it.speech))
            && it.silent >= self.silent_min
    }
}

/// How far a connection has come, as operators are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Neither preamble nor upgrade is complete.
    Handshake,
    /// A `hello` is expected.
    SignIn,
    /// A credential is being checked.
    Checking,
    /// On its way to its user's home.
    Moving,
    /// The session stands, or is about to.
    SignedIn,
    /// On its way to REST.
    HandingOver,
    /// The last word is said.
    Closing,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Handshake,
        Self::SignIn,
        Self::Checking,
        Self::Moving,
        Self::SignedIn,
        Self::HandingOver,
        Self::Closing,
    ];

    /// Its name in answers and parameters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::SignIn => "sign_in",
            Self::Checking => "checking",
            Self::Moving => "moving",
            Self::SignedIn => "signed_in",
            Self::HandingOver => "handing_over",
            Self::Closing => "closing",
        }
    }

    pub(crate) const fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Handshake => Self::Handshake,
            Phase::SignIn => Self::SignIn,
            Phase::Checking(_) | Phase::Welcoming => Self::Checking,
            Phase::Departing(..) | Phase::Moving(..) => Self::Moving,
            Phase::SignedIn => Self::SignedIn,
            Phase::HandingOver(_) | Phase::Installing(_) => Self::HandingOver,
            Phase::Closing { .. } => Self::Closing,
        }
    }
}

impl Speech {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Undecided, Self::Binary, Self::WebSocketJson, Self::WebSocketBinary];

    /// Its name in answers and parameters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Binary => "binary",
            Self::WebSocketJson => "websocket_json",
            Self::WebSocketBinary => "websocket_binary",
        }
    }
}
