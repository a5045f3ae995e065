//! What of a frame or message has come so far: exists only while one of them is incomplete.
//!
//! ```text
//!                 header ends early        header complete
//!   Between ------------------------> Header -------------------> Payload
//!      |  ^                                                        ^  | |
//!      |  |       header complete in the buffer                    |  | |
//!      +--|--------------------------------------------------------+  | |
//!         |       last byte of a fragment or of a control frame       | |
//!         +-----------------------------------------------------------+ |
//!                 last byte of a message                                |
//!   Done <--------------------------------------------------------------+
//! ```
//! `Done`, and `Between` without an open message, hold nothing that is still needed once the item
//! has been handed out: the decoder then drops the assembly.

use std::time::Duration;

use super::decoder::{Found, Item, Received};
use super::frame::{self, CLIENT_HEADER_BYTES_MAX, Expected, Frame, Header};
use super::mask;
use super::text::PartialText;
use super::{CONTROL_PAYLOAD_BYTES_MAX, Close, Limits, Opcode, Violation};

/// An incomplete header or control payload, or an open message, or both.
pub(super) struct Assembly {
    /// When its first byte came.
    pub(super) since: Duration,
    part: Part,
    /// The start of a header in `Header`, of a control payload in `Payload`: never both.
    scratch: [u8; CONTROL_PAYLOAD_BYTES_MAX],
    message: Option<Message>,
}

#[derive(Clone, Copy)]
enum Part {
    Between,
    Header { have: u8 },
    Payload { frame: Frame, have: u32 },
    Done,
}

/// A data message with at least one frame begun.
struct Message {
    body: Body,
    /// Frames begun so far.
    fragments: u16,
}

enum Body {
    Text(PartialText),
    Binary(Vec<u8>),
}

impl Assembly {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            since: now,
            part: Part::Between,
            scratch: [0; CONTROL_PAYLOAD_BYTES_MAX],
            message: None,
        }
    }

    /// Whether a frame is incomplete, so that the next bytes belong to it.
    pub(super) fn mid_frame(&self) -> bool {
        matches!(self.part, Part::Header { .. } | Part::Payload { .. })
    }

    /// Whether it holds nothing but an item that was handed out.
    pub(super) fn spent(&self) -> bool {
        match self.part {
            Part::Done => true,
            Part::Between => self.message.is_none(),
            Part::Header { .. } | Part::Payload { .. } => false,
        }
    }

    /// Heap bytes, its own and those of the message.
    pub(super) fn pinned_bytes(&self) -> usize {
        let body = self.message.as_ref().map_or(0, |message| match &message.body {
            Body::Text(text) => text.capacity(),
            Body::Binary(bytes) => bytes.capacity(),
        });
        size_of::<Self>() + body
    }

    /// What the next frame may be.
    pub(super) fn expected(&self, limits: &Limits) -> Expected {
        Expected::after(self.message.as_ref(), limits)
    }

    /// Keeps a header that ends early.
    pub(super) fn begin_header(&mut self, input: &mut Received<'_>) {
        let start = input.take(CLIENT_HEADER_BYTES_MAX);
        self.scratch[..start.len()].copy_from_slice(start);
        self.part = Part::Header { have: start.len() as u8 };
    }

    /// Opens a frame whose header is complete.
    pub(super) fn begin_payload(&mut self, frame: Frame) {
        match (&mut self.message, frame.opcode) {
            (message, Opcode::Text) => *message = Some(Message::new(Body::text())),
            (message, Opcode::Binary) => *message = Some(Message::new(Body::binary())),
            (Some(message), Opcode::Continuation) => message.fragments += 1,
            (None, Opcode::Continuation) => unreachable!("an orphan fails in its header"),
            (_, Opcode::Close | Opcode::Ping | Opcode::Pong) => {}
        }
        self.part = Part::Payload { frame, have: 0 };
    }

    /// Feeds the incomplete frame. `None` without `mid_frame` afterwards: a fragment ended.
    pub(super) fn absorb(
        &mut self,
        input: &mut Received<'_>,
        limits: &Limits,
    ) -> Result<Option<Found>, Violation> {
        if let Part::Header { have } = self.part {
            self.absorb_header(usize::from(have), input, limits)?;
        }
        match self.part {
            Part::Payload { frame, have } => self.absorb_payload(frame, have, input, limits),
            Part::Between | Part::Header { .. } | Part::Done => Ok(None),
        }
    }

    fn absorb_header(
        &mut self,
        mut have: usize,
        input: &mut Received<'_>,
        limits: &Limits,
    ) -> Result<(), Violation> {
        let expected = self.expected(limits);
        // Ends: a header asks for more bytes three times at most, and the last round has them.
        loop {
            match frame::parse(&self.scratch[..have], &expected)? {
                Header::Complete { frame, .. } => {
                    self.begin_payload(frame);
                    return Ok(());
                }
                Header::Incomplete { bytes_needed } => {
                    let piece = input.take(bytes_needed - have);
                    self.scratch[have..have + piece.len()].copy_from_slice(piece);
                    have += piece.len();
                    if have < bytes_needed {
                        self.part = Part::Header { have: have as u8 };
                        return Ok(());
                    }
                }
            }
        }
    }

    fn absorb_payload(
        &mut self,
        frame: Frame,
        have: u32,
        input: &mut Received<'_>,
        limits: &Limits,
    ) -> Result<Option<Found>, Violation> {
        let piece = input.take((frame.payload_bytes - have) as usize);
        mask::unmask(piece, mask::turned(frame.key, have as usize));
        let have_before = have as usize;
        let have = have + piece.len() as u32;
        let complete = have == frame.payload_bytes;
        self.part = if complete { Part::Between } else { Part::Payload { frame, have } };

        if frame.opcode.is_control() {
            self.scratch[have_before..have as usize].copy_from_slice(piece);
            return if complete { self.control_complete(frame) } else { Ok(None) };
        }
        let message = self.message.as_mut().expect("a data frame opened or continued a message");
        // Behind the last fragment nothing more can come; behind another one, up to the limit.
        let bytes_max = if frame.fin {
            message.len() + piece.len() + (frame.payload_bytes - have) as usize
        } else {
            limits.message_bytes_max as usize
        };
        message.push(piece, bytes_max)?;
        if !(complete && frame.fin) {
            return Ok(None);
        }
        message.finish()?;
        self.part = Part::Done;
        Ok(Some(Found::Message))
    }

    fn control_complete(&self, frame: Frame) -> Result<Option<Found>, Violation> {
        let payload_bytes = frame.payload_bytes as usize;
        if frame.opcode == Opcode::Close {
            Close::parse(&self.scratch[..payload_bytes])?;
        }
        Ok(Some(Found::Control { opcode: frame.opcode, payload_bytes }))
    }

    /// The control frame that `absorb` found.
    pub(super) fn control(&self, opcode: Opcode, payload_bytes: usize) -> Item<'_> {
        Item::whole(opcode, &self.scratch[..payload_bytes]).expect("judged as it was found")
    }

    /// The message that `absorb` found.
    pub(super) fn message(&self) -> Item<'_> {
        match &self.message.as_ref().expect("a message was found").body {
            Body::Text(text) => Item::Text(text.as_str()),
            Body::Binary(bytes) => Item::Binary(bytes),
        }
    }
}

