//! The servers that are measured, behind one trait. A peer is a process on loopback, pinned to
//! one core, that dies with its owner.

mod child;
mod floor;
mod mosquitto;
mod nats;
mod ringpost;
mod websocket;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, bail};

use crate::dialect::Dialect;
pub(crate) use crate::dialect::ringpost::Form;

/// What a server promises of a message that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Nothing: it may be gone.
    Nothing,
    /// Acknowledged once the server has it in memory, kept until the receiver's acknowledgement.
    Taken,
    /// Durable before it is acknowledged, kept until the receiver's acknowledgement.
    Kept,
}

impl Promise {
    /// For the table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing is kept",
            Self::Taken => "acknowledged before it is durable: promises less",
            Self::Kept => "durable before `sent`, kept until acknowledged",
        }
    }
}

/// A running server.
pub(crate) trait Peer {
    /// Its name on the command line and in tables.
    fn name(&self) -> &str;
    /// What it promises as it is run here.
    fn promise(&self) -> Promise;
    /// Its process.
    fn process_id(&self) -> u32;
    /// Where clients connect.
    fn address(&self) -> SocketAddrV4;
    /// What they speak.
    fn dialect(&self) -> Rc<dyn Dialect>;
    /// Sees to it that these users may sign in.
    ///
    /// # Errors
    /// When the server refuses.
    fn admit(&mut self, _users: std::ops::Range<u32>) -> anyhow::Result<()> {
        Ok(())
    }
    /// Its `io_uring_enter` calls so far, `None` if it does not tell.
    ///
    /// # Errors
    /// When it does not answer.
    fn enters(&self) -> anyhow::Result<Option<u64>> {
        Ok(None)
    }
    /// Messages that one sender may send before the server would slow it down.
    fn messages_per_sender_max(&self) -> u32 {
        u32::MAX
    }
    /// Whether a first sign-in makes a user that is kept.
    fn keeps_users(&self) -> bool {
        false
    }
    /// Ends its process and starts it again on what it left, if that makes a difference to it.
    ///
    /// # Errors
    /// When it does not come back.
    fn restart(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// How peers are started.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Plain or full.
    pub(crate) form: Form,
    /// Core of the server.
    pub(crate) core: usize,
    /// Clients that it must take.
    pub(crate) clients: u32,
    /// The binary `ringpost`.
    pub(crate) binary: PathBuf,
    /// Settings of ringpost beyond its defaults, `KEY=VALUE`.
    pub(crate) set: Vec<String>,
    /// Clients come back with tickets.
    pub(crate) tickets: bool,
}

/// Every peer that there may be, in the order of tables.
pub(crate) const NAMES: &[&str] = &["floor", "ringpost", "uwebsockets", "nats", "mosquitto"];

/// Starts a peer by its name.
///
/// # Errors
/// When there is none of this name, it is not installed, or it does not start.
pub(crate) fn start(name: &str, setting: &Setting) -> anyhow::Result<Box<dyn Peer>> {
    match name {
        "floor" => Ok(Box::new(floor::Floor::start(setting)?)),
        "mosquitto" => Ok(Box::new(mosquitto::Mosquitto::start(setting)?)),
        "nats" => Ok(Box::new(nats::NatsServer::start(setting)?)),
        "uwebsockets" => Ok(Box::new(websocket::Relay::uwebsockets(setting)?)),
        "ringpost" => Ok(Box::new(ringpost::Ringpost::start(setting)?)),
        _ => bail!("no peer is named {name}; there are {}", NAMES.join(", ")),
    }
}

/// A program of the system or of `target/peers`.
fn program(name: &str, places: &[&str]) -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = places.iter().map(|place| here.join(place)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not there: `cargo xtask peers` installs what it can"))
}
