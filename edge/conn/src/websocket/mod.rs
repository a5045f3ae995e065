//! The server side of RFC 6455 as a codec: bytes in, messages out, and frame headers for what
//! goes back.
//!
//! Owns: frame headers, masks, fragments, UTF-8 of text, the close frame, and every violation
//! with its close code. Does not own: the HTTP upgrade (`http`), rates, the answer to a ping, the
//! two-sided close handshake, timers. The owner of the connection does these.
//!
//! Invariants:
//! - A message that arrived whole in one buffer is unmasked in place and *borrowed* from it; only
//!   what straddles buffers or frames is copied, once.
//! - Nothing is allocated while no frame and no message is incomplete: an idle [`Decoder`] is 16
//!   bytes.
//! - A length is judged from the header, before any byte of its payload is kept; what is kept
//!   grows with the bytes that came, not with the length that was announced.
//! - Text is handed out as `&str`: it was validated as it arrived, so bad UTF-8 fails at its
//!   first bad byte.
//!
//! Extensions are never negotiated, so every RSV bit is a violation. Sources: RFC 6455 sections 5
//! to 8, the close code registry of IANA, the cases of the Autobahn test suite.

mod assembly;
mod close;
mod decoder;
mod encoder;
mod frame;
mod limits;
mod mask;
mod text;
mod violation;

pub use close::Close;
pub use decoder::{Decoder, Item, Received};
pub use encoder::{
    HEADER_BYTES_MAX, as_received, header_bytes, write_close, write_header, write_message,
    write_ping, write_pong,
};
pub use frame::{CONTROL_PAYLOAD_BYTES_MAX, Opcode};
pub use limits::{Accepts, Limits};
pub use violation::Violation;
