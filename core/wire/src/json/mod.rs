//! The JSON codec: commands and events to and from the texts of `ringpost.v1.json`.
//!
//! The shapes and field names are those of the first sketch of the system (`send_message`,
//! `new_message`, `receipt`), and the others follow their manner. What holds for all:
//! - ids are UUIDs in their hyphenated form, ciphertext and tickets are standard base64 with
//!   padding, integers are at most 2^53 - 1;
//! - unknown fields are ignored, `null` is as good as absent, the order of fields is free;
//! - `timestamp` is in seconds as in the sketch, `timestamp_ms` in milliseconds; both are written,
//!   and where both are read `timestamp_ms` counts;
//! - `from` of a client is an unknown field: the server knows who speaks.

mod base64;
mod command;
mod event;
mod fields;
mod number;
mod reader;
mod writer;

pub use command::{decode_command, encode_command};
pub use event::{decode_event, encode_event, encode_message};
