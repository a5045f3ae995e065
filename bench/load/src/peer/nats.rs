//! nats-server: core for plain relays; for full ones JetStream on file with `sync_interval:
//! always`, the only setting that promises what ringpost does.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;

use super::foreign::Foreign;
use super::{Form, Promise, Setting, program};
use crate::dialect::nats::Nats;

pub(super) fn start(setting: &Setting) -> anyhow::Result<Foreign> {
    let binary = program("nats-server", &["target/peers/bin/nats-server"])?;
    let stored = setting.form == Form::Full;
    let promise = if stored { Promise::Kept } else { Promise::Nothing };
    let dialect = Nats { stored, to_all: setting.to_all };
    Foreign::start("nats", promise, dialect, setting.core, |address, folder| {
        let config = folder.join("nats.conf");
        fs::write(&config, config_text(address, stored, &folder.display().to_string()))?;
        let mut command = Command::new(binary);
        // It has one core; more threads of the scheduler would only fight for it.
        command.env("GOMAXPROCS", "1").arg("-c").arg(config);
        Ok(command)
    })
}

fn config_text(address: SocketAddrV4, stored: bool, folder: &str) -> String {
    let mut text =
        format!("listen: {address}\nmax_connections: 2000000\nwrite_deadline: \"60s\"\n");
    if stored {
        text.push_str(&format!(
            "jetstream {{ store_dir: \"{folder}/store\", sync_interval: always }}\n"
        ));
    }
    text
}
