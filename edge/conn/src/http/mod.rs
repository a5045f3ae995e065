//! The first request of an HTTP connection: a WebSocket upgrade, or the REST service's.
//!
//! Owns: the head of one request, judged whole; the checks of RFC 6455 section 4.2; the allow-list
//! of origins; the answers 101 and the refusals. Does not own: any other request (the REST service
//! gets its bytes as they came), nor what follows an upgrade.
//!
//! Invariants:
//! - A head is at most [`HEAD_BYTES_MAX`] and [`FIELDS_MAX`] fields, and is copied only if it
//!   comes in pieces. Its deadline, [`HEAD_TIME_MAX`], is that of the whole and not of a read; the
//!   owner's timer keeps it and answers [`Rejection::TooSlow`].
//! - One request per upgraded connection, without a body: bytes behind its head are frames.
//! - Every refusal closes the connection.
//!
//! Sources: RFC 6455 section 4.2, RFC 9110, RFC 9112, RFC 9457 (problem details), RFC 6454
//! (origins).

mod head;
mod origin;
mod rejection;
mod upgrade;

pub use head::{FIELDS_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HeadReader, Request, WEBSOCKET_PATH};
pub use origin::{InvalidOrigin, ORIGIN_BYTES_MAX, Origins};
pub use rejection::Rejection;
pub use upgrade::{Subprotocol, Upgrade};
