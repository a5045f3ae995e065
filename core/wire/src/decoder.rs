//! The streaming frame decoder: bytes in any pieces, whole frames out.
//!
//! A frame that lies in one input is handed out borrowed from it. Only a frame that straddles two
//! inputs is copied, into a buffer that grows with what has arrived and never past what the header
//! announces, which is checked against the limit first. Between frames the decoder is 16 bytes
//! and owns nothing.
//!
//! ```text
//!            8th byte of a header, payload not all there
//!   +-> Head ------------------------------------------> Payload --+
//!   |    |  whole frame in the input: handed out borrowed     |     | last byte:
//!   +----+                                                    +<----+ more bytes
//!   +<------ released at the next call ------- handed out assembled
//! ```

use crate::error::DecodeError;
use crate::frame::{Frame, Header};
use crate::limits::HEADER_BYTES;

/// First allocation for a frame in pieces, bytes: most messages fit.
const ASSEMBLY_BYTES_MIN: usize = 512;

/// Cuts a stream of bytes into frames.
///
/// ```
/// use ringpost_wire::decoder::FrameDecoder;
/// use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
///
/// let mut decoder = FrameDecoder::default();
/// for mut input in [&[2, 0, 0][..], &[0, 0x0a, 0, 7, 0, 2], &[0]] {
///     loop {
///         let step = decoder.decode(input, PAYLOAD_BYTES_MAX)?;
///         input = &input[step.consumed..];
///         let Some(frame) = step.frame else { break };
///         assert_eq!((frame.header.kind, frame.header.tag), (0x0a, 7));
///         assert_eq!(frame.payload, [2, 0]);
///     }
/// }
/// # Ok::<(), ringpost_wire::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct FrameDecoder(State);

#[derive(Debug)]
enum State {
    /// Fewer than 8 bytes of a header, none at first.
    Head { bytes: [u8; HEADER_BYTES - 1], held: u8 },
    /// A header and a part of its payload.
    Payload(Box<Assembly>),
}

#[derive(Debug)]
struct Assembly {
    header: Header,
    payload: Vec<u8>,
}

/// The outcome of one call.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// How many bytes of the input are done with.
    pub consumed: usize,
    /// A whole frame, or none: then all of the input is done with.
    pub frame: Option<Frame<'a>>,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self(State::EMPTY)
    }
}

impl State {
    const EMPTY: Self = Self::Head { bytes: [0; HEADER_BYTES - 1], held: 0 };
}

impl FrameDecoder {
    /// Whether the stream is between two frames and the decoder owns nothing.
    pub const fn is_idle(&self) -> bool {
        matches!(self.0, State::Head { held: 0, .. })
    }

    /// Bytes that the decoder holds in memory beside itself.
    pub fn assembly_bytes(&self) -> usize {
        match &self.0 {
            State::Head { .. } => 0,
            State::Payload(assembly) => size_of::<Assembly>() + assembly.payload.capacity(),
        }
    }

