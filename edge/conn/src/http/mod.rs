//! The requests of an HTTP connection: each a WebSocket upgrade, or the REST service's.
//!
//! Owns: the head of a request, judged whole, and where the request ends ([`Requests`] for one
//! behind another); the checks of RFC 6455 section 4.2; the allow-list of origins; the answers 101
//! and the refusals. Does not own: any other request (the REST service gets its bytes as they
//! came), nor what follows an upgrade.
//!
//! Invariants:
//! - One set of rules, for the first request of a connection as for its last: whatever two readers
//!   could understand in two ways is refused before another reads it.
//! - A head is at most [`HEAD_BYTES_MAX`] and [`FIELDS_MAX`] fields, and is copied only if it
//!   comes in pieces. Its deadline, [`HEAD_TIME_MAX`], is that of the whole and not of a read; the
//!   owner's timer keeps it and answers [`Rejection::TooSlow`].
//! - An upgrade is without a body and the last request of its connection: bytes behind its head are
//!   frames.
//! - A refusal ends the connection, unless it is about the WebSocket alone.
//!
//! Sources: RFC 6455 section 4.2, RFC 9110, RFC 9112, RFC 9457 (problem details), RFC 6454
//! (origins).

mod chunks;
mod fields;
mod head;
mod origin;
mod rejection;
mod requests;
mod upgrade;

pub use fields::Body;
pub use head::{FIELDS_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HeadReader, Request, WEBSOCKET_PATH};
pub use origin::{InvalidOrigin, ORIGIN_BYTES_MAX, Origins};
pub use rejection::{Refusal, Rejection};
pub use requests::{Requests, Stop, Waits};
pub use upgrade::{Subprotocol, Upgrade};
