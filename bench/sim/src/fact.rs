//! Facts: what can be seen from outside, by clients and on the disk. All that checkers know.

use std::fmt;

use ringpost_wire::{MessageId, ServerId};

/// A client's device, by the numbers of the fleet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    /// Number of the user, from 0.
    pub(crate) user: u8,
    /// Number of the device, from 1.
    pub(crate) device: u8,
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}d{}", self.user, self.device)
    }
}

/// A message's number in the run: it stands in its content, so that the message is recognised
/// wherever its content turns up.
pub(crate) type Canary = u64;

/// How far a receipt says that a message has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Step {
    /// A device has acked it.
    Delivered,
    /// Its reader has read it.
    Read,
}

/// Something that happened, in the order in which it did.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Fact {
    /// A device is about to connect and to say `hello`.
    Greeted {
        /// Which.
        who: Who,
    },
    /// A device signed in.
    SignedIn {
        /// Which.
        who: Who,
        /// Number of its connection, never used again.
        connection: u64,
    },
    /// A device's connection is over.
    Left {
        /// Which.
        who: Who,
    },
    /// A device is about to sign out for good: what waits for it goes.
    SigningOut {
        /// Which.
        who: Who,
    },
    /// A device was told that it signed out.
    SignedOut {
        /// Which.
        who: Who,
    },
    /// A device's connection was closed by the server, with a last word.
    Closed {
        /// Which.
        who: Who,
        /// The name of the code.
        code: &'static str,
    },
    /// A device handed a message to the network.
    Asked {
        /// The sender.
        who: Who,
        /// The recipient.
        to: u8,
        /// The client's id.
        message: MessageId,
        /// What stands in the content.
        canary: Canary,
        /// A hash of all of the content.
        content: u64,
        /// On which connection.
        connection: u64,
    },
    /// A device reuses an id for another content: it forgot, or it has a bug.
    Altered {
        /// The sender.
        who: Who,
        /// The client's id.
        message: MessageId,
    },
    /// A device was told `sent`.
    Sent {
        /// The sender.
        who: Who,
        /// The recipient that the answer names.
        to: Option<u8>,
        /// The client's id.
        message: MessageId,
        /// The server's id.
        id: ServerId,
    },
    /// A device was told that a message was refused.
    Refused {
        /// The sender.
        who: Who,
        /// The client's id.
        message: MessageId,
        /// The name of the code.
        code: &'static str,
        /// For a conflict: what was accepted.
        id: ServerId,
    },
    /// A device was pushed a message.
    Shown {
        /// The reader.
        who: Who,
        /// On which connection.
        connection: u64,
        /// The sender that the push names, if it is one of the fleet.
        from: Option<Who>,
        /// The recipient that the push names.
        to: Option<u8>,
        /// The client's id.
        message: MessageId,
        /// The server's id.
        id: ServerId,
        /// Its number on the connection.
        push: u64,
        /// What stands in the content.
        canary: Option<Canary>,
        /// A hash of all of the content.
        content: u64,
    },
    /// A device was told that nothing else waits for it.
    QueueEmpty {
        /// Which.
        who: Who,
        /// Something was left out: the number of the gap.
        gap: Option<u64>,
    },
    /// A device read a message from history, behind the cursor of a gap.
    Fetched {
        /// The reader.
        who: Who,
        /// The sender that the row names, if it is one of the fleet.
        from: Option<Who>,
        /// The server's id.
        id: ServerId,
        /// What stands in the content.
        canary: Option<Canary>,
    },
    /// A device said that it has read what a gap left out.
    GapClosed {
        /// Which.
        who: Who,
        /// The number that it was told.
        gap: u64,
    },
    /// A device said that it keeps a message.
    Acked {
        /// The reader.
        who: Who,
        /// The server's id.
        id: ServerId,
    },
    /// A device said that its user has read up to a message.
    Read {
        /// The reader.
        who: Who,
        /// The server's id.
        id: ServerId,
    },
    /// A device was told how far its user's messages to a peer have come.
    Told {
        /// The device.
        who: Who,
        /// Its number on the connection.
        push: u64,
        /// The peer that the receipt names.
        peer: Option<u8>,
        /// Delivered or read.
        step: Step,
        /// Up to which message.
        id: ServerId,
    },
    /// Content now survives a loss of power.
    Durable {
        /// Whose.
        canary: Canary,
    },
    /// Something is held in a place that has a limit.
    Held {
        /// The place.
        place: &'static str,
        /// How much.
        held: u64,
        /// The limit.
        max: u64,
    },
    /// A worker looked into its ring for a turn.
    Turned {
        /// How often it entered the ring for it.
        enters: u64,
        /// Operations that it had queued.
        operations: u64,
        /// Completions that it was told.
        completions: u64,
        /// As many connections as it can have.
        slots: u64,
    },
    /// So many queue entries have left at their time to live, in this life of the server, where
    /// that is longer than any run.
    Expired {
        /// How many.
        entries: u64,
    },
    /// The server died.
    Died {
        /// The power went too.
        power: bool,
    },
    /// The server runs.
    Started {
        /// With so many workers.
        workers: u16,
    },
    /// A bit of what the disk holds is not what was written.
    Damaged,
    /// It is again.
    Repaired,
    /// An operation of the disk failed.
    DiskFailed,
    /// The store was out, and was opened again.
    Reopened {
        /// Records that it had applied and has no more.
        lost: u64,
    },
    /// The server found its own data unusable.
    Unusable {
        /// What it says.
        why: String,
    },
    /// From here on nothing goes wrong any more.
    Calm,
    /// The time for everything to come to rest is over; the server is restarted, without any
    /// planted fault, and given the same time again.
    TimeUp,
    /// The run is over.
    End,
}
