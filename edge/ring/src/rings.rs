//! The contract between a worker and its rings: the trait [`Rings`], implemented by
//! [`RingSet`](crate::RingSet) (io_uring) and by [`FakeRing`](crate::fake::FakeRing) (tests), and
//! the words they speak in.
//!
//! ```text
//!   one slot, input side                          one slot, output side
//!
//!        +-----------> idle <------------+             idle --- send ----------> sending
//!        |              |                |              ^  \                        |
//!   Readable      poll_readable     Received(!more),    |   poll_writable         Sent
//!        |         or receive        Eof, Failed,       |     \                     |
//!        |              v           ReceiveStopped      |      v                    |
//!        +---------- armed --------------+              +-- waiting (Writable) <----+
//! ```
//!
//! The two sides are independent. `close` may be called in any state of both; `move_out` and
//! `install` only when both are idle.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;

use crate::send_buffer::SendBuffer;
use crate::stats::RingStats;

/// A direct descriptor of a ring set, and which of its lives is meant.
///
/// The index is reused; the generation tells one use from the next, so a handle kept too long is
/// recognised. It wraps after [`Slot::GENERATIONS`] uses of one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// Uses of one index that are told apart.
    pub const GENERATIONS: u32 = 1 << 20;

    /// The slot with these parts: for tables that keep them apart. The generation is below
    /// [`Slot::GENERATIONS`].
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// Position in the ring set's table: dense, small, reused. Fit to index a side table.
    #[must_use]
    #[inline]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Which use of the index.
    #[must_use]
    #[inline]
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// A number that travels with a moved slot, so that the target can pair it with the state that
/// follows by another way. The sender chooses it; 56 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoveToken(u64);

impl MoveToken {
    /// The largest token.
    pub const MAX: u64 = (1 << 56) - 1;

    /// # Panics
    ///
    /// If the value is above [`MoveToken::MAX`].
    #[must_use]
    pub fn new(value: u64) -> Self {
        assert!(value <= Self::MAX, "a move token has 56 bits");
        Self(value)
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

/// How long a receive stays armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveMode {
    /// One completion with at most one buffer of bytes, then idle. Costs a submission for each.
    OneShot,
    /// Armed until the stream ends, fails, or the receive is stopped. Costs kernel memory (865 B
    /// instead of the 256 B of a poll) as long as it is armed.
    Multishot,
}

/// How long [`Rings::submit_and_wait`] may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub(crate) sleep: Sleep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    No,
    AtMost(Duration),
    Forever,
}

impl Wait {
    /// Do not sleep: submit, report what there is.
    pub const POLL: Self = Self::new(Sleep::No);
    /// Sleep until there is a completion.
    pub const FOREVER: Self = Self::new(Sleep::Forever);

    const fn new(sleep: Sleep) -> Self {
        Self { sleep }
    }

    /// Sleep until there is a completion, at most for this long.
    #[must_use]
    pub const fn at_most(timeout: Duration) -> Self {
        Self::new(Sleep::AtMost(timeout))
    }
}

/// What failed, in [`Completion::Failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Rings::receive`]. The input side is idle.
    Receive,
    /// [`Rings::poll_readable`]. The input side is idle.
    PollReadable,
    /// [`Rings::poll_writable`]. The output side is idle.
    PollWritable,
    /// [`Rings::shutdown_write`].
    ShutdownWrite,
    /// [`Rings::peer_address`].
    PeerAddress,
    /// [`Rings::install`]. The slot is as it was.
    Install,
}

