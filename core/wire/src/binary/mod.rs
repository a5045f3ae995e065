//! The binary codec: commands and events to and from frames.
//!
//! The server's side is [`decode_command`], [`encode_event`] and [`encode_event_head`]; the
//! client's is [`encode_command`] and [`decode_event`]. Encoders write what they are given;
//! limits are checked where bytes are read.

mod command;
mod event;

pub use command::{decode_command, encode_command, message_id_of};
pub use event::{decode_event, encode_event, encode_event_head};

use crate::error::DecodeError;
use crate::id::{DeviceId, MessageId, UserId};
use crate::limits::TIMESTAMP_MS_MAX;

/// A device number.
fn device(field: &'static str, number: u8) -> Result<DeviceId, DecodeError> {
    let max = u64::from(DeviceId::MAX);
    DeviceId::new(number).ok_or(DecodeError::OutOfRange { field, min: 1, max })
}

/// A user who must be named.
fn user(field: &'static str, bytes: [u8; 16]) -> Result<UserId, DecodeError> {
    let user = UserId(bytes);
    if user.is_nil() { Err(DecodeError::Missing { field }) } else { Ok(user) }
}

/// A message that must be named.
fn message_id(bytes: [u8; 16]) -> Result<MessageId, DecodeError> {
    let id = MessageId(bytes);
    if id.is_nil() { Err(DecodeError::Missing { field: "message_id" }) } else { Ok(id) }
}

/// The nil id stands for none.
fn reply_to(bytes: [u8; 16]) -> Option<[u8; 16]> {
    (bytes != [0; 16]).then_some(bytes)
}

/// A client's clock, milliseconds since 1970.
fn timestamp_ms(value: u64) -> Result<u64, DecodeError> {
    if value > TIMESTAMP_MS_MAX {
        return Err(DecodeError::OutOfRange {
            field: "timestamp_ms",
            min: 0,
            max: TIMESTAMP_MS_MAX,
        });
    }
    Ok(value)
}

/// A section that is text. NUL is refused, as in JSON: what one client may send, all can be told.
fn text<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a str, DecodeError> {
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(DecodeError::Nul { at });
    }
    std::str::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8 { field })
}