impl Expected {
    /// What may follow in a connection with this open message.
    fn after(message: Option<&Message>, limits: &Limits) -> Self {
        let (bytes, fragments) =
            message.map_or((0, 0), |message| (message.len() as u32, message.fragments));
        Self {
            accepts: limits.accepts,
            message_open: message.is_some(),
            // Limits may shrink while a message is open.
            message_bytes_left: limits.message_bytes_max.saturating_sub(bytes),
            fragments_left: limits.fragments_max.saturating_sub(fragments),
        }
    }

    /// What may come while no message is open.
    pub(super) fn fresh(limits: &Limits) -> Self {
        Self::after(None, limits)
    }
}

impl Message {
    fn new(body: Body) -> Self {
        Self { body, fragments: 1 }
    }

    fn len(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.len(),
            Body::Binary(bytes) => bytes.len(),
        }
    }

    /// Appends an unmasked piece. `bytes_max` is what the message can still become.
    fn push(&mut self, piece: &[u8], bytes_max: usize) -> Result<(), Violation> {
        let bytes = self.len() + piece.len();
        match &mut self.body {
            Body::Text(text) => {
                if bytes > text.capacity() {
                    text.reserve_exact(room(bytes, bytes_max) - text.as_str().len());
                }
                text.push(piece)
            }
            Body::Binary(buffer) => {
                if bytes > buffer.capacity() {
                    buffer.reserve_exact(room(bytes, bytes_max) - buffer.len());
                }
                buffer.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn finish(&self) -> Result<(), Violation> {
        match &self.body {
            Body::Text(text) => text.finish(),
            Body::Binary(_) => Ok(()),
        }
    }
}

impl Body {
    fn text() -> Self {
        Self::Text(PartialText::default())
    }

    fn binary() -> Self {
        Self::Binary(Vec::new())
    }
}

/// Capacity for a message of which `bytes` have come: at most twice that, so that ten bytes which
/// announce a large frame pin none of it, and never more than it can become.
fn room(bytes: usize, bytes_max: usize) -> usize {
    (2 * bytes).min(bytes_max).max(bytes)
}
