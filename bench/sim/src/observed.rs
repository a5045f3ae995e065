//! What can be seen from outside: by the clients, and of the disk. Checkers know nothing else.

use std::fmt;

use ringpost_wire::{MessageId, ServerId, UserId};

/// One device of one user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceKey {
    /// Whose.
    pub user: UserId,
    /// Which, from 1.
    pub number: u8,
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", u128::from_be_bytes(self.user.0), self.number)
    }
}

/// A message as its sender names it.
pub(crate) type Key = (DeviceKey, MessageId);

/// The bytes of a message, of which a report shows the length.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Body(pub Vec<u8>);

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{} bytes]", self.0.len())
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Observed {
    /// A device is about to send a message for the first time.
    Made {
        /// The message.
        key: Key,
        /// The recipient.
        to: UserId,
        /// Its bytes.
        body: Body,
    },
    /// A device is about to send it again with another content.
    Altered {
        /// The message.
        key: Key,
    },
    /// A device has lost its connection, or was refused: it repeats what has no answer.
    Troubled {
        /// The message.
        key: Key,
    },
    /// `sent`.
    Sent {
        /// The message.
        key: Key,
        /// To whom, says the server.
        to: UserId,
        /// The server's id.
        id: ServerId,
    },
    /// `conflict`.
    Conflict {
        /// The message.
        key: Key,
        /// What was accepted.
        id: ServerId,
    },
    /// A connection of a device has signed in.
    Welcomed {
        /// The device.
        device: DeviceKey,
    },
    /// `new_message`.
    Pushed {
        /// Who received it.
        device: DeviceKey,
        /// The message.
        key: Key,
        /// The recipient, says the server.
        to: UserId,
        /// The server's id.
        id: ServerId,
        /// Its number on this connection.
        push: u64,
        /// Its bytes.
        body: Body,
    },
    /// A device is about to ack a message.
    Acked {
        /// The device.
        device: DeviceKey,
        /// The message.
        id: ServerId,
    },
    /// A `delivered` receipt.
    Delivered {
        /// Who received it.
        device: DeviceKey,
        /// Who has the message.
        peer: UserId,
        /// Up to here.
        id: ServerId,
        /// Its number on this connection.
        push: u64,
    },
    /// A device has everything that waited.
    QueueEmpty {
        /// The device.
        device: DeviceKey,
        /// Something was left out.
        gap: bool,
    },
    /// The disk really has it: it survives a loss of power.
    OnDisk {
        /// The message.
        id: ServerId,
    },
    /// The server ended; what is on the disk is left.
    Crashed {
        /// With it the power went, and what was not flushed.
        power: bool,
    },
    /// The server serves again.
    Restarted,
    /// No fault any more, and no new message.
    Calm,
}

/// A rule that was broken, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The checker that noticed.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}
