//! Reads the head of a request in whichever pieces it comes, and says whose it is.
//!
//! ```text
//!             +-- no end of the head yet: the bytes are kept
//!             v        |
//!   ------> reading ---+
//!              |
//!              +--> Upgrade | Rest | Rejection      (then the reader is dropped)
//! ```
//! The head is looked through for its end once and parsed once, so that a head in pieces of one
//! byte costs what it costs whole. A line ends in CR LF and in nothing else: a bare LF is a line end
//! to one reader and a character to another. One empty line in front is skipped, as old clients
//! write it behind a body (RFC 9112 section 2.2).

use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{self, Body, Fields};
use super::upgrade;
use super::{ORIGIN_BYTES_MAX, Origins, Refusal, Rejection, Upgrade};

/// Where a WebSocket is found.
pub const WEBSOCKET_PATH: &str = "/v1/ws";

/// Largest head of a request, its empty line included. The limit itself passes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most fields in a head. The limit itself passes. Browsers send about 20.
pub const FIELDS_MAX: usize = 64;

/// Longest time from the accept to the end of the head, for the owner's timer.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// How a request begins that is answered without content.
const HEAD: &[u8] = b"HEAD ";

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
        /// The head as it came, the parts of earlier inputs included.
        head: &'a [u8],
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
        /// What of the input behind it belongs to the request.
        body: Body,
    },
}

/// A request that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// Why.
    pub(super) rejection: Rejection,
    /// Where the connection may go on: how many bytes of the input belong to the request.
    pub(super) goes_on: Option<usize>,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, goes_on: None }
    }
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
    /// Why the request is refused: the owner writes the answer of [`HeadReader::refusal`] and closes.
    pub fn feed<'a>(
        &'a mut self,
        input: &'a [u8],
        origins: &Origins,
    ) -> Result<Request<'a>, Rejection> {
        self.read(input, Some(origins)).map_err(|refused| refused.rejection)
    }

    /// The same, for who may go on behind a refusal; without `origins` nothing is a WebSocket.
    pub(super) fn read<'a>(
        &'a mut self,
        input: &'a [u8],
        origins: Option<&Origins>,
    ) -> Result<Request<'a>, Refused> {
        let room = HEAD_BYTES_MAX - self.kept.len();
        let within = &input[..room.min(input.len())];
        let Some(consumed) = self.end.find(within)? else {
            if within.len() == room {
                return Err(Rejection::HeadTooLarge.into());
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
        let request = parse(head, &mut fields)?;
        if !fields::names_host(&request) {
            return Err(Rejection::Host.into());
        }
        let body = fields::body_of(&request)?;
        let Some(origins) = origins.filter(|_| upgrade::is_for_websocket(&request)) else {
            return Ok(Request::Rest { head, consumed, body });
        };
        if body != Body::Bytes(0) && Fields(request.headers).list_has("Upgrade", "websocket") {
            return Err(Rejection::Body.into());
        }
        match upgrade::judge(&request, origins) {
            Ok(Some(upgrade)) => Ok(Request::Upgrade { upgrade, head, consumed }),
            Ok(None) => Ok(Request::Rest { head, consumed, body }),
            Err(rejection) => {
                let goes_on = rejection.is_about_websocket()
                    && body == Body::Bytes(0)
                    && fields::persists(&request);
                Err(Refused { rejection, goes_on: goes_on.then_some(consumed) })
            }
        }
    }

    /// What has come of the head so far.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// What [`HeadReader::feed`] refused, of the same input. A head that is refused for its `Origin` is
    /// parsed again for it: refusals are rare.
    pub fn refusal(&self, rejection: Rejection, input: &[u8]) -> Refusal {
        let head = if self.kept.is_empty() { input } else { &self.kept };
        let origin = (rejection == Rejection::Origin).then(|| origin_of(head));
        // The method may have come in pieces.
        let begin = self.kept.iter().chain(input).skip_while(|byte| b"\r\n".contains(byte));
        let is_head = begin.take(HEAD.len()).eq(HEAD);
        Refusal { rejection, is_head, origin }
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

/// What stands in the first `Origin` of a head that was parsed before.
fn origin_of(head: &[u8]) -> Vec<u8> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let is_whole = request.parse(head).is_ok_and(|status| status.is_complete());
    assert!(is_whole, "it was parsed to be refused");
    let mut origins =
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("Origin"));
    let origin = origins.next().map_or(&b""[..], |field| field.value);
    origin[..origin.len().min(ORIGIN_BYTES_MAX)].to_vec()
}

/// Parses a complete head.
fn parse<'h, 'b>(
    head: &'b [u8],
    fields: &'h mut [Header<'b>],
) -> Result<httparse::Request<'h, 'b>, Rejection> {
    let mut request = httparse::Request::new(fields);
    match request.parse(head) {
        Ok(Status::Complete(bytes)) if bytes == head.len() => Ok(request),
        // The parser sees another end than the search did: whoever else reads it could see a third.
        Ok(_) => Err(Rejection::Malformed),
        Err(httparse::Error::TooManyHeaders) => Err(Rejection::TooManyFields),
        Err(httparse::Error::Version) => Err(Rejection::HttpVersion),
        Err(_) => Err(Rejection::Malformed),
    }
}

/// Looks for the empty line, over any number of pieces.
#[derive(Clone, Copy, Debug, Default)]
enum EndSearch {
    /// Before the first byte.
    #[default]
    Start,
    /// Behind the carriage return of the empty line in front.
    SkippedReturn,
    /// Behind the empty line in front.
    Skipped,
    InLine,
    /// Behind a carriage return in a line.
    LineReturn,
    /// Behind the end of a line.
    LineStart,
    /// Behind the carriage return of a line that has nothing else.
    EmptyLineReturn,
}

impl EndSearch {
    /// The length of what belongs to the head, its empty line included, if that ends in `piece`.
    fn find(&mut self, piece: &[u8]) -> Result<Option<usize>, Rejection> {
        for (place, byte) in piece.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::EmptyLineReturn, b'\n') => return Ok(Some(place + 1)),
                (Self::Start, b'\r') => Self::SkippedReturn,
                (Self::LineStart, b'\r') => Self::EmptyLineReturn,
                (Self::InLine, b'\r') => Self::LineReturn,
                (Self::LineReturn, b'\n') => Self::LineStart,
                (Self::SkippedReturn, b'\n') => Self::Skipped,
                (Self::SkippedReturn | Self::LineReturn | Self::EmptyLineReturn, _)
                | (Self::Skipped, b'\r')
                | (_, b'\n') => return Err(Rejection::Malformed),
                _ => Self::InLine,
            };
        }
        Ok(None)
    }
}
