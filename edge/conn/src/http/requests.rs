//! The requests of one connection, one behind another: which bytes REST may serve, and where it
//! stops.
//!
//! ```text
//!            +---------------- end of the body ----------------+
//!            v                                                 |
//!   ------> Head ---- REST's, with a body ----> Body, Chunks --+
//!            |
//!            +--> Stop: an upgrade, or a refusal
//! ```
//! Every byte is looked at before whoever serves requests reads it, by the rules that hold for the
//! first request of a connection. What comes behind a stop is not looked at. Holds at most one head.

use super::chunks::Chunks;
use super::fields::Body;
use super::head::{HeadReader, Refused, Request};
use super::{Origins, Refusal, Rejection};

/// What ends the serving of requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// A WebSocket is asked for, and may be opened.
    Upgrade {
        /// The request and what came behind it, as they came.
        read: Vec<u8>,
    },
    /// A request is refused.
    Refused {
        /// What, and why.
        refusal: Refusal,
        /// What came behind the request, if another may follow it.
        goes_on: Option<Vec<u8>>,
    },
    /// A body is not well formed. Its request is being answered, by whoever was served its head.
    BadBody(Rejection),
}

/// What the client is waited for with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// Another request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

#[derive(Debug)]
enum Place {
    Head(HeadReader),
    Body(u64),
    Chunks(Chunks),
}

/// The requests of one connection.
#[derive(Debug)]
pub struct Requests {
    place: Place,
    origins: Option<Origins>,
}

impl Requests {
    /// Before the first byte of a request. Without `origins` no request is one for a WebSocket.
    pub fn new(origins: Option<Origins>) -> Self {
        Self { place: Place::Head(HeadReader::new()), origins }
    }

    /// Takes the next bytes. What may be served is appended to `served`, in order; a stop comes
    /// behind it, and is the last.
    pub fn feed(&mut self, mut input: &[u8], served: &mut Vec<u8>) -> Option<Stop> {
        // Ends: each round takes a part of the input that is not empty, or is the last.
        while !input.is_empty() {
            let taken = match self.step(input, served) {
                Ok(taken) => taken,
                Err(stop) => return Some(stop),
            };
            input = &input[taken..];
        }
        None
    }

    /// The stop where a head did not come in time.
    pub fn too_slow(&self) -> Stop {
        let refusal = match &self.place {
            Place::Head(reader) => reader.refusal(Rejection::TooSlow, &[]),
            Place::Body(_) | Place::Chunks(_) => Rejection::TooSlow.into(),
        };
        Stop::Refused { refusal, goes_on: None }
    }

    /// What is waited for now.
    pub fn waits(&self) -> Waits {
        match &self.place {
            Place::Head(reader) if !reader.kept().is_empty() => Waits::Head,
            Place::Head(_) => Waits::Idle,
            Place::Body(_) | Place::Chunks(_) => Waits::Body,
        }
    }

    /// Takes a part of one request; answers how many bytes that are.
    fn step(&mut self, input: &[u8], served: &mut Vec<u8>) -> Result<usize, Stop> {
        let (taken, is_over) = match &mut self.place {
            Place::Head(_) => return self.head(input, served),
            Place::Body(left) => {
                let taken = (*left).min(input.len() as u64);
                *left -= taken;
                (taken as usize, *left == 0)
            }
            Place::Chunks(chunks) => match chunks.find_end(input) {
                Ok(Some(end)) => (end, true),
                Ok(None) => (input.len(), false),
                Err(rejection) => return Err(Stop::BadBody(rejection)),
            },
        };
        served.extend_from_slice(&input[..taken]);
        if is_over {
            self.place = Place::Head(HeadReader::new());
        }
        Ok(taken)
    }

    fn head(&mut self, input: &[u8], served: &mut Vec<u8>) -> Result<usize, Stop> {
        let Place::Head(reader) = &mut self.place else { return Ok(0) };
        let (consumed, body) = match reader.read(input, self.origins.as_ref()) {
            Ok(Request::Incomplete) => return Ok(input.len()),
            Ok(Request::Upgrade { head, consumed, .. }) => {
                return Err(Stop::Upgrade { read: [head, &input[consumed..]].concat() });
            }
            Ok(Request::Rest { head, consumed, body }) => {
                served.extend_from_slice(head);
                (consumed, body)
            }
            Err(Refused { rejection, goes_on }) => {
                let refusal = reader.refusal(rejection, input);
                let goes_on = goes_on.map(|consumed| input[consumed..].to_vec());
                return Err(Stop::Refused { refusal, goes_on });
            }
        };
        self.place = match body {
            Body::Bytes(0) => Place::Head(HeadReader::new()),
            Body::Bytes(length) => Place::Body(length),
            Body::Chunked => Place::Chunks(Chunks::new()),
        };
        Ok(consumed)
    }
}