    /// Takes from `input` up to the end of the next frame. Call it again with what is left (if
    /// only nothing) until it hands out no frame: the buffer of an assembled frame is released by
    /// the call after the one that handed it out. An owner that stops before that calls
    /// [`Self::release`].
    ///
    /// # Errors
    /// [`DecodeError::FrameTooBig`] if a header announces more than `payload_bytes_max`; the
    /// stream has no meaning after it.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a [u8],
        payload_bytes_max: usize,
    ) -> Result<Step<'a>, DecodeError> {
        self.release();
        match self.0 {
            State::Head { .. } => self.decode_head(input, payload_bytes_max),
            State::Payload(_) => Ok(self.assemble(input, 0)),
        }
    }

    /// Drops a frame that was handed out: the decoder owns nothing and is between two frames.
    pub fn release(&mut self) {
        if let State::Payload(assembly) = &self.0
            && assembly.is_whole()
        {
            self.0 = State::EMPTY;
        }
    }

    /// At a header, which may have begun in an earlier input.
    fn decode_head<'a>(
        &'a mut self,
        input: &'a [u8],
        payload_bytes_max: usize,
    ) -> Result<Step<'a>, DecodeError> {
        let State::Head { bytes, held } = &mut self.0 else {
            unreachable!("called in the state Head alone")
        };
        let have = usize::from(*held);
        let Some((rest_of_head, payload)) = input.split_at_checked(HEADER_BYTES - have) else {
            bytes[have..have + input.len()].copy_from_slice(input);
            *held += input.len() as u8;
            return Ok(Step { consumed: input.len(), frame: None });
        };
        let mut head = [0; HEADER_BYTES];
        head[..have].copy_from_slice(&bytes[..have]);
        head[have..].copy_from_slice(rest_of_head);
        let header = Header::from_bytes(head);
        let payload_bytes = header.payload_bytes as usize;
        if payload_bytes > payload_bytes_max {
            return Err(DecodeError::FrameTooBig {
                payload_bytes: header.payload_bytes,
                max: u32::try_from(payload_bytes_max).unwrap_or(u32::MAX),
            });
        }
        if let Some(payload) = payload.get(..payload_bytes) {
            self.0 = State::EMPTY;
            let consumed = rest_of_head.len() + payload_bytes;
            return Ok(Step { consumed, frame: Some(Frame { header, payload }) });
        }
        self.0 = State::Payload(Box::new(Assembly { header, payload: Vec::new() }));
        Ok(self.assemble(payload, rest_of_head.len()))
    }

    /// In a payload that began in an earlier input or lacks bytes of this one. `before` bytes of
    /// the input were the header's.
    fn assemble<'a>(&'a mut self, input: &[u8], before: usize) -> Step<'a> {
        let State::Payload(assembly) = &mut self.0 else {
            unreachable!("called in the state Payload alone")
        };
        let taken = assembly.take(input);
        let frame = assembly
            .is_whole()
            .then_some(Frame { header: assembly.header, payload: &assembly.payload });
        Step { consumed: before + taken, frame }
    }
}

impl Assembly {
    fn is_whole(&self) -> bool {
        self.payload.len() == self.header.payload_bytes as usize
    }

    /// Copies what belongs to the payload. The buffer at least doubles, so that copying stays
    /// linear, and ends at the announced length exactly.
    fn take(&mut self, input: &[u8]) -> usize {
        let missing = self.header.payload_bytes as usize - self.payload.len();
        let taken = missing.min(input.len());
        if self.payload.capacity() - self.payload.len() < taken {
            let room = taken.max(self.payload.len()).max(ASSEMBLY_BYTES_MIN).min(missing);
            self.payload.reserve_exact(room);
        }
        self.payload.extend_from_slice(&input[..taken]);
        taken
    }
}

/// The frames of one WebSocket message of the subprotocol `ringpost.v1.bin`: one or more whole
/// ones, no preamble. Ends after the first error.
///
/// # Errors
/// Per frame: [`DecodeError::FrameTooBig`], or [`DecodeError::PartialFrame`] where the message
/// ends inside a frame or is empty.
pub fn frames(
    message: &[u8],
    payload_bytes_max: usize,
) -> impl Iterator<Item = Result<Frame<'_>, DecodeError>> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let input = rest.take()?;
        match whole_frame(input, payload_bytes_max) {
            Ok((frame, behind)) => {
                rest = Some(behind).filter(|bytes| !bytes.is_empty());
                Some(Ok(frame))
            }
            Err(error) => Some(Err(error)),
        }
    })
}

/// The frame at the head of `input`, and what is behind it.
fn whole_frame(input: &[u8], payload_bytes_max: usize) -> Result<(Frame<'_>, &[u8]), DecodeError> {
    let (head, rest) = input.split_first_chunk().ok_or(DecodeError::PartialFrame)?;
    let header = Header::from_bytes(*head);
    if header.payload_bytes as usize > payload_bytes_max {
        return Err(DecodeError::FrameTooBig {
            payload_bytes: header.payload_bytes,
            max: u32::try_from(payload_bytes_max).unwrap_or(u32::MAX),
        });
    }
    let (payload, behind) =
        rest.split_at_checked(header.payload_bytes as usize).ok_or(DecodeError::PartialFrame)?;
    Ok((Frame { header, payload }, behind))
}

const _: () = assert!(size_of::<FrameDecoder>() <= 24, "every idle connection has one");
