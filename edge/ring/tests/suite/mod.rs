//! The conformance suite: what every [`Rings`] promises, written once and run over each driver.
//!
//! A [`World`] supplies a driver and far ends of connections. [`Turns`] records completions; a
//! test drives turns until it has seen what it waits for, bounded by a number of turns, never by
//! the clock.

#![allow(dead_code, reason = "each test binary uses a part of the suite")]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ringpost_ring::{
    Completion, Errno, MoveToken, Operation, ReceiveMode, Rings, SendBuffer, Slot, Wait,
};

pub(crate) mod cases;
pub(crate) mod walk;

/// Turns that a test may take before it counts as stuck.
const TURNS_MAX: usize = 20_000;
/// A turn sleeps at most this long, so that far ends without a ring of their own get on.
const TURN: Duration = Duration::from_millis(2);

/// The far end of a connection.
pub(crate) trait Far {
    /// Writes what fits; says how much.
    fn write(&mut self, bytes: &[u8]) -> usize;
    /// Reads what has arrived, at most `most` bytes; `None` after the end of the stream or a
    /// reset.
    fn read(&mut self, most: usize) -> Option<Vec<u8>>;
    /// Ends its own direction.
    fn shutdown_write(&mut self);
    /// Breaks the connection.
    fn reset(self);
    /// Its own address, as the ring should see it.
    fn address(&self) -> SocketAddr;
}

/// A driver under test.
pub(crate) trait World {
    type Rings: Rings;
    type Far: Far;

    fn rings(&mut self) -> &mut Self::Rings;
    /// A second ring set in the same process.
    fn other(&mut self) -> &mut Self::Rings;
    /// Connects to the first ring set.
    fn connect(&mut self) -> Self::Far;
    /// Whether installed descriptors are real ones.
    fn installs(&self) -> bool {
        true
    }
}

/// A completion that can be kept.
#[derive(Debug)]
pub(crate) enum Seen {
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
    Installed(Slot, OwnedFd),
    Admitted(Slot, u32),
    AdmitFailed(OwnedFd, u32, Errno),
    MovedOut(Slot),
    MoveFailed(Slot, Errno, bool),
    MovedIn(Slot, MoveToken),
    Closed(Slot),
    Woken,
}

impl Seen {
    fn of(completion: Completion<'_>) -> Self {
        match completion {
            Completion::Accepted { slot } => Self::Accepted(slot),
            Completion::AcceptRefused => Self::AcceptRefused,
            Completion::AcceptFailed { errno } => Self::AcceptFailed(errno),
            Completion::Received { slot, bytes, more } => {
                assert!(!bytes.is_empty(), "nothing received is not reported");
                Self::Received(slot, bytes.to_vec(), more)
            }
            Completion::Readable { slot } => Self::Readable(slot),
            Completion::Eof { slot } => Self::Eof(slot),
            Completion::ReceiveStopped { slot } => Self::ReceiveStopped(slot),
            Completion::Sent { slot, buffer, result } => Self::Sent(slot, buffer, result),
            Completion::Writable { slot } => Self::Writable(slot),
            Completion::WriteShut { slot } => Self::WriteShut(slot),
            Completion::PeerAddress { slot, address } => Self::PeerAddress(slot, address),
            Completion::Failed { slot, operation, errno } => Self::Failed(slot, operation, errno),
            Completion::Installed { slot, fd } => Self::Installed(slot, fd),
            Completion::Admitted { slot, key } => Self::Admitted(slot, key),
            Completion::AdmitFailed { fd, key, errno } => Self::AdmitFailed(fd, key, errno),
            Completion::MovedOut { slot } => Self::MovedOut(slot),
            Completion::MoveFailed { slot, errno, unannounced } => {
                Self::MoveFailed(slot, errno, unannounced)
            }
            Completion::MovedIn { slot, token } => Self::MovedIn(slot, token),
            Completion::Closed { slot } => Self::Closed(slot),
            Completion::Connected { .. } | Completion::ConnectFailed { .. } => {
                unreachable!("the suite connects to nobody")
            }
            Completion::Woken => Self::Woken,
        }
    }

    /// The slot that it speaks of.
    pub(crate) fn slot(&self) -> Option<Slot> {
        match self {
            Self::AcceptRefused | Self::AcceptFailed(_) | Self::AdmitFailed(..) | Self::Woken => {
                None
            }
            Self::Accepted(slot)
            | Self::Received(slot, ..)
            | Self::Readable(slot)
            | Self::Eof(slot)
            | Self::ReceiveStopped(slot)
            | Self::Sent(slot, ..)
            | Self::Writable(slot)
            | Self::WriteShut(slot)
            | Self::PeerAddress(slot, _)
            | Self::Failed(slot, ..)
            | Self::Installed(slot, _)
            | Self::Admitted(slot, _)
            | Self::MovedOut(slot)
            | Self::MoveFailed(slot, ..)
            | Self::MovedIn(slot, _)
            | Self::Closed(slot) => Some(*slot),
        }
    }
}

