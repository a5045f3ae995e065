//! The decoder of one connection.
//!
//! ```text
//!             +-- whole item in the buffer: borrowed from it
//!             v        |
//!   ------> idle ------+
//!            |  ^
//!  the buffer|  |the next call after the message or control frame
//!  ends early|  |was handed out (its bytes live in the assembly)
//!  or no FIN v  |
//!        assembling ------+
//!            |            |
//!            | close      | violation           (both also from idle)
//!            v            v
//!         closed        failed
//!     input discarded   the same violation again
//! ```

use std::ops::Range;
use std::time::Duration;

use super::assembly::Assembly;
use super::frame::{self, Expected, Header};
use super::{Close, Limits, Opcode, Violation, mask};

/// The bytes of one receive, lent to the decoder, and how far they are read. Payloads are
/// unmasked in place; what was not read is untouched.
#[derive(Debug)]
pub struct Received<'b> {
    bytes: &'b mut [u8],
    read: usize,
}

/// One thing that the client said. Borrowed until the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with this payload (at most 125 bytes), unless a newer ping came.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong(&'a [u8]),
    /// The client sends no more: answer with a close frame if none was sent, then close.
    Close(Close<'a>),
}

/// Decodes the frames of one client. It holds memory beyond itself only while a frame or message
/// is incomplete.
#[derive(Default)]
pub struct Decoder {
    phase: Phase,
    assembly: Option<Box<Assembly>>,
}

// An idle connection pays this: a tag and one pointer.
const _: () = assert!(size_of::<Decoder>() <= 2 * size_of::<usize>());

#[derive(Clone, Copy, Default)]
enum Phase {
    #[default]
    Open,
    Closed,
    Failed(Violation),
}

/// Where an item lies that is complete.
pub(super) enum Found {
    /// In the input, unmasked.
    Borrowed { opcode: Opcode, payload: Range<usize> },
    /// A control frame in the scratch space of the assembly.
    Control { opcode: Opcode, payload_bytes: usize },
    /// The message of the assembly.
    Message,
}

/// Shows sizes only: what a client sent is not for logs.
impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("pinned_bytes", &self.pinned_bytes()).finish()
    }
}

impl<'b> Received<'b> {
    /// Bytes of which none is read yet.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, read: 0 }
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Bytes not read yet, as they came: for an owner that stops early and goes on later.
    pub fn into_rest(self) -> &'b mut [u8] {
        &mut self.bytes[self.read..]
    }

    /// Reads up to `bytes_max` bytes.
    pub(super) fn take(&mut self, bytes_max: usize) -> &mut [u8] {
        let start = self.read;
        self.read += bytes_max.min(self.bytes.len() - start);
        &mut self.bytes[start..self.read]
    }

    fn discard(&mut self) {
        self.read = self.bytes.len();
    }
}

impl<'a> Item<'a> {
    /// The item of a frame that stands alone.
    pub(super) fn whole(opcode: Opcode, payload: &'a [u8]) -> Result<Self, Violation> {
        Ok(match opcode {
            Opcode::Text => {
                let text = simdutf8::basic::from_utf8(payload);
                Self::Text(text.map_err(|_| Violation::TextNotUtf8)?)
            }
            Opcode::Binary => Self::Binary(payload),
            Opcode::Ping => Self::Ping(payload),
            Opcode::Pong => Self::Pong(payload),
            Opcode::Close => Self::Close(Close::parse(payload)?),
            Opcode::Continuation => unreachable!("a continuation does not stand alone"),
        })
    }
}

