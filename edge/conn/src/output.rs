//! What a worker's turn asks for: operations of its ring, and things that other threads do.
//! Both are carried out by the driver after the turn, in order.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ringpost_ring::{MoveToken, ReceiveMode, Rings, SendBuffer, Slot};
use ringpost_shard::Effect;
use ringpost_shard::event::{ConnectionKey, Proof, WorkerId};
use ringpost_shard::mail::Mail;
use ringpost_wire::{DeviceId, UserId};

use crate::caller::Caller;
use crate::connection::Speech;
use crate::letter::Arriving;
use crate::question::{Answer, Reply};

/// One operation of the worker's ring.
#[derive(Debug)]
pub enum Operation {
    /// Arm a receive.
    Receive(Slot, ReceiveMode),
    /// Say when there is something to receive.
    PollReadable(Slot),
    /// Take a receive back.
    StopReceive(Slot),
    /// Send; one at a time for each slot.
    Send(Slot, SendBuffer),
    /// Say when the socket has room again.
    PollWritable(Slot),
    /// Shut the sending direction.
    ShutdownWrite(Slot),
    /// End the connection.
    Close(Slot),
    /// Ask for the client's address.
    PeerAddress(Slot),
    /// Make it an ordinary descriptor.
    Install(Slot),
    /// Hand it to another worker.
    MoveOut(Slot, WorkerId, u64),
    /// Take in an ordinary descriptor.
    Admit(OwnedFd, u32),
    /// Accept no more for now.
    PauseAccept,
    /// Accept again after a pause.
    ResumeAccept,
    /// Accept no more, for good.
    CloseListeners,
    /// Close what arrived unannounced.
    ReclaimUnannounced,
}

impl Operation {
    /// Queues the operation. `handles` has the rings of all workers by their number.
    pub fn submit<R: Rings>(self, rings: &mut R, handles: &[R::Handle]) {
        match self {
            Self::Receive(slot, mode) => rings.receive(slot, mode),
            Self::PollReadable(slot) => rings.poll_readable(slot),
            Self::StopReceive(slot) => rings.stop_receive(slot),
            Self::Send(slot, buffer) => rings.send(slot, buffer),
            Self::PollWritable(slot) => rings.poll_writable(slot),
            Self::ShutdownWrite(slot) => rings.shutdown_write(slot),
            Self::Close(slot) => rings.close(slot),
            Self::PeerAddress(slot) => rings.peer_address(slot),
            Self::Install(slot) => rings.install(slot),
            Self::MoveOut(slot, to, token) => {
                rings.move_out(slot, &handles[usize::from(to.0)], MoveToken::new(token));
            }
            Self::Admit(fd, key) => rings.admit(fd, key),
            Self::PauseAccept => rings.pause_accept(),
            Self::ResumeAccept => rings.resume_accept(),
            Self::CloseListeners => rings.close_listeners(),
            Self::ReclaimUnannounced => rings.reclaim_unannounced(),
        }
    }
}

/// Who has signed in, how and from where: for the log of whoever runs the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entrant {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// By what.
    pub proof: Proof,
    /// How it speaks.
    pub speech: Speech,
    /// From where, if that is known.
    pub address: Option<IpAddr>,
}

/// Something for another thread.
#[derive(Debug)]
pub enum Output {
    /// An effect of the shard that concerns the storage tier: `Commit`, `Load`,
    /// `LookUpAccepted`, `ReadMessages`, `FindReceived`, `RequestDone`.
    Tier(Effect),
    /// Mail for another worker's shard, in order.
    Mail {
        /// Whom.
        to: WorkerId,
        /// All of this turn.
        mail: Vec<Mail>,
    },
    /// A connection goes home; its descriptor is already there.
    Arriving {
        /// Where.
        to: WorkerId,
        /// Its state.
        arriving: Box<Arriving>,
    },
    /// A descriptor arrived there unannounced, or will never arrive.
    MoveFailed {
        /// Where.
        to: WorkerId,
        /// The token of the move.
        token: u64,
    },
    /// Check an access token; answered by `Letter::Verified`.
    Verify {
        /// Who presented it.
        connection: ConnectionKey,
        /// The token's text.
        token: String,
    },
    /// The answer to an operator.
    Answer {
        /// The way back.
        reply: Reply,
        /// What is answered.
        answer: Answer,
    },
    /// A device has its session, and is told so in this turn.
    SignedIn(Entrant),
    /// A web page was refused a WebSocket: whoever runs the server may want to know which.
    ForeignOrigin {
        /// What stood in `Origin`, cut to [`ORIGIN_BYTES_MAX`](crate::http::ORIGIN_BYTES_MAX);
        /// a peer's bytes.
        origin: Vec<u8>,
    },
    /// An HTTP connection for REST.
    HandOver {
        /// An ordinary non-blocking descriptor.
        fd: OwnedFd,
        /// What was read of it already.
        read: Vec<u8>,
        /// Who calls, so far; each request may name somebody else.
        caller: Option<Caller>,
    },
    /// A connection that REST gave back and for which there is no room: REST says so.
    Refuse {
        /// An ordinary non-blocking descriptor.
        fd: OwnedFd,
    },
}
