//! Letters: what other threads of the node put into a worker's mailbox, as one closed enum.
//!
//! Workers, the journal, the store's threads, the token checkers and REST all speak to a worker
//! by letters and never touch its state. Batches where batches are natural: one letter carries
//! all the mail of a peer's turn, or all the records of one group commit that concern the worker.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ringpost_shard::event::{ConnectionKey, Proof, WorkerId};
use ringpost_shard::mail::Mail;
use ringpost_shard::record::SharedRecord;
use ringpost_shard::{Event, Position};
use ringpost_wire::{CloseReason, DeviceId, UserId};

use crate::caller::Caller;
use crate::connection::{Protocol, Speech};
use crate::question::{Question, Reply};

/// Something for a worker.
#[derive(Debug)]
pub enum Letter {
    /// Mail between shards, in order.
    Mail {
        /// The sender.
        from: WorkerId,
        /// In the order in which the sender's shard emitted it.
        mail: Vec<Mail>,
    },
    /// Durable records that touch users of this worker, in the journal's order.
    Durable(Vec<(Position, SharedRecord)>),
    /// An answer of the store, the applier's progress, a request of REST.
    Event(Event<'static>),
    /// A credential was checked.
    Verified {
        /// The connection that presented it, if it still lives.
        connection: ConnectionKey,
        /// Who it is, or why not.
        answer: Result<Identity, CredentialRefused>,
    },
    /// A connection comes home; its descriptor follows or came before under the same token.
    Arriving(Box<Arriving>),
    /// REST gives a connection back: a request on it asks for a WebSocket.
    Returned(Box<Returned>),
    /// The descriptor of a connection that was announced will not come.
    MoveFailed {
        /// The token of the announcement.
        token: u64,
    },
    /// An operator asks; answered in the same turn.
    Ask {
        /// What.
        question: Box<Question>,
        /// The way back.
        reply: Reply,
    },
    /// An operator says that the wall clock is right. Read by the driver, which owns the clock.
    TrustClock,
    /// Say `goaway` to everybody and close, all within the time.
    Drain {
        /// From now to the end, last words included.
        within: Duration,
    },
}

/// Who a credential speaks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// When the credential was issued, wall clock ms.
    pub issued_at_ms: u64,
    /// When it ends, wall clock ms.
    pub expires_at_ms: u64,
    /// What it proves beside that.
    pub proof: Proof,
}

/// Why a credential was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CredentialRefused {
    /// No token of the form, algorithm and claims that are taken.
    TokenMalformed,
    /// No key here has signed it so.
    TokenUnsigned,
    /// Of another issuer or audience.
    TokenForeign,
    /// Its time is over.
    TokenExpired,
    /// Its time has not come.
    TokenNotYet,
    /// No ticket of ours, or one of a key that was rotated out.
    TicketUnknown,
    /// Its time is over.
    TicketExpired,
    /// Too many credentials wait to be checked; not the client's fault.
    Busy,
}

impl CredentialRefused {
    /// What a client is told that signs in with it.
    pub const fn reason(self) -> CloseReason {
        match self {
            Self::TokenMalformed => CloseReason::TokenMalformed,
            Self::TokenUnsigned => CloseReason::TokenUnsigned,
            Self::TokenForeign => CloseReason::TokenForeign,
            Self::TokenExpired => CloseReason::TokenExpired,
            Self::TokenNotYet => CloseReason::TokenNotYet,
            Self::TicketUnknown => CloseReason::TicketUnknown,
            Self::TicketExpired => CloseReason::TicketExpired,
            Self::Busy => CloseReason::TokensCrowded,
        }
    }
}

/// A signed-in connection on its way to its user's home.
#[derive(Debug)]
pub struct Arriving {
    /// Pairs the letter with the descriptor.
    pub token: u64,
    /// The worker that accepted it.
    pub from: WorkerId,
    /// How it speaks, with the decoder's state.
    pub protocol: Protocol,
    /// What it is told things in.
    pub speech: Speech,
    /// Who it is.
    pub identity: Identity,
    /// The hello that waits for its `welcome`.
    pub hello: PendingHello,
    /// When it was accepted (monotonic).
    pub accepted_at: Duration,
    /// Who calls.
    pub caller: Option<Caller>,
    /// Bytes received and not yet decoded; at most one receive buffer.
    pub surplus: Vec<u8>,
}

/// A connection that REST gives back.
#[derive(Debug)]
pub struct Returned {
    /// An ordinary descriptor; all that was asked before is answered.
    pub fd: OwnedFd,
    /// The request that asks for a WebSocket and what came behind it, as they came; at most a head
    /// and what REST reads at once.
    pub read: Vec<u8>,
    /// Who calls, as it was known when REST was given the connection.
    pub caller: Option<Caller>,
}

/// What of a `hello` is needed after its credential was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PendingHello {
    /// Echoed by `welcome`.
    pub tag: u16,
    /// The device that the client names; must equal the credential's.
    pub device: Option<DeviceId>,
    /// Asked window, 0 = default.
    pub window_pushes: u32,
    /// Asked window in bytes, 0 = default.
    pub window_bytes: u32,
    /// What the client wants to be told of.
    pub intents: u32,
}