impl Decoder {
    /// A decoder at the first byte behind the upgrade's head.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next item. Call until it returns `None`, which means that all of `input` was read.
    /// `now` is monotonic time since any fixed start, the same for all calls.
    ///
    /// After [`Item::Close`] input is discarded. An owner that stops before `None` goes on later
    /// with the rest of the input; the memory of the last item is kept until then, or until
    /// [`Self::release`].
    ///
    /// # Errors
    /// The violation, at the first byte that shows it; the same one in every later call.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut Received<'_>,
        limits: &Limits,
        now: Duration,
    ) -> Result<Option<Item<'a>>, Violation> {
        match self.phase {
            Phase::Open => {}
            Phase::Closed => {
                self.assembly = None;
                input.discard();
                return Ok(None);
            }
            Phase::Failed(violation) => return Err(violation),
        }
        self.release();
        match self.advance(input, limits, now) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => self.hand_out(found, input).map(Some),
            Err(violation) => Err(self.fail(violation)),
        }
    }

    /// Drops an item that was handed out.
    pub fn release(&mut self) {
        if self.assembly.as_ref().is_some_and(|assembly| assembly.spent()) {
            self.assembly = None;
        }
    }

    /// When the first byte of the incomplete frame or message came; `None` if there is none.
    pub fn assembling_since(&self) -> Option<Duration> {
        self.assembly.as_ref().filter(|assembly| !assembly.spent()).map(|assembly| assembly.since)
    }

    /// When the incomplete frame or message must be complete; `None` if there is none. The owner
    /// sets a timer and calls [`Self::check_deadline`].
    pub fn deadline(&self, limits: &Limits) -> Option<Duration> {
        self.assembling_since().map(|since| since.saturating_add(limits.assembly_time_max))
    }

    /// Judges the time that a frame or message has been incomplete.
    ///
    /// # Errors
    /// [`Violation::AssemblyTooSlow`] from the deadline on. The decoder has failed then.
    pub fn check_deadline(&mut self, limits: &Limits, now: Duration) -> Result<(), Violation> {
        match self.deadline(limits) {
            Some(deadline) if deadline <= now => Err(self.fail(Violation::AssemblyTooSlow)),
            _ => Ok(()),
        }
    }

    /// Heap bytes that the incomplete frame or message holds: at most a fixed overhead and the
    /// smaller of the message limit and twice what came.
    pub fn pinned_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.pinned_bytes())
    }

    /// Reads until an item is complete or the input is empty.
    fn advance(
        &mut self,
        input: &mut Received<'_>,
        limits: &Limits,
        now: Duration,
    ) -> Result<Option<Found>, Violation> {
        // Ends: each round takes a header out of the input, or is the last.
        loop {
            if let Some(assembly) = self.assembly.as_mut().filter(|assembly| assembly.mid_frame()) {
                let found = assembly.absorb(input, limits)?;
                if found.is_some() || assembly.mid_frame() {
                    return Ok(found);
                }
            }
            if input.is_empty() {
                return Ok(None);
            }
            let expected = match &self.assembly {
                Some(assembly) => assembly.expected(limits),
                None => Expected::fresh(limits),
            };
            let header = frame::parse(input.rest(), &expected)?;
            if let Header::Complete { frame, header_bytes } = header {
                input.take(header_bytes);
                let payload_bytes = frame.payload_bytes as usize;
                if frame.stands_alone() && payload_bytes <= input.rest().len() {
                    let payload = input.read..input.read + payload_bytes;
                    mask::unmask(input.take(payload_bytes), frame.key);
                    return Ok(Some(Found::Borrowed { opcode: frame.opcode, payload }));
                }
            }
            let assembly = self.assembly.get_or_insert_with(|| Box::new(Assembly::new(now)));
            match header {
                Header::Complete { frame, .. } => assembly.begin_payload(frame),
                Header::Incomplete { .. } => {
                    assembly.begin_header(input);
                    return Ok(None);
                }
            }
        }
    }

    /// Borrows what was found.
    fn hand_out<'a>(
        &'a mut self,
        found: Found,
        input: &'a Received<'_>,
    ) -> Result<Item<'a>, Violation> {
        if let Found::Borrowed { opcode: Opcode::Close, .. }
        | Found::Control { opcode: Opcode::Close, .. } = found
        {
            self.phase = Phase::Closed;
        }
        match found {
            Found::Borrowed { opcode, payload } => {
                Item::whole(opcode, &input.bytes[payload]).map_err(|violation| self.fail(violation))
            }
            Found::Control { opcode, payload_bytes } => {
                Ok(self.found_assembly().control(opcode, payload_bytes))
            }
            Found::Message => Ok(self.found_assembly().message()),
        }
    }

    fn found_assembly(&self) -> &Assembly {
        self.assembly.as_ref().expect("the item was found in the assembly")
    }

    fn fail(&mut self, violation: Violation) -> Violation {
        self.assembly = None;
        self.phase = Phase::Failed(violation);
        violation
    }
}
