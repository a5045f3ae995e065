//! The fleet: devices that behave (and forget, and repeat themselves), and users who lie.

mod catch_up;
mod device;
mod keeping;
mod liar;
mod newcomer;

pub(crate) use device::Device;
pub(crate) use liar::Liar;
pub(crate) use newcomer::Newcomer;

use std::time::Duration;

use ringpost_shard::Clocks;
use ringpost_wire::command::{Content, Credential, Hello, SendMessage};
use ringpost_wire::{Command, DeviceId, MessageId, UserId};

use crate::dice::Dice;
use crate::fact::Who;
use crate::process::Process;
use crate::trace::Trace;

/// What a client needs of the world in one step.
pub(crate) struct Surroundings<'a> {
    /// The time.
    pub(crate) now: Clocks,
    /// Chance.
    pub(crate) dice: &'a mut Dice,
    /// Where facts go.
    pub(crate) trace: &'a Trace,
    /// Users who behave.
    pub(crate) users: u8,
    /// Newcomers to whom one may write.
    pub(crate) newcomers: &'a [u8],
    /// Largest content, bytes.
    pub(crate) body_bytes_max: u64,
    /// The server, to be asked for history.
    pub(crate) server: Option<&'a mut Process>,
    /// The number for the next message of the run.
    pub(crate) next_canary: &'a mut u64,
}

/// A client waits this long before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_millis(300);

fn hello(who: Who, credential: Credential<'_>, window_pushes: u32) -> Command<'_> {
    Command::Hello(Hello {
        credential,
        device: device_id(who),
        window_pushes,
        window_bytes: 0,
        intents: 0,
    })
}

fn message(message_id: MessageId, to: UserId, body: &[u8]) -> Command<'_> {
    Command::SendMessage(SendMessage {
        message_id,
        to,
        reply_to: None,
        client_timestamp_ms: 5,
        ephemeral: false,
        content: Content::Encrypted(body.into()),
    })
}

fn device_id(who: Who) -> DeviceId {
    DeviceId::new(who.device).expect("devices are numbered from 1")
}