/// What happened. Everything that can end a sleep of the worker is one of these.
#[derive(Debug)]
pub enum Completion<'a> {
    /// A connection was accepted. Its life as a slot begins; nothing is armed.
    Accepted {
        /// The new slot.
        slot: Slot,
    },
    /// A connection was dropped because the table of slots is full. Accepting goes on when a
    /// slot becomes free.
    AcceptRefused,
    /// Accepting failed for a reason that may persist. It is paused: call
    /// [`Rings::resume_accept`] after a delay.
    AcceptFailed {
        /// Why.
        errno: Errno,
    },
    /// Bytes have arrived. They are lent for this call only; then the buffer goes back.
    Received {
        /// Where.
        slot: Slot,
        /// At least one byte. The worker may change them, to unmask in place.
        bytes: &'a mut [u8],
        /// The receive is still armed.
        more: bool,
    },
    /// A poll for input is over: there are bytes, the end of the stream, or an error to receive.
    Readable {
        /// Where.
        slot: Slot,
    },
    /// The peer will send nothing more. The input side is idle.
    Eof {
        /// Where.
        slot: Slot,
    },
    /// Answers every [`Rings::stop_receive`], once, after all bytes received before it.
    ReceiveStopped {
        /// Where.
        slot: Slot,
    },
    /// A send is over and the output side idle. Reported even while the slot is being closed.
    Sent {
        /// Where.
        slot: Slot,
        /// The memory, advanced by what was sent. Not empty after a short send.
        buffer: SendBuffer,
        /// Bytes that the kernel took. `EAGAIN`: the socket buffer is full.
        result: Result<usize, Errno>,
    },
    /// The socket buffer has room again.
    Writable {
        /// Where.
        slot: Slot,
    },
    /// The sending direction is shut; the peer sees the end of the stream.
    WriteShut {
        /// Where.
        slot: Slot,
    },
    /// The peer's address.
    PeerAddress {
        /// Where.
        slot: Slot,
        /// IPv4 addresses mapped into IPv6 are reported as IPv4.
        address: SocketAddr,
    },
    /// An operation failed.
    Failed {
        /// Where.
        slot: Slot,
        /// What.
        operation: Operation,
        /// Why.
        errno: Errno,
    },
    /// The connection is now an ordinary non-blocking descriptor of the process. The slot is
    /// being closed, [`Completion::Closed`] follows.
    Installed {
        /// Where it was.
        slot: Slot,
        /// Close-on-exec and `O_NONBLOCK` are set.
        fd: OwnedFd,
    },
    /// The connection belongs to the target ring set. The slot is being closed here,
    /// [`Completion::Closed`] follows.
    MovedOut {
        /// Where it was.
        slot: Slot,
    },
    /// A move failed. The slot is as it was.
    MoveFailed {
        /// Where it stayed.
        slot: Slot,
        /// Why: `ENFILE` (the target's table is full), `EOWNERDEAD` or `EBADFD` (the target is
        /// gone), `EOVERFLOW`.
        errno: Errno,
        /// The target holds the connection too but was not told. It must be told by another way,
        /// and call [`Rings::reclaim_unannounced`].
        unannounced: bool,
    },
    /// A connection came from another ring set. Its life as a slot begins; nothing is armed.
    MovedIn {
        /// The new slot.
        slot: Slot,
        /// What the sender gave to `move_out`.
        token: MoveToken,
    },
    /// A connection that [`Rings::admit`] brought has its slot. Its life as a slot begins; nothing
    /// is armed, and the descriptor is closed.
    Admitted {
        /// The new slot.
        slot: Slot,
        /// What was given to `admit`.
        key: u32,
    },
    /// A connection that was brought got no slot.
    AdmitFailed {
        /// The descriptor, non-blocking again.
        fd: OwnedFd,
        /// What was given to `admit`.
        key: u32,
        /// Why: `ENFILE` (the table is full) and others.
        errno: Errno,
    },
    /// A connection that [`RingSet::connect`](crate::RingSet::connect) asked for stands. Its life
    /// as a slot begins; nothing is armed.
    Connected {
        /// The new slot.
        slot: Slot,
        /// What was given to `connect`.
        key: u32,
    },
    /// A connection that was asked for did not come about.
    ConnectFailed {
        /// What was given to `connect`.
        key: u32,
        /// Why: `ENFILE` (no slot is free), `ECONNREFUSED`, `EADDRNOTAVAIL` and others.
        errno: Errno,
    },
    /// The slot is free and may be reused at once. Nothing more is reported about it.
    Closed {
        /// What it was.
        slot: Slot,
    },
    /// Somebody asked this worker to look at its queues: by [`Rings::wake`] or by an
    /// [`EventWaker`](crate::EventWaker).
    Woken,
}

