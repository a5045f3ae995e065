//! The wire: what clients and the server say to each other, in the binary protocol and in JSON.
//!
//! Owns ids, commands, events, error and close codes, limits, and the two encodings of them.
//! Does not own connections, sessions or any state: everything here is a value or a pure
//! function. No I/O, no clock, no unsafe. `PROTOCOL.md` beside this crate is the specification.
#![forbid(unsafe_code)]

pub mod binary;
pub mod close;
pub mod code;
pub mod command;
pub mod cursor;
pub mod decoder;
pub mod error;
pub mod event;
pub mod fixed;
pub mod frame;
pub mod id;
pub mod json;
pub mod limits;

pub use close::CloseReason;
pub use code::{CloseCode, ErrorCode};
pub use command::Command;
pub use cursor::HistoryCursor;
pub use error::{Consequence, DecodeError, Refused};
pub use event::Event;
pub use id::{DeviceId, DeviceSet, GroupId, MessageId, ServerId, UserId};
