//! What waits to be written to one connection: a buffer that frames are appended to, and at most
//! one send in flight.
//!
//! ```text
//!   append --> gathering --take--> in flight --Sent(all)--> (recycled)
//!                                     |  ^
//!                          short send v  | Writable
//!                                  stalled (the rest, with its cursor)
//! ```
//!
//! Invariants: bytes leave in the order in which they were appended; a stalled rest leaves before
//! anything gathered after it. An idle connection has no outbox at all.

use std::time::Duration;

use bytes::Bytes;
use ringpost_ring::SendBuffer;

/// A body at least this large travels as a chunk of its own instead of being copied, bytes.
/// Below it a copy is cheaper than one more element of the vector.
pub const SHARED_BODY_BYTES_MIN: usize = 4 * 1024;

/// Where the last send stands.
#[derive(Debug, Default)]
enum Flight {
    /// No send is in flight.
    #[default]
    None,
    /// The ring owns the buffer.
    Sending {
        /// Bytes that this send carries.
        bytes: usize,
    },
    /// The socket took less than all of it: the rest waits for the socket to become writable.
    Stalled(SendBuffer),
}

/// The bytes on their way to one client.
#[derive(Debug, Default)]
pub struct Outbox {
    tail: Vec<u8>,
    chunks: SendBuffer,
    flight: Flight,
    /// When the bytes in flight, or stalled, were first given to the ring (monotonic).
    taken_at: Duration,
}

impl Outbox {
    /// An outbox that appends to `tail`, which is empty and may have capacity.
    pub fn new(tail: Vec<u8>) -> Self {
        debug_assert!(tail.is_empty());
        Self { tail, ..Self::default() }
    }

    /// Where frames are appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a body that others may share, without copying it if it is large; answers how many
    /// bytes were copied.
    pub fn append_body(&mut self, body: &Bytes) -> usize {
        if body.len() < SHARED_BODY_BYTES_MIN {
            self.tail.extend_from_slice(body);
            return body.len();
        }
        self.chunks.push(std::mem::take(&mut self.tail));
        self.chunks.push_shared(body.clone());
        0
    }

    /// Bytes that have not reached the socket.
    pub fn pending_bytes(&self) -> usize {
        let flight = match &self.flight {
            Flight::None => 0,
            Flight::Sending { bytes } => *bytes,
            Flight::Stalled(rest) => rest.remaining_bytes(),
        };
        self.tail.len() + self.chunks.remaining_bytes() + flight
    }

    /// The next send, if one may start now; it is in flight from here on.
    pub fn take_send(&mut self, now: Duration) -> Option<SendBuffer> {
        let buffer = match std::mem::take(&mut self.flight) {
            Flight::None => {
                let mut buffer = std::mem::take(&mut self.chunks);
                buffer.push(std::mem::take(&mut self.tail));
                buffer
            }
            busy => {
                self.flight = busy;
                return None;
            }
        };
        if buffer.is_empty() {
            return None;
        }
        self.flight = Flight::Sending { bytes: buffer.remaining_bytes() };
        self.taken_at = now;
        Some(buffer)
    }

    /// The send in flight has ended: `buffer` stands after the last byte that the socket took.
    /// Answers the allocation for reuse if all of it was taken; otherwise the outbox is stalled.
    pub fn sent(&mut self, buffer: SendBuffer) -> Sent {
        debug_assert!(matches!(self.flight, Flight::Sending { .. }));
        if buffer.is_empty() {
            self.flight = Flight::None;
            Sent::All { emptied: buffer.recycle(), taken_at: self.taken_at }
        } else {
            self.flight = Flight::Stalled(buffer);
            Sent::Stalled
        }
    }

    /// The socket is writable again: the stalled rest, in flight from here on.
    pub fn resume(&mut self) -> Option<SendBuffer> {
        match std::mem::take(&mut self.flight) {
            Flight::Stalled(rest) => {
                self.flight = Flight::Sending { bytes: rest.remaining_bytes() };
                Some(rest)
            }
            other => {
                self.flight = other;
                None
            }
        }
    }

    /// Bytes that the ring holds.
    pub fn in_flight_bytes(&self) -> usize {
        match self.flight {
            Flight::Sending { bytes } => bytes,
            Flight::None | Flight::Stalled(_) => 0,
        }
    }

    /// All that waits, if the socket takes nothing of it now, bytes.
    pub fn stalled_bytes(&self) -> Option<usize> {
        self.is_stalled().then(|| self.pending_bytes())
    }

    /// The socket took less than it was given and has not room again yet.
    pub fn is_stalled(&self) -> bool {
        matches!(self.flight, Flight::Stalled(_))
    }

    /// Nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        matches!(self.flight, Flight::None) && self.tail.is_empty() && self.chunks.is_empty()
    }
}

/// How a send ended.
#[derive(Debug)]
pub enum Sent {
    /// Everything was taken.
    All {
        /// The buffer, which may be used again.
        emptied: Option<Vec<u8>>,
        /// When its bytes were first given to the ring (monotonic).
        taken_at: Duration,
    },
    /// The socket is full: wait until it is writable.
    Stalled,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(3);

    fn flat(buffer: &SendBuffer) -> Vec<u8> {
        buffer.remaining().flatten().copied().collect()
    }

    #[test]
    fn a_stalled_rest_leaves_before_what_was_gathered_after_it() {
        let mut outbox = Outbox::default();
        outbox.tail().extend_from_slice(b"first");
        let mut send = outbox.take_send(NOW).expect("bytes wait");
        outbox.tail().extend_from_slice(b"second");
        assert!(outbox.take_send(NOW).is_none(), "one send in flight");
        send.advance(2);
        assert!(matches!(outbox.sent(send), Sent::Stalled));
        assert!(outbox.take_send(NOW).is_none(), "the rest goes first");
        assert_eq!(outbox.pending_bytes(), 3 + 6);
        let mut rest = outbox.resume().expect("stalled");
        assert_eq!(flat(&rest), b"rst");
        rest.advance(3);
        assert!(matches!(outbox.sent(rest), Sent::All { taken_at: NOW, .. }));
        assert_eq!(flat(&outbox.take_send(NOW).expect("gathered")), b"second");
    }

    #[test]
    fn large_bodies_keep_their_place_without_a_copy() {
        let mut outbox = Outbox::default();
        let body = Bytes::from(vec![7; SHARED_BODY_BYTES_MIN]);
        outbox.tail().extend_from_slice(b"head");
        outbox.append_body(&body);
        outbox.tail().extend_from_slice(b"next");
        let send = outbox.take_send(NOW).expect("bytes wait");
        let expected = [b"head".as_slice(), &body, b"next"].concat();
        assert_eq!(flat(&send), expected);
        assert!(send.remaining().any(|chunk| chunk.as_ptr() == body.as_ptr()));
    }
}