/// The rings of one worker. Operations are only queued; they take effect in
/// [`Rings::submit_and_wait`], which also reports completions.
///
/// # Panics
///
/// Every operation on a slot panics if the slot is not open (closed, being closed, moved,
/// installed), or if the side that it uses is not idle. Both are bugs of the caller, who is told
/// of every change of state.
pub trait Rings {
    /// Names a ring set of this kind to others.
    type Handle: Clone;

    /// This ring set, for others to wake and to move slots to.
    fn handle(&self) -> Self::Handle;

    /// Size of the table of slots.
    fn slots(&self) -> u32;

    /// Slots in use, those being closed included.
    fn slots_in_use(&self) -> u32;

    /// Stops accepting. Connections accepted before the kernel knew are still reported.
    fn pause_accept(&mut self);

    /// Accepts again.
    fn resume_accept(&mut self);

    /// Closes every listener for good; what waits in their backlogs is reset.
    fn close_listeners(&mut self);

    /// Asks for one [`Completion::Readable`]: the cheapest way to wait on an idle connection.
    fn poll_readable(&mut self, slot: Slot);

    /// Arms a receive.
    fn receive(&mut self, slot: Slot, mode: ReceiveMode);

    /// Takes back `receive` or `poll_readable`. Answered by one [`Completion::ReceiveStopped`]
    /// in every case, also if the operation had ended by itself.
    fn stop_receive(&mut self, slot: Slot);

    /// Sends without waiting for room in the socket buffer; one send at a time. The memory is the
    /// ring's until [`Completion::Sent`].
    fn send(&mut self, slot: Slot, buffer: SendBuffer);

    /// Asks for one [`Completion::Writable`].
    fn poll_writable(&mut self, slot: Slot);

    /// Shuts the sending direction, so that the peer reads all that was sent and then the end of
    /// the stream. A slot closed with unread input resets the connection instead.
    fn shutdown_write(&mut self, slot: Slot);

    /// Ends the slot. What is armed is cancelled, input is discarded; a send in flight still
    /// reports [`Completion::Sent`]; then [`Completion::Closed`].
    fn close(&mut self, slot: Slot);

    /// Asks for the peer's address. At most one question at a time for each slot.
    fn peer_address(&mut self, slot: Slot);

    /// Hands the connection over to the process as an ordinary descriptor.
    fn install(&mut self, slot: Slot);

    /// Takes in a connected socket that is an ordinary descriptor of the process: the way back of
    /// [`Rings::install`]. Answered by [`Completion::Admitted`] or [`Completion::AdmitFailed`] with
    /// `key`.
    fn admit(&mut self, fd: OwnedFd, key: u32);

    /// Hands the connection over to another ring set of this process.
    fn move_out(&mut self, slot: Slot, to: &Self::Handle, token: MoveToken);

    /// Closes slots that arrived without an announcement (see [`Completion::MoveFailed`]).
    /// Silent; counted in [`RingStats::reclaimed`].
    fn reclaim_unannounced(&mut self);

    /// Makes another ring set report [`Completion::Woken`].
    fn wake(&mut self, to: &Self::Handle);

    /// Submits all that was queued, sleeps as `wait` allows while there is nothing to report, and
    /// reports completions. Called once for each turn of the worker.
    fn submit_and_wait(&mut self, wait: Wait, on_completion: impl FnMut(Completion<'_>));

    /// Counters since the ring set was opened.
    fn stats(&self) -> RingStats;
}
