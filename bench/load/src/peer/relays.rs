//! Relays of ours over WebSocket libraries of others: uWebSockets under Node.js (which costs
//! something for each message: a C++ build would do better), and tokio-tungstenite in this binary.

use std::process::Command;

use anyhow::ensure;

use super::foreign::Foreign;
use super::{Promise, Setting, keeps_nothing, program};
use crate::dialect::relay::Relay;

/// Where `cargo xtask peers` puts the module of uWebSockets.
const UWS_MODULE: &str = "target/peers/uws/node_modules";
/// The relay's script, beside this crate's sources.
const UWS_SCRIPT: &str = "bench/load/peers/uws.js";

pub(super) fn uwebsockets(setting: &Setting) -> anyhow::Result<Foreign> {
    keeps_nothing("uwebsockets", setting)?;
    let here = std::env::current_dir()?;
    let module = here.join(UWS_MODULE);
    ensure!(module.is_dir(), "{UWS_MODULE} is not there: `cargo xtask peers` installs it");
    let node = program("node", &["/usr/bin/node"])?;
    Foreign::start("uwebsockets", Promise::Nothing, Relay, setting.core, |address, _| {
        let mut command = Command::new(node);
        command.env("NODE_PATH", module).arg(here.join(UWS_SCRIPT));
        command.arg(address.port().to_string());
        if setting.to_all {
            command.arg("to-all");
        }
        Ok(command)
    })
}

pub(super) fn tungstenite(setting: &Setting) -> anyhow::Result<Foreign> {
    keeps_nothing("tungstenite", setting)?;
    let this = std::env::current_exe()?;
    Foreign::start("tungstenite", Promise::Nothing, Relay, setting.core, |address, _| {
        let mut command = Command::new(this);
        command.args(["tungstenite", "--listen", &address.to_string()]);
        Ok(command)
    })
}
