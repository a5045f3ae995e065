//! Reads the head of the first request in whichever pieces it comes, and says whose it is.
//!
//! ```text
//!             +-- no end of the head yet: the bytes are kept
//!             v        |
//!   ------> reading ---+
//!              |
//!              +--> Upgrade | Rest | Rejection      (then the reader is dropped)
//! ```
//! The head is looked through for its end once and parsed once, so that a head in pieces of one
//! byte costs what it costs whole.

use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Status};

use super::upgrade;
use super::{ORIGIN_BYTES_MAX, Origins, Rejection, Upgrade};

/// Where a WebSocket is found.
pub const WEBSOCKET_PATH: &str = "/v1/ws";

/// Largest head of a request, its empty line included. The limit itself passes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most fields in a head. The limit itself passes. Browsers send about 20.
pub const FIELDS_MAX: usize = 64;

/// Longest time from the accept to the end of the head, for the owner's timer.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// A request whose head is complete, or not yet. `consumed` is how many bytes of this input
/// belong to the head; the others are the first of what follows it.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// All input is kept; more is needed.
    Incomplete,
    /// A WebSocket, all checks passed: answer with [`Upgrade::write_response`].
    Upgrade {
        /// What the client asks for.
        upgrade: Upgrade<'a>,
        /// Bytes of this input that belong to the head.
        consumed: usize,
    },
    /// Any other: the REST service gets `head`, then the input from `consumed` on, and parses
    /// again.
    Rest {
        /// The head as it came, the parts of earlier inputs included.
        head: &'a [u8],
        /// Bytes of this input that belong to the head.
        consumed: usize,
    },
}

/// The head of one request. Holds memory only while the head is incomplete.
#[derive(Debug, Default)]
pub struct HeadReader {
    kept: Vec<u8>,
    end: EndSearch,
}

impl HeadReader {
    /// A reader before the first byte of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes. Not to be called again once it returned a request or a rejection.
    ///
    /// # Errors
    /// Why the request is refused: the owner writes [`Rejection::write_response`] and closes.
    pub fn feed<'a>(
        &'a mut self,
        input: &'a [u8],
        origins: &Origins,
    ) -> Result<Request<'a>, Rejection> {
        let room = HEAD_BYTES_MAX - self.kept.len();
        let within = &input[..room.min(input.len())];
        let Some(consumed) = self.end.find(within) else {
            if within.len() == room {
                return Err(Rejection::HeadTooLarge);
            }
            self.keep(input);
            return Ok(Request::Incomplete);
        };
        let head = if self.kept.is_empty() {
            &input[..consumed]
        } else {
            self.keep(&input[..consumed]);
            &self.kept
        };
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let upgrade = upgrade::judge(&parse(head, &mut fields)?, origins)?;
        Ok(match upgrade {
            Some(upgrade) => Request::Upgrade { upgrade, consumed },
            None => Request::Rest { head, consumed },
        })
    }

    /// What stood in the first `Origin` of a head that was refused for it by [`HeadReader::feed`], of
    /// the same input; cut to [`ORIGIN_BYTES_MAX`]. The head is parsed again: refusals are rare.
    pub fn refused_origin(&self, input: &[u8]) -> Vec<u8> {
        let head = if self.kept.is_empty() { input } else { &self.kept };
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let is_whole = request.parse(head).is_ok_and(|status| status.is_complete());
        assert!(is_whole, "it was parsed to be refused");
        let mut origins =
            request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("Origin"));
        let origin = origins.next().map_or(&b""[..], |field| field.value);
        origin[..origin.len().min(ORIGIN_BYTES_MAX)].to_vec()
    }

    /// Heap bytes held, at most [`HEAD_BYTES_MAX`].
    pub fn pinned_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// Keeps a part of the head. The room grows with what came: a connection that sends one byte
    /// pins two.
    fn keep(&mut self, part: &[u8]) {
        let bytes = self.kept.len() + part.len();
        if bytes > self.kept.capacity() {
            let room = (2 * bytes).min(HEAD_BYTES_MAX);
            self.kept.reserve_exact(room - self.kept.len());
        }
        self.kept.extend_from_slice(part);
    }
}

/// Parses a complete head.
fn parse<'h, 'b>(
    head: &'b [u8],
    fields: &'h mut [Header<'b>],
) -> Result<httparse::Request<'h, 'b>, Rejection> {
    let mut request = httparse::Request::new(fields);
    match request.parse(head) {
        Ok(Status::Complete(bytes)) if bytes == head.len() => Ok(request),
        // The parser sees another end than the search did, such as behind empty lines in front
        // of the request line: whoever else reads it could see a third.
        Ok(_) => Err(Rejection::Malformed),
        Err(httparse::Error::TooManyHeaders) => Err(Rejection::TooManyFields),
        Err(httparse::Error::Version) => Err(Rejection::HttpVersion),
        Err(_) => Err(Rejection::Malformed),
    }
}

/// Looks for the empty line, over any number of pieces.
#[derive(Clone, Copy, Debug, Default)]
enum EndSearch {
    #[default]
    InLine,
    /// Behind the end of a line.
    LineStart,
    /// Behind the carriage return of a line that has nothing else so far.
    EmptyLineReturn,
}

impl EndSearch {
    /// The length of what belongs to the head, its empty line included, if that ends in `piece`.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (place, byte) in piece.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::LineStart | Self::EmptyLineReturn, b'\n') => return Some(place + 1),
                (Self::InLine, b'\n') => Self::LineStart,
                (Self::LineStart, b'\r') => Self::EmptyLineReturn,
                _ => Self::InLine,
            };
        }
        None
    }
}
