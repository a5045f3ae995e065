//! A connection at rest: signed in, silent, with nothing to be written. 12 bytes.
//!
//! Most connections are at rest most of the time, so this is what millions of them cost here. What
//! is not kept is either the same for all who are at rest (an empty decoder, no outbox), or the
//! shard's (who signed in, and its window), or has no meaning any more (when it was accepted, its
//! address, which the ring can be asked for).
//!
//! Times are kept in ticks of the timer wheel, rounded up: a deadline is looked at in the tick
//! after it, so a finer clock would say nothing more. The debt of frames is dropped: that of one
//! frame, because two within a moment keep a connection from its rest.

use std::time::Duration;

use ringpost_ring::Slot;

use crate::connection::{Connection, Input, Phase, Protocol, Speech};
use crate::timer::TICK;
use crate::websocket;
use ringpost_wire::decoder::FrameDecoder;

/// What stands beside the generation in [`Idle::bits`].
const SPEECH_MASK: u32 = 0b11;
const RECEIVING: u32 = 1 << 2;
const PINGED: u32 = 1 << 3;
const GENERATION_SHIFT: u32 = 12;

const _: () = assert!(Slot::GENERATIONS <= 1 << (u32::BITS - GENERATION_SHIFT));

/// A connection at rest.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Generation of its slot, and the flags above.
    bits: u32,
    heard_at: Ticks,
    expires_at: Ticks,
}

const _: () = assert!(size_of::<Idle>() == 12);

/// A time in ticks of the timer wheel; 34 years of them, and the last means never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ticks(u32);

impl Ticks {
    const NEVER: Self = Self(u32::MAX);

    fn at_or_after(time: Duration) -> Self {
        let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
        u32::try_from(ticks).map_or(Self::NEVER, Self)
    }

    fn time(self) -> Duration {
        if self == Self::NEVER { Duration::MAX } else { TICK * self.0 }
    }
}

impl Idle {
    /// What is kept of a connection.
    ///
    /// # Panics
    /// If it is not at rest.
    pub fn of(connection: &Connection) -> Self {
        assert!(connection.is_at_rest(), "only what is at rest can be left out");
        let speech = match connection.speech {
            Speech::Undecided => unreachable!("a session has decided how it speaks"),
            Speech::Binary => 0,
            Speech::WebSocketJson => 1,
            Speech::WebSocketBinary => 2,
        };
        let pinged = if connection.pinged { PINGED } else { 0 };
        Self {
            bits: connection.slot.generation() << GENERATION_SHIFT | speech | pinged,
            heard_at: Ticks::at_or_after(connection.heard_at),
            expires_at: Ticks::at_or_after(connection.expires_at),
        }
    }

    /// The connection again, as it was, in its slot.
    pub fn wake(self, slot: Slot) -> Connection {
        let speech = self.speech();
        let heard_at = self.heard_at.time();
        Connection {
            protocol: match speech {
                Speech::Binary => Protocol::Binary(FrameDecoder::default()),
                _ => Protocol::WebSocket(websocket::Decoder::new()),
            },
            speech,
            phase: Phase::SignedIn,
            spoke_at: Some(heard_at),
            input: if self.is_receiving() { Input::Armed } else { Input::Waiting },
            expires_at: self.expires_at.time(),
            pinged: self.is_pinged(),
            ..Connection::accepted(slot, heard_at)
        }
    }

    /// What it is told things in.
    pub fn speech(self) -> Speech {
        match self.bits & SPEECH_MASK {
            0 => Speech::Binary,
            1 => Speech::WebSocketJson,
            _ => Speech::WebSocketBinary,
        }
    }

    /// Generation of its slot.
    pub fn generation(self) -> u32 {
        self.bits >> GENERATION_SHIFT
    }

    /// Its poll has said that there is something: a receive is under way.
    pub fn is_receiving(self) -> bool {
        self.bits & RECEIVING != 0
    }

    /// Notes that a receive is under way.
    pub fn begin_receiving(&mut self) {
        self.bits |= RECEIVING;
    }

    /// The server's ping is unanswered.
    pub fn is_pinged(self) -> bool {
        self.bits & PINGED != 0
    }

    /// When the client last said anything, rounded up to a tick.
    pub fn heard_at(self) -> Duration {
        self.heard_at.time()
    }

    /// When the credential ends, rounded up to a tick.
    pub fn expires_at(self) -> Duration {
        self.expires_at.time()
    }
}
