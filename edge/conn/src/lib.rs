//! Sans-IO connections of the edge: bytes, events and `now` in; bytes, effects and deadlines out.
//!
//! Owns what happens on a connection between the first byte and the shard. Does not own sockets,
//! rings, clocks or threads: a driver does, and the tests are one.
#![forbid(unsafe_code)]

pub mod http;
pub mod sniff;
pub mod timer;
pub mod websocket;
