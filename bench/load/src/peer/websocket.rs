//! Relays of ours over WebSocket libraries of others: uWebSockets under Node.js (which costs
//! something for each message: a C++ build would do better), and tokio-tungstenite in this binary.

use std::net::SocketAddrV4;
use std::process::Command;
use std::rc::Rc;

use anyhow::ensure;

use super::child::{self, Child};
use super::{Form, Peer, Promise, Setting, program};
use crate::dialect::Dialect;
use crate::dialect::websocket::WebSocket;

/// Where `cargo xtask peers` puts the module of uWebSockets.
const UWS_MODULE: &str = "target/peers/uws/node_modules";
/// The relay's script, beside this crate's sources.
const UWS_SCRIPT: &str = "bench/load/peers/uws.js";

pub(super) struct Relay {
    name: &'static str,
    child: Child,
    address: SocketAddrV4,
}

impl Relay {
    pub(super) fn uwebsockets(setting: &Setting) -> anyhow::Result<Self> {
        let folder = std::env::current_dir()?;
        let module = folder.join(UWS_MODULE);
        ensure!(module.is_dir(), "{UWS_MODULE} is not there: `cargo xtask peers` installs it");
        let mut command = Command::new(program("node", &["/usr/bin/node"])?);
        command.env("NODE_PATH", module).arg(folder.join(UWS_SCRIPT));
        Self::start("uwebsockets", setting, command)
    }

    fn start(name: &'static str, setting: &Setting, mut command: Command) -> anyhow::Result<Self> {
        ensure!(setting.form == Form::Plain, "{name} keeps nothing: it has no full form");
        let address = child::free_address()?;
        command.arg(address.port().to_string());
        let folder = child::folder(name)?;
        let mut child = Child::start(name, &folder, setting.core, &mut command)?;
        child.until(|| child::listens(address))?;
        Ok(Self { name, child, address })
    }
}

impl Peer for Relay {
    fn name(&self) -> &str {
        self.name
    }

    fn promise(&self) -> Promise {
        Promise::Nothing
    }

    fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn dialect(&self) -> Rc<dyn Dialect> {
        Rc::new(WebSocket)
    }
}
