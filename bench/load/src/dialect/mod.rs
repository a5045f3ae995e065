//! What clients of a server say: one dialect for each protocol, without sockets and without state
//! of a connection beyond its number of the user and its stage of the handshake.
//!
//! A dialect is asked to greet at each stage, to write a message, and to read what came. It
//! answers by itself what its protocol wants answered (pings, acknowledgements); the generator
//! only learns what counts.

pub(crate) mod centrifuge;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod ringpost;
mod websocket;
pub(crate) mod xmpp;

use std::borrow::Cow;

use bytes::BytesMut;

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound<'a> {
    /// Nothing that counts.
    Nothing,
    /// A stage of the handshake is over: greet at the next.
    Next,
    /// The client is signed in and may be written to.
    Ready,
    /// A message; `ack` is given to [`Dialect::acknowledge`] once the read is over, 0 = not.
    Message {
        /// As it was sent.
        content: Cow<'a, [u8]>,
        /// The highest of a read is acknowledged.
        ack: u64,
    },
    /// The server has promised to keep a message of this client.
    Accepted,
    /// A message of this client was acknowledged by its receiver.
    Delivered {
        /// As with a message.
        ack: u64,
    },
    /// The answer to [`Dialect::ping`].
    Pong,
    /// The server refuses: what it said.
    Refused(String),
}

/// One whole unit of the protocol, and how many bytes it had.
pub(crate) type Parsed<'a> = Option<(usize, Inbound<'a>)>;

/// A protocol, seen from its clients.
pub(crate) trait Dialect {
    /// Writes what the client `user` says at this stage: 0 when the connection stands, then one
    /// more after each [`Inbound::Next`].
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut);

    /// Reads the first unit of `input`, `None` if it is not whole yet. May write an answer.
    ///
    /// # Errors
    /// When the bytes are not of this protocol: what is wrong with them.
    fn parse<'a>(
        &self,
        user: u32,
        stage: u8,
        input: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String>;

    /// Writes a message.
    fn message(&self, from: u32, to: u32, content: &[u8], out: &mut BytesMut);

    /// Writes a message to everybody else; false if the protocol knows none.
    fn broadcast(&self, _content: &[u8], _out: &mut BytesMut) -> bool {
        false
    }

    /// Acknowledges up to this number, after all that one read brought.
    fn acknowledge(&self, _ack: u64, _out: &mut BytesMut) {}

    /// Asks for an [`Inbound::Pong`].
    fn ping(&self, out: &mut BytesMut);
}
