//! The library of Centrifugo with a small main of ours, `peers/centrifuge`, which `cargo xtask
//! peers` builds. Its protocol in its protobuf form over WebSocket, broker in memory.

use std::process::Command;

use super::foreign::Foreign;
use super::{Promise, Setting, keeps_nothing, program};
use crate::dialect::centrifuge::Centrifuge;

pub(super) fn start(setting: &Setting) -> anyhow::Result<Foreign> {
    keeps_nothing("centrifuge", setting)?;
    let binary = program("centrifuge", &["target/peers/bin/centrifuge-relay"])?;
    let dialect = Centrifuge::default();
    Foreign::start("centrifuge", Promise::Nothing, dialect, setting.core, |address, _| {
        let mut command = Command::new(binary);
        // It has one core; more threads of the scheduler would only fight for it.
        command.env("GOMAXPROCS", "1").arg(address.to_string());
        if setting.to_all {
            command.arg("to-all");
        }
        Ok(command)
    })
}