/// One turn: what it reported.
pub(crate) fn turn(rings: &mut impl Rings, wait: Wait) -> Vec<Seen> {
    let mut seen = Vec::new();
    rings.submit_and_wait(wait, |completion| seen.push(Seen::of(completion)));
    seen
}

/// Turns until `done` says so; returns everything seen on the way.
pub(crate) fn turns_until(
    rings: &mut impl Rings,
    mut done: impl FnMut(&Seen) -> bool,
) -> Vec<Seen> {
    let mut all = Vec::new();
    for _ in 0..TURNS_MAX {
        let mut over = false;
        for seen in turn(rings, Wait::at_most(TURN)) {
            over |= done(&seen);
            all.push(seen);
        }
        if over {
            return all;
        }
    }
    panic!("stuck after {TURNS_MAX} turns; seen: {all:?}");
}

/// Turns until something is seen that `pick` takes.
pub(crate) fn turns_until_some<T>(
    rings: &mut impl Rings,
    mut pick: impl FnMut(Seen) -> Option<T>,
) -> T {
    for _ in 0..TURNS_MAX {
        let mut found = None;
        for seen in turn(rings, Wait::at_most(TURN)) {
            found = found.or_else(|| pick(seen));
        }
        if let Some(found) = found {
            return found;
        }
    }
    panic!("stuck after {TURNS_MAX} turns");
}

/// A connection: its slot and its far end.
pub(crate) fn connect<W: World>(world: &mut W) -> (Slot, W::Far) {
    let far = world.connect();
    let slot = turns_until_some(world.rings(), |seen| match seen {
        Seen::Accepted(slot) => Some(slot),
        _ => None,
    });
    (slot, far)
}

/// Closes and waits for it.
pub(crate) fn close(rings: &mut impl Rings, slot: Slot) {
    rings.close(slot);
    let seen = turns_until(rings, |seen| matches!(seen, Seen::Closed(closed) if *closed == slot));
    let of_slot = seen.iter().filter(|seen| seen.slot() == Some(slot));
    for seen in of_slot {
        assert!(
            matches!(seen, Seen::Closed(_) | Seen::Sent(..)),
            "a slot that is being closed reports only its send and its end, not {seen:?}"
        );
    }
}

/// Writes everything, taking turns while the far end is full; returns what was seen meanwhile.
pub(crate) fn write_all<W: World>(world: &mut W, far: &mut W::Far, mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for _ in 0..TURNS_MAX {
        let written = far.write(bytes);
        bytes = &bytes[written..];
        if bytes.is_empty() {
            return seen;
        }
        seen.extend(turn(world.rings(), Wait::at_most(TURN)));
    }
    panic!("stuck after {TURNS_MAX} turns with {} bytes to write", bytes.len());
}

/// Sends everything, as a worker does: the rest after a short send, and again when there is room
/// after a refusal.
pub(crate) fn send_all(rings: &mut impl Rings, slot: Slot, buffer: SendBuffer) {
    let mut next = Some(buffer);
    while let Some(buffer) = next.take() {
        rings.send(slot, buffer);
        let (back, result) = turns_until_some(rings, |seen| match seen {
            Seen::Sent(of, back, result) if of == slot => Some((back, result)),
            _ => None,
        });
        match result {
            Ok(_) => {}
            Err(Errno::EAGAIN) => {
                rings.poll_writable(slot);
                turns_until(rings, |seen| matches!(seen, Seen::Writable(of) if *of == slot));
            }
            Err(errno) => panic!("a send to an open far end fails with {errno}"),
        }
        next = (!back.is_empty()).then_some(back);
    }
}

/// Bytes that no two positions share by chance.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position ^ (position >> 8) ^ (position >> 16)) as u8).collect()
}

/// What was received on a slot, put together.
pub(crate) fn received(seen: &[Seen], of: Slot) -> Vec<u8> {
    let chunks = seen.iter().filter_map(|seen| match seen {
        Seen::Received(slot, bytes, _) if *slot == of => Some(bytes.as_slice()),
        _ => None,
    });
    chunks.flatten().copied().collect()
}

pub(crate) const MULTISHOT: ReceiveMode = ReceiveMode::Multishot;
pub(crate) const ONE_SHOT: ReceiveMode = ReceiveMode::OneShot;
