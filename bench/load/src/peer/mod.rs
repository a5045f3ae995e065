//! The servers that are measured, behind one trait. A peer is a process on loopback, pinned to
//! one core, that dies with its owner.

mod centrifuge;
mod child;
mod ejabberd;
mod floor;
mod foreign;
mod mosquitto;
mod name;
mod nats;
mod relays;
mod ringpost;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, ensure};

pub(crate) use self::name::{HELP, Name};
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

/// What a server holds beside its memory, and how much memory it may take at most by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The sum of its limits, bytes.
    pub(crate) memory_max_bytes: u64,
    /// All files that it keeps, bytes.
    pub(crate) disk_bytes: u64,
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
    /// What it holds, `None` if it does not tell.
    ///
    /// # Errors
    /// When it does not answer.
    fn held(&self) -> anyhow::Result<Option<Held>> {
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
    /// Clients listen to what is said to all, where that costs a subscription.
    pub(crate) to_all: bool,
}

type Start = fn(&Setting) -> anyhow::Result<Box<dyn Peer>>;

/// Every peer that is known here, in the order of tables.
pub(crate) const KNOWN: &[(&str, Start)] = &[
    ("floor", |setting| Ok(Box::new(floor::Floor::start(setting)?))),
    ("ringpost", |setting| Ok(Box::new(ringpost::Ringpost::start("ringpost", 1, setting)?))),
    ("ringpost-no-journal", |setting| Ok(Box::new(ringpost::without_journal(setting)?))),
    ("ringpost-two-workers", |setting| {
        Ok(Box::new(ringpost::Ringpost::start("ringpost-two-workers", 2, setting)?))
    }),
    ("uwebsockets", |setting| Ok(Box::new(relays::uwebsockets(setting)?))),
    ("tungstenite", |setting| Ok(Box::new(relays::tungstenite(setting)?))),
    ("centrifuge", |setting| Ok(Box::new(centrifuge::start(setting)?))),
    ("nats", |setting| Ok(Box::new(nats::start(setting)?))),
    ("mosquitto", |setting| Ok(Box::new(mosquitto::start(setting)?))),
    ("ejabberd", |setting| Ok(Box::new(ejabberd::start(setting)?))),
];

/// Starts a peer.
///
/// # Errors
/// When it is not installed, has not the form that is asked for, or does not start.
pub(crate) fn start(name: &Name, setting: &Setting) -> anyhow::Result<Box<dyn Peer>> {
    match name {
        Name::Own(own) => Ok(Box::new(own.start(setting)?)),
        Name::Known(name) => {
            let known = KNOWN.iter().find(|(known, _)| known == name);
            let (_, start) = known.expect("a known name stands in the table");
            start(setting)
        }
    }
}

/// Such a server cannot be asked for the full form.
fn keeps_nothing(name: &str, setting: &Setting) -> anyhow::Result<()> {
    ensure!(setting.form == Form::Plain, "{name} keeps nothing: it has no full form");
    Ok(())
}

/// A program of the system or of `target/peers`.
fn program(name: &str, places: &[&str]) -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = places.iter().map(|place| here.join(place)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not there: `cargo xtask peers` installs what it can"))
}
